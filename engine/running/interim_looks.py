"""Ends the measuring of a claim once it is decided, or out of reach: a look after each wave of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from engine.claim.claim import Claim
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.running.sensitivity import sensitivity_table

SLACK = 2
"""A claim is given up only where even twice the planned units would not decide it, if all went on as it began."""


class StopReason(StrEnum):
    """Why no more units were measured."""

    ALL_IN = "all are in"
    DECIDED = "decided"
    OUT_OF_REACH = "more would hardly decide"


def evaluate_item(claim: Claim, trial: Trial) -> Rounds:
    """All that a session asks of an item: its looks, and at full effort its sensitivity to the claim's factors.

    The tables are drawn here, so that a mistake in one is the item's error and costs no other item.
    """
    evidence = yield from evaluate_in_looks(claim, trial)
    tables = evidence.tables
    if not claim.factors or trial.effort != "full":
        return evidence
    table, measurements = yield from sensitivity_table(claim, trial, evidence)
    return replace(evidence, draw=lambda: (*tables, table), measurements=(*evidence.measurements, *measurements))


def evaluate_in_looks(claim: Claim, trial: Trial) -> Rounds:
    """The rounds of the claim's procedure with the units of one look after the other, until more would not help.

    The evidence is that of the look that decided. What is out of reach, or has all its units, gets the intervals of
    the last look: a claim that these would decide is not out of reach. Arms of earlier looks are asked for again, and
    answered by what they gave. Source: the catalogue's waves of seeds; engine.statistics.looks.
    """
    looks = trial.looks()
    for at in looks:
        evidence = yield from _measure(claim, at)
        if at.look.last:
            return _note(evidence, at, looks, StopReason.ALL_IN)
        if is_decided(claim, at, evidence):
            return _note(evidence, at, looks, StopReason.DECIDED)
        hoped = yield from _measure(claim, replace(at, look=replace(at.look, as_last=True)))
        times = SLACK * looks[-1].count() / max(1, at.count())
        if not claim.could_be_decided(hoped.estimates, at.scopes, times):
            return _note(hoped, at, looks, StopReason.OUT_OF_REACH)
    raise AssertionError("the last look ends every trial")


def _measure(claim: Claim, trial: Trial) -> Rounds:
    evidence = yield from claim.procedure.rounds(trial)
    if not isinstance(evidence, Evidence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"claim {claim.id}: its procedure returned {evidence!r}, not Evidence")
    return evidence


def _note(evidence: Evidence, at: Trial, looks: Sequence[Trial], ending: StopReason) -> Evidence:
    """The evidence with a word on how many of the planned units there were, and why no more."""
    if len(looks) == 1:
        return evidence
    words = f"{at.count()} of at most {looks[-1].count()}: {ending} at look {at.look.number} of {len(looks)}"
    return replace(evidence, settings=evidence.settings | {"units": words})


def is_decided(claim: Claim, trial: Trial, evidence: Evidence) -> bool:
    """Whether a look before the last decides the claim.

    Exact figures, such as the worst of all units, are of those alone that are in: they decide nothing early.
    """
    sampled = {name: estimate for name, estimate in evidence.estimates.items() if estimate.scale != "exact"}
    return claim.judge(sampled, trial.scopes).decisive
