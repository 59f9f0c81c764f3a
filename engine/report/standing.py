"""How far what decided the items was fixed beforehand: registered, amended since, or exploratory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from engine.records import Record, Registration
from engine.report.views import ClaimView

STATUSES = {
    "registered": "as registered",
    "amended": "amended since they were registered",
    "exploratory": "exploratory, not as registered",
}
"""In words, of several claims."""


def write_registration(registration: Registration) -> str:
    """'registered 2026-11-25, commit 0123456789ab', or what keeps it from being that."""
    if registration.status != "registered":
        return f"{registration.status}: {registration.why}"
    commit = f", commit {registration.commit[:12]}" if registration.commit else ""
    return f"registered {registration.date[:10]}{commit}" + (f"; {registration.why}" if registration.why else "")


def list_registrations(claim: ClaimView) -> tuple[tuple[str, int], ...]:
    """What is to be said of a claim's items, each sentence once, and of how many; nothing of records that are older.

    Where any were measured, those alone: of what waits there is nothing to add.
    """
    known = [item.record.registration for item in claim.items if item.told]
    known = known or [item.record.registration for item in claim.items]
    return tuple(Counter(write_registration(one) for one in known if one is not None).items())


def count_registrations(records: Iterable[Record]) -> tuple[tuple[str, int], ...]:
    """How many items have each status, in the order of STATUSES."""
    counts = Counter(record.registration.status for record in records if record.registration is not None)
    order = [*(s for s in STATUSES if counts[s]), *sorted(s for s in counts if s not in STATUSES)]
    return tuple((status, counts[status]) for status in order)


def group_unregistered(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[ClaimView, ...]], ...]:
    """Claims with an item that is not as registered, by what they are instead, in words."""
    groups = [
        (words, tuple(claim for claim in claims if any(read_status(item.record) == status for item in claim.items)))
        for status, words in STATUSES.items()
        if status != "registered"
    ]
    return tuple((words, group) for words, group in groups if group)


def read_status(record: Record) -> str:
    """The status of an item; '' where its record is older than registrations."""
    return record.registration.status if record.registration else ""
