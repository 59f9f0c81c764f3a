"""`python -m engine.report render RECORDS.jsonl` and `python -m engine.report table RECORDS.jsonl`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from engine.errors import EngineError, UsageError, explain
from engine.records import read_records
from engine.report.render import tabulate, write_report

EXIT_USAGE = 4


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as the rest of the engine does."""

    def error(self, message: str) -> NoReturn:
        remedy = f"see {self.prog} --help"
        raise UsageError(explain(who="engine.report", got=message, expected="render or table", remedy=remedy))


def _build_parser() -> _Parser:
    parser = _Parser(prog="python -m engine.report", description="Reports from the records of a session.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    render = commands.add_parser("render", help="write index.html and records.jsonl")
    render.add_argument("records", type=Path, help="a records.jsonl file")
    render.add_argument("--out", type=Path, help="folder of the report (default: where the records are)")
    render.add_argument("--previous", type=Path, help="records of an earlier run to compare with")
    render.add_argument("--rendered-at", help="the date to print (default: now, in UTC)")
    table = commands.add_parser("table", help="print the verdicts as a Markdown table")
    table.add_argument("records", type=Path, help="a records.jsonl file")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 4 after one line on stderr."""
    try:
        chosen = _build_parser().parse_args(arguments)
        records = read_records(chosen.records)
        if chosen.command == "table":
            print(tabulate(records))
            return 0
        rendered_at = chosen.rendered_at or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        previous = read_records(chosen.previous) if chosen.previous else []
        folder = chosen.out or chosen.records.parent
        print(write_report(records, folder, rendered_at=rendered_at, previous=previous))
    except EngineError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
