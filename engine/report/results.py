"""What a session shows at its end: a table of verdicts and the report's path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.records import Record
from engine.report.render import write_report

TIERS = ("cpu", "gpu", "xl")
COLOURS = {"passed": "green", "error": "red", "drift": "red", "skipped": "yellow"}


def finish_session(records: Sequence[Record], folder: Path, rendered_at: str, terminal: Any) -> None:
    """Write the report and print the verdicts. A report that cannot be written leaves the verdicts printed."""
    ordered = sorted(records, key=lambda r: (r.claim, TIERS.index(r.tier), r.subject, r.protocol))
    terminal.section("verdicts")
    shown = [record for record in ordered if record.outcome != "skipped"]
    widths = [max((len(getattr(r, name)) for r in shown), default=0) for name in ("claim", "subject", "protocol")]
    for record in shown:
        names = (record.claim, record.subject, record.protocol)
        place = "  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True))
        word = record.ruling or record.outcome
        note = f" ({record.outcome})" if record.outcome in ("drift", "finding") else ""
        terminal.write(f"{place}  ")
        terminal.write(f"{word + note:<24}", **{COLOURS.get(record.outcome, "cyan"): True})
        terminal.write_line(f"  {headline(record)}")
    skipped = len(ordered) - len(shown)
    if skipped:
        terminal.write_line(f"{skipped} items skipped: their hardware or weights are missing (pytest -rs says which)")
    try:
        terminal.write_line(f"report: {write_report(ordered, folder, rendered_at=rendered_at)}")
    except EngineError as error:
        terminal.write_line(str(error), red=True)


def headline(record: Record) -> str:
    """The first estimate with its interval, or why there is none."""
    for criterion in record.criteria:
        if criterion.value is not None and criterion.low is not None and criterion.high is not None:
            if criterion.low == criterion.high:
                return f"{criterion.estimate} = {criterion.value:.6g}"
            return f"{criterion.estimate} = {criterion.value:.3g} [{criterion.low:.3g}, {criterion.high:.3g}]"
    return record.sentence if record.outcome in ("error", "skipped") else ""
