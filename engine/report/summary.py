"""The first screen's table: a row for each claim, a column for each subject that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.records import Provenance, Record, Registration, explain_part
from engine.report.marks import VerdictSymbol
from engine.report.views import ClaimView, ItemView

COLUMNS_OF_A_MATRIX = 12
"""With more subjects than this the overview has a line for each item instead of a column for each subject."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One claim on one subject: items with an estimate to show, and the others by what they are for want of one."""

    lines: tuple[ItemView, ...]
    bare: tuple[tuple[VerdictSymbol, tuple[ItemView, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim's items by column. waiting: subjects without a column, which were skipped; the first is at waits_at."""

    claim: ClaimView
    cells: tuple[Cell, ...]
    waiting: tuple[str, ...]
    waits_at: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """subjects: of the columns, with what is to be known of each."""

    subjects: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    @property
    def waits(self) -> bool:
        """Whether anything waits for a subject without a column."""
        return any(row.waiting for row in self.rows)


def arrange_matrix(claims: Sequence[ClaimView]) -> Matrix | None:
    """Claims × subjects, the most measured subject first; None where that is too wide, or nothing was measured."""
    ran = Counter(i.record.subject for c in claims for i in c.items if i.record.outcome != "skipped")
    if not 0 < len(ran) <= COLUMNS_OF_A_MATRIX:
        return None
    subjects = tuple(sorted(ran, key=lambda subject: (-ran[subject], subject)))
    notes = {i.record.subject: i.record.subject_note for c in claims for i in c.items}
    rows = tuple(_arrange_row(claim, subjects) for claim in claims)
    return Matrix(subjects=tuple((subject, notes[subject]) for subject in subjects), rows=rows)


def _arrange_row(claim: ClaimView, subjects: Sequence[str]) -> Row:
    others = [i for i in claim.items if i.record.subject not in subjects]
    return Row(
        claim=claim,
        cells=tuple(_fill([i for i in claim.items if i.record.subject == subject]) for subject in subjects),
        waiting=tuple(dict.fromkeys(i.record.subject for i in others)),
        waits_at=others[0].anchor if others else "",
    )


def _fill(items: Sequence[ItemView]) -> Cell:
    lines = tuple(i for i in items if i.record.ruling and i.headline and i.headline.value is not None)
    others = [i for i in items if i not in lines]
    marks = dict.fromkeys(i.mark for i in others)
    return Cell(lines=lines, bare=tuple((m, tuple(i for i in others if i.mark == m)) for m in marks))


def list_choices(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What the page can be filtered by: the name of each filter with its values, in the order in which they occur."""
    items = [item for claim in claims for item in claim.items]
    statuses = dict.fromkeys(item.record.registration.status for item in items if item.record.registration)
    return (
        ("verdict", tuple(dict.fromkeys(item.mark.word for item in items))),
        ("subject", tuple(sorted({item.record.subject for item in items}))),
        ("protocol", tuple(sorted({item.record.protocol for item in items}))),
        ("section", tuple(dict.fromkeys(claim.record.section for claim in claims))),
        *([("registration", tuple(statuses))] if len(statuses) > 1 else []),
    )


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The distinct machines, commits, dates and packages behind the records, sorted.

    subjects: with what is to be known of each. measured_subjects: those with a verdict, however it fell.
    cost_s: of all measurements that the records name, one that two items share counted with both. part: what they
    leave out of their run, '' for a whole one.
    """

    machines: tuple[str, ...]
    commits: tuple[str, ...]
    measured: tuple[str, ...]
    precision: tuple[str, ...]
    packages: tuple[str, ...]
    efforts: tuple[str, ...]
    subjects: tuple[tuple[str, str], ...]
    measured_subjects: tuple[str, ...]
    protocols: tuple[str, ...]
    cost_s: float
    part: str


def gather_facts(records: Sequence[Record]) -> RunFacts:
    """The facts of a run, from its records."""
    known = [r.provenance for r in records if r.provenance is not None]
    days = sorted(p.measured_at for p in known)
    packages = {f"{name} {version}" for p in known for name, version in p.versions.items()}
    return RunFacts(
        machines=_once(f"{p.machine} ({p.named_device})" for p in known),
        commits=_once(map(name_commit, known)),
        measured=tuple(dict.fromkeys((_to_the_minute(days[0]), _to_the_minute(days[-1])))) if days else (),
        precision=_once(f"{p.dtype}, {p.threads} thread{'' if p.threads == 1 else 's'}" for p in known),
        packages=_once(packages),
        efforts=_once(r.effort for r in records),
        subjects=tuple(sorted({(r.subject, r.subject_note) for r in records})),
        measured_subjects=_once(r.subject for r in records if r.arms),
        protocols=_once(r.protocol for r in records),
        cost_s=sum(r.cost_s for r in records),
        part=explain_part(records),
    )


def name_commit(provenance: Provenance) -> str:
    """The commit's first twelve characters, and 'dirty' where the code differed from it."""
    return provenance.commit[:12] + (", dirty: with uncommitted changes" if provenance.dirty else "")


def _to_the_minute(moment: str) -> str:
    """'2026-11-24 09:12' of an ISO 8601 moment; anything else as it is."""
    day, _, time = moment.partition("T")
    return f"{day} {time[:5]}" if time else moment


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))


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
    known = [item.record.registration for item in claim.items if item.has_content]
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
