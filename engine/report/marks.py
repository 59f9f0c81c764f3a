"""The symbol and word of each verdict, and the order of records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.records import Record, find_headline, key_of
from engine.text import format_interval


@dataclass(frozen=True)
class VerdictSymbol:
    """A verdict as symbol and word; `kind` is its class in the style sheet."""

    symbol: str
    word: str
    kind: str


MARKS = {
    mark.word: mark
    for mark in (
        VerdictSymbol("✓", "supported", "supported"),
        VerdictSymbol("◐", "partly supported", "partly"),
        VerdictSymbol("✗", "refuted", "refuted"),
        VerdictSymbol("?", "inconclusive", "inconclusive"),
        VerdictSymbol("○", "not run at this effort", "unmeasured"),
        VerdictSymbol("–", "skipped", "unmeasured"),
        VerdictSymbol("!", "error", "alarm"),
    )
}


OUTCOMES = {
    "passed": "passed",
    "xfailed": "as on record (xfailed)",
    "finding": "a finding, nothing on record",
    "drift": "contrary to the record (drift)",
    "inconclusive": "inconclusive",
    "not run": "not run",
    "skipped": "skipped",
    "error": "in error",
}


def find_mark(word: str | None) -> VerdictSymbol:
    """The mark of a verdict's word, or of 'skipped' and 'error'; a plain dot for a word not known here."""
    return MARKS.get(word or "", VerdictSymbol("·", word or "no verdict", "inconclusive"))


def mark_record(record: Record) -> VerdictSymbol:
    """The mark that an item carries: its verdict, or why there is none."""
    return find_mark(record.ruling or record.outcome)


def _sort_naturally(text: str) -> tuple[tuple[int, str], ...]:
    # Digits that int() does not read ('²') stay text; the length keeps a 100 kB number from being parsed.
    parts: list[str] = re.findall(r"[0-9]{1,9}|[^0-9]+", text[:200])
    return tuple((int(p), "") if p.isascii() and p.isdigit() else (-1, p) for p in parts)


def sort_records(records: Iterable[Record]) -> list[Record]:
    """By claim, subject and protocol, C2 before C10: the order in which they were run does not matter."""
    return sorted(records, key=lambda r: (*map(_sort_naturally, key_of(r)), *key_of(r), r.effort, r.sentence))


def write_headline(record: Record) -> str:
    """'ratio = 148 [92, 251]', or nothing where nothing was estimated."""
    c = find_headline(record)
    return "" if c is None or c.value is None else f"{c.estimate} = {format_interval(c.value, c.low, c.high)}"
