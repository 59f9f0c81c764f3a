"""`lm-claims bench figures|table|run`: the figures of `make bench`, and the lower bound of a whole run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.commands.command_line import Parser, list_words, make_parser, run_command, say
from engine.errors import UsageError, explain
from engine.studies.bench.results import KEPT, TABLE, keep_figures, read_bench, write_page
from engine.studies.bench.whole_run import WORKERS, time_ledger, write_table

COMMANDS = ("figures", "table", "run")


def _build_parser() -> Parser:
    kind = make_parser(list_words([*COMMANDS]))
    parser = kind(prog="lm-claims bench", description="What the engine costs.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=kind)
    commands.add_parser("figures", help=f"write the figures of the last `make bench` to {KEPT} and {TABLE}")
    table = commands.add_parser("table", help="print kept figures as Markdown")
    table.add_argument("figures", type=Path, nargs="?", default=KEPT, metavar="FILE", help="(default: %(default)s)")
    run = commands.add_parser("run", help="time a stored run's arms beside their bare matrix products")
    run.add_argument("ledger", type=Path)
    run.add_argument("--workers", type=int, default=WORKERS, help="processes at a time (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 4 after one line on stderr where there is nothing to keep, to print or to measure again."""
    return run_command(_build_parser, dict(zip(COMMANDS, (_figures, _table, _run), strict=True)), arguments)


def _figures(_chosen: argparse.Namespace) -> None:
    say(keep_figures(Path()))


def _table(chosen: argparse.Namespace) -> None:
    print(write_page(read_bench(chosen.figures)), end="", flush=True)


def _run(chosen: argparse.Namespace) -> None:
    if chosen.workers < 1:
        got, remedy = f"--workers {chosen.workers}", "give as many as the run had"
        raise UsageError(explain(who="bench", got=got, expected="1 or more", remedy=remedy))
    for line in write_table(time_ledger(chosen.ledger, chosen.workers)):
        say(line)
