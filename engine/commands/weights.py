"""`lm-claims weights gpu|xl`: fetch the pinned weights that items with this marker need and this machine lacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from huggingface_hub import snapshot_download

from engine.commands.command_line import Parser, say
from engine.errors import explain
from engine.models.hub import FORMATS, HUB_SUBJECTS
from engine.text import LONGEST_CAUSE


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each model once it is there. Returns exit code 1, after one line, if one cannot be fetched."""
    parser = Parser(prog="lm-claims weights", description="Fetches pinned weights from the Hugging Face hub.")
    parser.add_argument("marker", choices=("gpu", "xl"), help="the items' marker")
    marker = parser.parse_args(arguments).marker
    for subject in HUB_SUBJECTS:
        if subject.tier != marker:
            continue
        was_here = subject.missing() is None
        try:
            if not was_here:
                snapshot_download(subject.repository, revision=subject.revision, allow_patterns=list(FORMATS))
        except Exception as error:  # of any kind: from the network, the disk or the hub
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_CAUSE]
            line = explain(
                who="weights",
                got=f"no {subject.repository} ({cause})",
                expected=f"its revision {subject.revision} from the hub",
                remedy="run it again where the hub can be reached; what was fetched stays",
            )
            say(line, file=sys.stderr)
            return 1
        print(f"{subject.id}: {'was here' if was_here else 'fetched'}", flush=True)
    return 0
