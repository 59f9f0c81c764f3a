"""python -m engine.scale: print the tables of docs/scale.md. Equal seeds give equal tables; it takes some minutes."""

from __future__ import annotations

import sys

from engine.command_line import Parser, run_main
from engine.scale.tables import tabulate


def main(words: list[str] | None = None) -> int:
    Parser(prog="python -m engine.scale", description=__doc__).parse_args(words)
    print(tabulate())
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "engine.scale"))
