"""The table of verdicts at the end of a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import say_count
from engine.records import Record
from engine.report.standing import Standing, find_standings
from engine.report.words import STATUSES, read_status, write_headline
from engine.text import write_plain

TIERS = ("cpu", "gpu", "xl")
LONGEST = 4000
"""Most characters of a line that are shown."""

NAMED = 10
"""Most claims that a line names."""
COLOURS = {"passed": "green", "error": "red", "drift": "red", "skipped": "yellow"}


def sort_by_claim(records: Sequence[Record]) -> list[Record]:
    """Sort by claim, smallest subjects first."""
    return sorted(records, key=lambda r: (r.claim, TIERS.index(r.tier), r.subject, r.protocol))


def print_verdicts(records: Sequence[Record], terminal: Any) -> None:
    """Print a line for each item that ran, the standing of each claim over its rows, and what was left out.

    A line has the estimate that its verdict turns on.
    """
    ordered = sort_by_claim(records)
    terminal.ensure_newline()  # otherwise the line break that pytest owes lands inside the table
    terminal.section("verdicts")
    shown = [record for record in ordered if record.outcome != "skipped"]
    widths = [max((len(getattr(r, name)) for r in shown), default=0) for name in ("claim", "subject", "protocol")]
    for record in shown:
        names = (record.claim, record.subject, record.protocol)
        place = write_plain("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)))
        word = record.ruling or record.outcome
        note = f" ({record.outcome})" if record.outcome in ("drift", "finding") else ""
        terminal.write(f"{place}  ")
        terminal.write(f"{word + note:<24}", **{COLOURS.get(record.outcome, "cyan"): True})
        told = record.sentence if record.outcome == "error" else write_headline(record)
        terminal.write_line(f"  {write_plain(told, LONGEST)}")
    # Of a single claim, the lines above say it all.
    standings = find_standings(ordered)
    for standing in Standing if len(standings) > 1 else ():
        names = [one.claim for one in standings if one.standing is standing]
        if names:
            terminal.write_line(write_plain(f"{standing.value}: {', '.join(names)}", LONGEST))
    for status in ("amended", "exploratory"):
        claims = dict.fromkeys(record.claim for record in shown if read_status(record) == status)
        if claims:
            more = f" and {len(claims) - NAMED} more" if len(claims) > NAMED else ""
            terminal.write_line(write_plain(f"{STATUSES[status]}: {', '.join(list(claims)[:NAMED])}{more}", LONGEST))
    skipped = len(ordered) - len(shown)
    if skipped:
        terminal.write_line(f"{say_count(skipped, 'item')} skipped: pytest -rs says why")
