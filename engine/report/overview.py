"""The first screen's table: a row for each claim, a column for each subject that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.views import ClaimView, ItemView, Mark

COLUMNS_OF_A_MATRIX = 12
"""With more subjects than this the overview has a line for each item instead of a column for each subject."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One claim on one subject: items with an estimate to show, and the others by what they are for want of one."""

    lines: tuple[ItemView, ...]
    bare: tuple[tuple[Mark, tuple[ItemView, ...]], ...]


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
