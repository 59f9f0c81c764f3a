"""`lm-claims bench figures|run`: keep a bench run's figures, or time the products of a whole run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.commands.command_line import Parser, list_words, make_parser, run_command, say
from engine.errors import UsageError, explain
from engine.studies.bench.figures import keep_figures
from engine.studies.bench.whole_run import WORKERS, time_ledger, write_table

COMMANDS = ("figures", "run")


def _build_parser() -> Parser:
    kind = make_parser(list_words([*COMMANDS]))
    parser = kind(prog="lm-claims bench", description="What the engine costs.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=kind)
    commands.add_parser("figures", help="keep the figures of the last `make bench` in reports/reference")
    run = commands.add_parser("run", help="time the engine over the matrix products of a stored run")
    run.add_argument("ledger", type=Path)
    run.add_argument("--workers", type=int, default=WORKERS, help="processes at a time (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 4 after one line on stderr where there is nothing to keep or to measure again."""
    return run_command(_build_parser, {"figures": _figures, "run": _run}, arguments)


def _figures(chosen: argparse.Namespace) -> None:
    say(keep_figures())


def _run(chosen: argparse.Namespace) -> None:
    if chosen.workers < 1:
        got, remedy = f"--workers {chosen.workers}", "give as many as the run had"
        raise UsageError(explain(who="bench", got=got, expected="1 or more", remedy=remedy))
    for line in write_table(time_ledger(chosen.ledger, chosen.workers)):
        say(line)
