"""A claim: what it says, what decides it, and its verdict. Pure: no tensors, no files, no clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from engine.arms.tags import TAG
from engine.claim.criteria import DECISIVE, Criterion, Ruling, Scope
from engine.claim.units import Units
from engine.claim.verdict import CriterionResult, Verdict, combine_rulings, is_direction_open, judge_criterion
from engine.errors import DeclarationError
from engine.records import SeeAlso
from engine.statistics import Estimate, count_fewest

if TYPE_CHECKING:
    from engine.arms.protocol import Protocol
    from engine.claim.procedure import Procedure


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the document, the procedure that tests it, and the criteria that decide it.

    sentence, estimand, document: the restated statement, what is measured, and the document's own figure.
    question: the statement as a question in plain words, for a heading. quote: a few of the document's own words.
    procedure: how it is measured (a procedure of engine.experiments).
    criteria: conditions on the estimates, all of which are required.
    subjects: ids from the catalogue. protocols: settings of the experiment.
    units: how many are measured at each effort.
    only_at_full_effort: subjects that are too costly for standard effort.
    needs_subjects: further subjects that an item needs, such as a smaller model to compare with.
    needed_on: the items that need them.
    figures: the document's own figure for an estimate, by its name.
    notes: confounds, literature and decisions that a reader of the report should know.
    beyond: another claim that says more about the subject, and what it adds.
    factors: choices of an experiment on inversions that full effort varies, one at a time; with any of them the step
    size η is varied, too.
    pilot_seen: whether a pilot was seen before the criteria were fixed.
    counts_untrained: whether untrained models count for the claim's standing as trained ones do; on other claims about
    trained models they are controls.
    """

    id: str
    section: str
    sentence: str
    estimand: str
    document: str
    procedure: Procedure
    criteria: tuple[Criterion, ...]
    subjects: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    units: Units = Units()
    only_at_full_effort: tuple[str, ...] = field(default=(), metadata={TAG: "full_only"})
    needs_subjects: tuple[str, ...] = field(default=(), metadata={TAG: "others"})
    needed_on: Scope = field(default="every", metadata={TAG: "others_on"})
    figures: tuple[tuple[str, float], ...] = ()
    question: str = ""
    quote: str = ""
    notes: tuple[str, ...] = ()
    beyond: SeeAlso | None = None
    factors: tuple[Factor, ...] = ()
    pilot_seen: bool = False
    counts_untrained: bool = False

    def __post_init__(self) -> None:
        if not self.criteria:
            raise DeclarationError(f"claim {self.id}: no criteria, expected at least one; nothing could decide it")
        if not self.subjects or not self.protocols:
            raise DeclarationError(f"claim {self.id}: needs at least one subject and one protocol; name them")
        roles = [c.role for c in self.criteria]
        if ("magnitude" in roles) != ("direction" in roles):
            raise DeclarationError(f"claim {self.id}: direction and magnitude come in pairs; declare both or neither")

    def judge(self, estimates: Mapping[str, Estimate], scopes: Collection[Scope] = ("every",)) -> Verdict:
        """Judge each criterion that applies to the subject by its estimate, and combine the results.

        A missing estimate was not run at this effort.
        Source: the catalogue's rule for verdicts (a 95 % interval compared with the criterion's region).
        """
        findings = tuple(judge_criterion(c, estimates.get(c.estimate)) for c in self.criteria if c.on in scopes)
        ruling = combine_rulings(findings)
        needed = " and ".join(dict.fromkeys(c.on for c in self.criteria))
        words = " ".join(f.sentence for f in findings) or f"{needed} alone can decide it; the tables show this model."
        if ruling is Ruling.REFUTED and is_direction_open(findings):
            words += " The size that is claimed is excluded; whether there is a difference at all is open."
        sentence = f"{ruling.value.capitalize()}: {words}"
        return Verdict(ruling=ruling, sentence=sentence, findings=findings)

    def could_be_decided(self, estimates: Mapping[str, Estimate], scopes: Collection[Scope], times: float) -> bool:
        """Whether `times` as many units might decide the claim, if every estimate kept its value and its spread.

        An estimate from too few independent units could still go either way.
        """
        expected: list[CriterionResult] = []
        for criterion in (c for c in self.criteria if c.on in scopes):
            finding = judge_criterion(criterion, estimates.get(criterion.estimate))
            estimate = finding.estimate
            if estimate is not None and finding.ruling is Ruling.INCONCLUSIVE:
                if estimate.n < count_fewest(estimate.alpha) or estimate.is_open:
                    return True
                needed = criterion.count_to_decide(estimate)
                if needed is not None and needed <= times * estimate.n:
                    finding = replace(finding, ruling=criterion.expect(estimate))
            expected.append(finding)
        return combine_rulings(tuple(expected)) in DECISIVE


Factor = Literal["η", "start", "positions", "bound", "σ", "metric", "cap", "schedule", "prompts"]
