"""A claim's answer in two plain sentences, from its records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.records import Record, find_headline
from engine.report.standing import ClaimStanding, Standing
from engine.report.words import name_models, name_protocol
from engine.text import format_number

_LEADS = {
    Standing.HOLDS: "Yes",
    Standing.IN_PART: "In part",
    Standing.DEPENDS: "It depends",
    Standing.DOES_NOT_HOLD: "No",
    Standing.OPEN: "We cannot tell yet",
    Standing.UNTESTED: "Not tested yet",
}

MOST_READINGS = 3
"""Readings that an answer names; the picture has them all."""


def write_answer(standing: ClaimStanding) -> tuple[str, str]:
    """What it comes to, and on what; and the readings behind it, with the document's figure where it gives one."""
    rows = standing.decided or standing.open
    lead = _LEADS[standing.standing]
    if not rows:
        return f"{lead}.", "No model that can decide it was measured."
    models = name_models(rows)
    if standing.standing is Standing.DEPENDS:
        lead += f" on the {' and the '.join(standing.turns_on) or 'row'}: the verdicts on {models} differ"
    else:
        lead += f", on {models}"
    if standing.decided and standing.open:
        count = len(standing.open)
        lead += f"; {count} other test{' is' if count == 1 else 's are'} undecided"
    lead += "." if standing.on_own_model else ". The document's own model, trained GPT-2, was not measured."
    return lead, _write_readings(rows)


def _write_readings(rows: Sequence[Record]) -> str:
    """'ratio: 2.24 (1.3 to 4.3) in the document's set-up; …. The document says 100.' Rows of one estimate alone."""
    first = find_headline(rows[0])
    if first is None or first.value is None or math.isnan(first.value):
        return rows[0].sentence
    several = len({record.subject for record in rows}) > 1
    words: list[str] = []
    for record in rows:
        c = find_headline(record)
        if c is None or c.estimate != first.estimate or c.value is None or math.isnan(c.value):
            continue
        ends = ""
        if c.low is not None and c.high is not None and not c.low == c.high == c.value:
            ends = f" ({format_number(c.low, 3)} to {format_number(c.high, 3)})"
        place = " on ".join(filter(None, (name_protocol(record.protocol), record.subject if several else "")))
        words.append(f"{format_number(c.value, 3)}{ends}{', ' if place else ''}{place}")
    more = len(words) - MOST_READINGS
    listed = "; ".join(words[:MOST_READINGS]) + (f"; and {more} more" if more > 0 else "")
    name = f"{first.estimate[:1].upper()}{first.estimate[1:]}"
    figure = "" if first.figure is None else f" The document says {format_number(first.figure)}."
    return f"{name}: {listed}.{figure}"
