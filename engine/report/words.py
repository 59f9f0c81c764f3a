"""The report's words for verdicts, outcomes and registrations, and the order in which it lists records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.records import Record, Registration, find_headline, key_of
from engine.text import format_interval


@dataclass(frozen=True)
class VerdictSymbol:
    """A verdict as a sign and a word; `css_class` is its class in the style sheet."""

    sign: str
    word: str
    css_class: str


SYMBOLS = {
    symbol.word: symbol
    for symbol in (
        VerdictSymbol("✓", "supported", "supported"),
        VerdictSymbol("◐", "partly supported", "partly"),
        VerdictSymbol("✗", "refuted", "refuted"),
        VerdictSymbol("?", "inconclusive", "inconclusive"),
        VerdictSymbol("○", "not run at this effort", "unmeasured"),
        VerdictSymbol("○", "not tested on this model", "unmeasured"),
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
    "not tested": "not tested, since the claim is about another model",
    "skipped": "skipped",
    "error": "in error",
}
"""pytest's outcomes in words."""

PROTOCOLS = {
    "page": "in the document's set-up",
    "script": "by the author's scripts",
    "page-share": "in the document's set-up, with one share of the way to go",
    "controlled": "with confounds removed",
    "direct": "",
}
"""The suite's protocols in a reader's words."""

STATUSES = {
    "registered": "as registered",
    "amended": "amended since they were registered",
    "exploratory": "exploratory, not as registered",
}
"""Registration statuses in words, said of several claims."""


def find_symbol(word: str | None) -> VerdictSymbol:
    """The symbol of a verdict, or of 'skipped' and 'error'; a plain dot for an unknown word."""
    return SYMBOLS.get(word or "", VerdictSymbol("·", word or "no verdict", "inconclusive"))


def find_record_symbol(record: Record) -> VerdictSymbol:
    """The symbol of an item: its verdict, or why it has none."""
    return find_symbol(record.ruling or record.outcome)


def name_protocol(name: str) -> str:
    """A protocol in words that follow a number; a user's own by its name."""
    return PROTOCOLS.get(name, f"under {name}")


MOST_MODELS = 5
"""Models that a sentence names."""


def name_models(records: Iterable[Record]) -> str:
    """The models of the records, each once: 'a, b and c', or 'a, b, c, d, e and 35 more'."""
    names = list(dict.fromkeys(record.subject for record in records))
    if len(names) > MOST_MODELS + 1:
        names = [*names[:MOST_MODELS], f"{len(names) - MOST_MODELS} more"]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def sort_records(records: Iterable[Record]) -> list[Record]:
    """By claim, subject and protocol, C2 before C10, in whatever order they come."""

    def rank(r: Record) -> tuple[Any, ...]:
        return (*map(_split_numbers, key_of(r)), *key_of(r), r.effort, r.sentence, r.arms, r.cost_s)

    return sorted(records, key=rank)


def _split_numbers(text: str) -> tuple[tuple[int, str], ...]:
    # Digits that int() does not read ('²') stay text; the limits keep a 100 kB number from being parsed.
    parts: list[str] = re.findall(r"[0-9]{1,9}|[^0-9]+", text[:200])
    return tuple((int(p), "") if p.isascii() and p.isdigit() else (-1, p) for p in parts)


def write_headline(record: Record) -> str:
    """'ratio = 148 [92, 251]', or '' where nothing was estimated."""
    c = find_headline(record)
    return "" if c is None or c.value is None else f"{c.estimate} = {format_interval(c.value, c.low, c.high)}"


def write_registration(registration: Registration) -> str:
    """'registered 2026-11-25, commit 0123456789ab', or the status and its reason."""
    if registration.status != "registered":
        return f"{registration.status}: {registration.why}"
    commit = f", commit {registration.commit[:12]}" if registration.commit else ""
    return f"registered {registration.date[:10]}{commit}" + (f"; {registration.why}" if registration.why else "")


def read_status(record: Record) -> str:
    """The registration status of an item; '' where its record is older than registrations."""
    return record.registration.status if record.registration else ""
