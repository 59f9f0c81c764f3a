"""The verdict on a claim: each criterion is judged by its estimate, and the results are combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.claim.criteria import DECISIVE, Criterion, Ruling
from engine.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class CriterionResult:
    """A criterion compared with its estimate."""

    criterion: Criterion
    estimate: Estimate | None
    ruling: Ruling
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the estimates say about a claim. `sentence` holds the numbers."""

    ruling: Ruling
    sentence: str
    findings: tuple[CriterionResult, ...] = ()

    @property
    def supported(self) -> bool:
        return self.ruling is Ruling.SUPPORTED

    @property
    def decisive(self) -> bool:
        return self.ruling in DECISIVE


def judge_criterion(criterion: Criterion, estimate: Estimate | None) -> CriterionResult:
    """Compare an estimate's interval with a criterion's region: inside, outside, across an edge, or no effect at all.

    Source: Schuirmann 1987 (equivalence by an interval inside a smallest effect of interest).
    """
    if estimate is None:
        sentence = f"{criterion.estimate} was not run at this effort (asked: {criterion.text})."
        return CriterionResult(criterion=criterion, estimate=None, ruling=Ruling.NOT_RUN, sentence=sentence)
    ruling, none = criterion.rule(estimate), criterion.no_effect(estimate)
    relation = {
        Ruling.SUPPORTED: "inside",
        Ruling.REFUTED: "outside",
        Ruling.INCONCLUSIVE: "across the edge of",
    }[ruling]
    sentence = f"{estimate.text} lies {relation} {criterion.text}"
    if ruling is Ruling.REFUTED and none is not None and none.contains(estimate.low) and none.contains(estimate.high):
        sentence = (
            f"{estimate.text} lies between {none.low:.3g} and {none.high:.3g}: no effect of the size that counts for "
            f"{criterion.text}"
        )
    if ruling is Ruling.INCONCLUSIVE:
        needed = criterion.count_to_decide(estimate)
        sentence += (
            f"; about {needed} {estimate.counts} would decide" if needed else "; more of the same would not decide"
        )
    return CriterionResult(criterion=criterion, estimate=estimate, ruling=ruling, sentence=sentence + ".")


def combine_rulings(findings: tuple[CriterionResult, ...]) -> Ruling:
    """Supported if all are; refuted if any is, but 'partly' if the magnitude alone is and the direction is supported.

    Where the magnitude is refuted and the direction is open, what the claim asserts is excluded: refuted.
    """
    # An item without a criterion is run to be shown, not to be judged: the claim is about another model.
    if not findings:
        return Ruling.NOT_TESTED
    if all(f.ruling is Ruling.NOT_RUN for f in findings):
        return Ruling.NOT_RUN
    if all(f.ruling is Ruling.SUPPORTED for f in findings):
        return Ruling.SUPPORTED
    refuted = [f for f in findings if f.ruling is Ruling.REFUTED]
    if not refuted:
        return Ruling.INCONCLUSIVE
    if any(f.criterion.role != "magnitude" for f in refuted):
        return Ruling.REFUTED
    others = [f for f in findings if f.criterion.role != "magnitude"]
    if is_direction_open(findings):
        return Ruling.REFUTED
    return Ruling.PARTLY if all(f.ruling is Ruling.SUPPORTED for f in others) else Ruling.INCONCLUSIVE


def is_direction_open(findings: Sequence[CriterionResult]) -> bool:
    """Whether a direction is neither supported nor refuted, so that more units may still tell."""
    return any(f.criterion.role == "direction" and f.ruling is Ruling.INCONCLUSIVE for f in findings)
