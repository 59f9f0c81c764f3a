"""`python -m engine.weights gpu|xl`: fetch the pinned weights that items so marked need and this machine lacks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from huggingface_hub import snapshot_download

from engine.subjects.hub import FORMATS, HUB_SUBJECTS


def main(arguments: Sequence[str] | None = None) -> None:
    """One line for each model, as soon as it is there. What the hub refuses is the hub's own error."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.weights", description="Weights from the hub, at their pins."
    )
    parser.add_argument("marker", choices=("gpu", "xl"), help="the items' marker")
    marker = parser.parse_args(arguments).marker
    for subject in HUB_SUBJECTS:
        if subject.tier == marker:
            here = subject.missing() is None
            if not here:
                snapshot_download(subject.repository, revision=subject.revision, allow_patterns=list(FORMATS))
            print(f"{subject.id}: {'was here' if here else 'fetched'}", flush=True)


if __name__ == "__main__":
    main()
