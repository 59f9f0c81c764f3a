"""Interim looks: measuring a claim ends as soon as it is decided, or when more units would hardly decide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from engine.claim.claim import Claim
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.verdict import is_direction_open
from engine.running.sensitivity import sensitivity_table

SLACK = 2
"""A claim is given up only if, at its current estimates, even this many times the planned units would not decide it."""


class StopReason(StrEnum):
    """Why measuring ended."""

    ALL_IN = "all are in"
    DECIDED = "decided"
    OUT_OF_REACH = "more would hardly decide"


def evaluate_item(claim: Claim, trial: Trial) -> Rounds:
    """Everything measured for an item: the claim in looks, and at full effort its sensitivity to the claim's factors.

    The tables are made here, so that a mistake in one is the error of this item alone. Without units nothing is
    measured, even by a procedure that needs none.
    """
    if not trial.count():
        return Evidence()
    evidence = yield from evaluate_in_looks(claim, trial)
    tables = evidence.tables
    if not claim.factors or trial.effort != "full":
        return evidence
    table, measurements = yield from sensitivity_table(claim, trial, evidence)
    return replace(evidence, make_tables=lambda: (*tables, table), measurements=(*evidence.measurements, *measurements))


def evaluate_in_looks(claim: Claim, trial: Trial) -> Rounds:
    """The claim's procedure, look by look: each look adds a wave of units, until the claim is decided or hopeless.

    The evidence is that of the look that ended it. Each look asks for the arms of earlier looks again; they are
    measured already. Source: the catalogue's waves of seeds; engine.statistics.looks.
    """
    looks = trial.looks()
    for at in looks:
        evidence = yield from _measure(claim, at)
        if at.look.last:
            return _note(evidence, at, looks, StopReason.ALL_IN)
        if is_decided(claim, at, evidence):
            return _note(evidence, at, looks, StopReason.DECIDED)
        # Before giving up, intervals are recomputed at the last look's level: if that decides the claim, it is not
        # given up, and if it does not, these are the intervals to report.
        as_last = yield from _measure(claim, replace(at, look=replace(at.look, as_last=True)))
        times = SLACK * looks[-1].count() / max(1, at.count())
        if not claim.could_be_decided(as_last.estimates, at.scopes, times):
            return _note(as_last, at, looks, StopReason.OUT_OF_REACH)
    raise AssertionError("the last look ends every trial")


def _measure(claim: Claim, trial: Trial) -> Rounds:
    evidence = yield from claim.procedure.rounds(trial)
    if not isinstance(evidence, Evidence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"claim {claim.id}: its procedure returned {evidence!r}, not Evidence")
    return evidence


def _note(evidence: Evidence, at: Trial, looks: Sequence[Trial], ending: StopReason) -> Evidence:
    """Add to the evidence how many of the planned units were measured, and why no more."""
    if len(looks) == 1:
        return evidence
    words = f"{at.count()} of at most {looks[-1].count()}: {ending} at look {at.look.number} of {len(looks)}"
    return replace(evidence, settings=evidence.settings | {"units": words})


def is_decided(claim: Claim, trial: Trial, evidence: Evidence) -> bool:
    """Whether a look before the last decides the claim.

    Exact figures, such as the worst of all units, hold for the units measured so far alone: they decide nothing early.
    """
    sampled = {name: estimate for name, estimate in evidence.estimates.items() if estimate.scale != "exact"}
    verdict = claim.judge(sampled, trial.scopes)
    # With the size excluded, more units may still tell whether the direction holds: partly supported, and not refuted.
    return verdict.decisive and not is_direction_open(verdict.findings)
