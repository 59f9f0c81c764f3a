"""The verdict on a claim: each criterion is judged by its estimate, and the results are combined."""

from __future__ import annotations

from dataclasses import dataclass

from engine.claim.criteria import DECISIVE, Criterion, Ruling
from engine.statistics import Estimate, n_to_decide


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
    """Compare an estimate's interval with a criterion's region: inside, outside, or across an edge."""
    if estimate is None:
        sentence = f"{criterion.estimate} was not run at this effort (asked: {criterion.text})."
        return CriterionResult(criterion=criterion, estimate=None, ruling=Ruling.NOT_RUN, sentence=sentence)
    ruling = criterion.region.rule(estimate.low, estimate.high)
    relation = {
        Ruling.SUPPORTED: "inside",
        Ruling.REFUTED: "outside",
        Ruling.INCONCLUSIVE: "across the edge of",
    }[ruling]
    sentence = f"{estimate.text} lies {relation} {criterion.text}"
    if ruling is Ruling.INCONCLUSIVE:
        needed = n_to_decide(estimate, criterion.edges)
        sentence += (
            f"; about {needed} {estimate.counts} would decide" if needed else "; more of the same would not decide"
        )
    return CriterionResult(criterion=criterion, estimate=estimate, ruling=ruling, sentence=sentence + ".")


def combine_rulings(findings: tuple[CriterionResult, ...]) -> Ruling:
    """Supported if all are; refuted if any is, but 'partly' if only the magnitude of an effect is refuted."""
    # An item without a criterion is run to be shown, not to be judged.
    if not findings:
        return Ruling.INCONCLUSIVE
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
    return Ruling.PARTLY if all(f.ruling is Ruling.SUPPORTED for f in others) else Ruling.INCONCLUSIVE
