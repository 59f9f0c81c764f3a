"""`lm-claims weights gpu|xl`: fetch the pinned weights that items so marked need and this machine lacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from huggingface_hub import snapshot_download

from engine.commands.command_line import Parser
from engine.errors import explain
from engine.models.hub import FORMATS, HUB_SUBJECTS
from engine.text import LONGEST_CAUSE, write_plain


def main(arguments: Sequence[str] | None = None) -> int:
    """One line for each model, as soon as it is there. Exit code 1 after one line where the hub gives none."""
    parser = Parser(prog="lm-claims weights", description="Weights from the hub, at their pins.")
    parser.add_argument("marker", choices=("gpu", "xl"), help="the items' marker")
    marker = parser.parse_args(arguments).marker
    for subject in HUB_SUBJECTS:
        if subject.tier == marker:
            here = subject.missing() is None
            try:
                if not here:
                    snapshot_download(subject.repository, revision=subject.revision, allow_patterns=list(FORMATS))
            except Exception as error:  # whatever the network, the disk or the hub has to say
                words = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_CAUSE]
                told = explain(
                    who="weights",
                    got=f"no {subject.repository} ({words})",
                    expected=f"its revision {subject.revision} from the hub",
                    remedy="run it again where the hub can be reached; what was fetched stays",
                )
                print(write_plain(told, 2000), file=sys.stderr)
                return 1
            print(f"{subject.id}: {'was here' if here else 'fetched'}", flush=True)
    return 0
