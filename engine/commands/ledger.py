"""`lm-claims ledger list|merge|prune|export …`: inspect ledgers, merge them, and tidy them."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from engine.arms.arm import weights_of
from engine.arms.measurement import Measurement
from engine.commands.command_line import Parser, list_words, make_parser, run_command, say
from engine.errors import say_count
from engine.files import STANDARD_OUTPUT, output_path
from engine.ledger.maintenance import find_leftovers, merge, read_ledger, remove, tabulate_ledger
from engine.running.scheduler import label
from engine.sheets import write_export
from engine.text import duration

LEDGER = Path(".ledger")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0, or 4 after one line on stderr."""
    return run_command(_build_parser, COMMANDS, arguments)


def _build_parser() -> Parser:
    kind = make_parser(list_words([*COMMANDS]))
    parser = kind(prog="lm-claims ledger", description="Ledgers of measurements, from any machine.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=kind)
    listing = commands.add_parser("list", help="print what is stored")
    listing.add_argument("ledger", type=Path, nargs="?", default=LEDGER, help=f"(default: {LEDGER})")
    listing.add_argument("--arms", action="store_true", help="print a line for each measurement, too")
    merging = commands.add_parser("merge", help="copy measurements that one ledger lacks from others")
    merging.add_argument("into", type=Path, help="created if missing; nothing in it is replaced")
    merging.add_argument("sources", type=Path, nargs="+", metavar="from", help="ledgers that are only read")
    pruning = commands.add_parser("prune", help="find what no session asks for, and remove it with --yes")
    pruning.add_argument("ledger", type=Path, nargs="?", default=LEDGER, help=f"(default: {LEDGER})")
    pruning.add_argument(
        "--subject", action="append", default=[], metavar="ID", help="its measurements, too; repeatable"
    )
    pruning.add_argument("--before", type=_read_date, metavar="DATE", help="older measurements, too")
    pruning.add_argument("--yes", action="store_true", help="remove it, for good")
    export = commands.add_parser("export", help="write the measurements as one flat table")
    export.add_argument("ledger", type=Path, nargs="?", default=LEDGER, help=f"(default: {LEDGER})")
    export.add_argument(
        "--out", type=output_path, required=True, help="a file that ends in .csv or .parquet, or - for CSV"
    )
    return parser


def _read_date(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, which is no date like 2026-01-31") from None
    return text


def _list(chosen: argparse.Namespace) -> None:
    groups: dict[tuple[str, str, str], list[Measurement]] = defaultdict(list)
    for stored in read_ledger(chosen.ledger):
        m = stored.measurement
        if m is None:
            say(f"not to be trusted ({stored.reason}): {stored.path}")
            continue
        groups[weights_of(m.arm)[0], m.arm.kind, m.provenance.device].append(m)
        if chosen.arms:
            when, took = m.provenance.measured_at, duration(m.elapsed_s)
            say(f"{m.digest[:10]}  {when}  {took:>12}  {m.provenance.device}  {label(m.arm)}")
    if groups:
        say(f"{'subject':<28}  {'kind':<16}  {'device':<7}  {'arms':>5}  {'time measured':>14}")
    for (subject, kind, device), group in sorted(groups.items()):
        took = duration(sum(m.elapsed_s for m in group))
        say(f"{subject:<28}  {kind:<16}  {device:<7}  {len(group):>5}  {took:>14}")
    every = [m for group in groups.values() for m in group]
    when = sorted(m.provenance.measured_at for m in every)
    dates = f", from {when[0]} to {when[-1]}" if when else ""
    say(f"measurements: {len(every)}, {duration(sum(m.elapsed_s for m in every))} of measuring{dates}")


def _merge(chosen: argparse.Namespace) -> None:
    done = merge(chosen.into, chosen.sources)
    for stored in done.refused:
        say(f"left out, not to be trusted ({stored.reason}): {stored.path}")
    for m in done.differing:
        say(f"kept as it was, other numbers were measured at {m.provenance.measured_at}: {m.digest} {label(m.arm)}")
    words = f"taken {len(done.taken)}, known {len(done.known)}, differing {len(done.differing)}"
    say(f"{words}, left out {len(done.refused)}: {chosen.into}")


def _prune(chosen: argparse.Namespace) -> None:
    found = find_leftovers(chosen.ledger, subjects=chosen.subject, before=chosen.before or "")
    leftovers = [leftover for leftover in found if not leftover.is_folder]
    if chosen.yes:
        remove(leftovers)
    for leftover in found:
        if leftover.is_folder:
            say(f"left where it is, a folder: {leftover.path}")
        elif leftover.why != "lock that nobody holds":
            say(f"{leftover.why}: {leftover.path}")
    # Without dates and details, leftovers of one kind are counted together.
    counts = Counter(leftover.why.split(":")[0].split(" at ")[0] for leftover in leftovers)
    words = [
        say_count(count, why) if why.startswith("lock ") else f"{count} {why}" for why, count in sorted(counts.items())
    ]
    told = ", ".join(words) or "nothing"
    say(f"removed: {told}" if chosen.yes else f"would be removed by --yes: {told}")


def _export(chosen: argparse.Namespace) -> None:
    for stored in read_ledger(chosen.ledger):
        if stored.measurement is None:
            say(f"left out, not to be trusted ({stored.reason}): {stored.path}", file=sys.stderr)
    write_export(tabulate_ledger(chosen.ledger), chosen.out)
    if chosen.out != STANDARD_OUTPUT:
        say(str(chosen.out))


COMMANDS = {"list": _list, "merge": _merge, "prune": _prune, "export": _export}
