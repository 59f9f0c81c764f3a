"""The models of a run, ordered by size, each with what every claim came to on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.records import Record, Table, is_measured
from engine.report.standing import is_trained
from engine.report.views import ClaimView, ItemView
from engine.report.words import VerdictSymbol, find_symbol


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """A model. rows: its items that were measured or failed, with their claims. counts: how many have each verdict.

    waiting: how many of its items were not run. parameters: None where no record says how many. trainings: what each
    training of it came to, where the suite trained it.
    """

    id: str
    note: str
    parameters: int | None
    trained: bool
    rows: tuple[tuple[ClaimView, ItemView], ...]
    counts: tuple[tuple[VerdictSymbol, int], ...]
    waiting: int
    trainings: Table | None = None


def order_models(records: Sequence[Record]) -> list[str]:
    """The models of the records: trained before untrained, measured before others, then by size and name."""
    measured = {record.subject for record in records if is_measured(record)}
    trained = {record.subject: is_trained(record) for record in records}
    sizes = {record.subject: record.parameters for record in records if record.parameters is not None}
    return sorted(trained, key=lambda id: (id not in measured, not trained[id], sizes.get(id, 0), id))


def arrange_models(claims: Sequence[ClaimView]) -> tuple[ModelView, ...]:
    """Every model that a record names."""
    pairs = [(claim, item) for claim in claims for item in claim.items]
    models: list[ModelView] = []
    for id in order_models([item.record for _, item in pairs]):
        own = [(claim, item) for claim, item in pairs if item.record.subject == id]
        rows = [(claim, item) for claim, item in own if item.has_content]
        words = [item.verdict.word for _, item in rows]
        newest = rows[-1][1].record if rows else own[0][1].record
        models.append(
            ModelView(
                id=id,
                note=newest.subject_note,
                parameters=next((i.record.parameters for _, i in own if i.record.parameters is not None), None),
                trained=is_trained(newest),
                rows=tuple(rows),
                counts=tuple((find_symbol(word), words.count(word)) for word in dict.fromkeys(sorted(words))),
                waiting=sum(not item.has_content for _, item in own),
                trainings=next((t for _, i in rows for t in i.record.tables if t.kind == "trainings" and t.rows), None),
            )
        )
    return tuple(models)
