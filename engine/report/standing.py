"""One standing a claim, over its rows: a model under a protocol each.

Source: the catalogue's rules of verdicts (roll-up), fixed before they were applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.records import Record
from engine.report.words import VerdictSymbol

SUPPORTED, PARTLY, REFUTED = "supported", "partly supported", "refuted"
DECISIVE = frozenset({SUPPORTED, PARTLY, REFUTED})

OWN_MODELS = frozenset({"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "gpt2-xl-int8"})
"""The models that the document is about: trained GPT-2."""


class Standing(StrEnum):
    """What all measured rows of a claim come to; each member fits into a sentence about the claim."""

    HOLDS = "holds"
    IN_PART = "holds in part"
    DEPENDS = "depends"
    DOES_NOT_HOLD = "does not hold"
    OPEN = "cannot tell yet"
    UNTESTED = "not tested"


STANDINGS = {
    Standing.HOLDS: VerdictSymbol("✓", "holds", "supported"),
    Standing.IN_PART: VerdictSymbol("◐", "holds in part", "partly"),
    Standing.DEPENDS: VerdictSymbol("⇄", "depends on model or protocol", "depends"),
    Standing.DOES_NOT_HOLD: VerdictSymbol("✗", "does not hold", "refuted"),
    Standing.OPEN: VerdictSymbol("?", "cannot tell yet", "inconclusive"),
    Standing.UNTESTED: VerdictSymbol("○", "not tested", "unmeasured"),
}


@dataclass(frozen=True, kw_only=True)
class ClaimStanding:
    """A claim's standing and what it rests on.

    decided, open: rows with a decisive verdict, and measured ones without: the document's own models first, then by
    size.
    turns_on: what decisive rows differ by, of 'protocol' and 'model'. on_own_model: whether trained GPT-2 is among the
    measured rows; True where the claim is about no trained model.
    """

    claim: str
    standing: Standing
    decided: tuple[Record, ...]
    open: tuple[Record, ...]
    turns_on: tuple[str, ...]
    on_own_model: bool

    @property
    def symbol(self) -> VerdictSymbol:
        return STANDINGS[self.standing]

    @property
    def ours(self) -> bool:
        """Whether the claim is one that the suite adds to the document's, which is in no count."""
        return self.claim.startswith("A")


def find_standings(records: Iterable[Record]) -> list[ClaimStanding]:
    """The standing of every claim, in the order of the records."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.claim, []).append(record)
    return [find_standing(group) for group in groups.values()]


def find_standing(records: Sequence[Record]) -> ClaimStanding:
    """The standing of one claim. records: its rows, measured or not; at least one."""
    about_trained = any(is_trained(record) for record in records)
    # On a claim about trained models, untrained ones are controls: they say what is not training's.
    counted = [r for r in records if is_trained(r) or not about_trained or r.counts_untrained]
    measured = [r for r in counted if r.ruling in DECISIVE or r.ruling == "inconclusive"]
    measured.sort(key=lambda record: (record.subject not in OWN_MODELS, record.parameters or 0))
    decided = [record for record in measured if record.ruling in DECISIVE]
    return ClaimStanding(
        claim=records[0].claim,
        standing=_combine([record.ruling for record in decided], measured=bool(measured)),
        decided=tuple(decided),
        open=tuple(record for record in measured if record.ruling not in DECISIVE),
        turns_on=_find_turns(decided),
        on_own_model=not about_trained or any(record.subject in OWN_MODELS for record in measured),
    )


def is_trained(record: Record) -> bool:
    """Whether a row's model is trained, by its id: 'NAME-untrained' and 'NAME-untrained:SEED' are not."""
    return "untrained" not in record.subject


def _combine(rulings: Sequence[str | None], *, measured: bool) -> Standing:
    if not rulings:
        return Standing.OPEN if measured else Standing.UNTESTED
    if all(ruling == SUPPORTED for ruling in rulings):
        return Standing.HOLDS
    if all(ruling in (SUPPORTED, PARTLY) for ruling in rulings):
        return Standing.IN_PART
    return Standing.DOES_NOT_HOLD if all(ruling == REFUTED for ruling in rulings) else Standing.DEPENDS


def _find_turns(decided: Sequence[Record]) -> tuple[str, ...]:
    """What verdicts that differ differ by: of one model the protocol, under one protocol the model."""

    def differ(group_by: str) -> bool:
        groups: dict[str, set[bool]] = {}
        for record in decided:
            groups.setdefault(getattr(record, group_by), set()).add(record.ruling == REFUTED)
        return any(len(sides) > 1 for sides in groups.values())

    turns = tuple(name for name, by in (("protocol", "subject"), ("model", "protocol")) if differ(by))
    both_sides = len({record.ruling == REFUTED for record in decided}) > 1
    # Where each row has another model and another protocol, either may be it.
    return turns or (("protocol", "model") if both_sides else ())
