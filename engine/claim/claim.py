"""What a claim says, what decides it, and the verdict. Pure: no tensors, no files, no clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from engine.arms.tags import TAG
from engine.claim.criteria import (
    DECISIVE,
    Criterion,
    CriterionResult,
    Ruling,
    Scope,
    Verdict,
    combine_rulings,
    judge_criterion,
)
from engine.claim.units import Units
from engine.errors import DeclarationError
from engine.records import SeeAlso
from engine.statistics import Estimate, count_fewest, n_to_decide

if TYPE_CHECKING:
    from engine.arms.protocol import Protocol
    from engine.claim.procedure import Procedure


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the document in our words, the procedure that tests it, and what decides it.

    sentence, estimand, document: our restatement, what is measured, and the document's own figure.
    procedure: how it is measured (a procedure of engine.experiments).
    criteria: what the estimates must satisfy; several are all required.
    subjects: ids from the catalogue; protocols: settings of the experiment.
    units: how many at each effort.
    only_at_full_effort: subjects on which standard effort cannot afford the row, so that it runs at full effort alone.
    needs_subjects: subjects that an item needs beside its own, such as a smaller model to compare with.
    needed_on: the items that need them; the rest do without.
    notes: confounds, literature and decisions that a reader of the report should know.
    beyond: another claim that says more of the same, and what it adds.
    factors: choices of an experiment on inversions that full effort makes otherwise, one at a time.
    pilot_seen: whether a pilot was looked at before the criterion was fixed.
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
    notes: tuple[str, ...] = ()
    beyond: SeeAlso | None = None
    factors: tuple[Factor, ...] = ()
    pilot_seen: bool = False

    def __post_init__(self) -> None:
        if not self.criteria:
            raise DeclarationError(f"claim {self.id}: no criteria, expected at least one; nothing could decide it")
        if not self.subjects or not self.protocols:
            raise DeclarationError(f"claim {self.id}: needs at least one subject and one protocol; name them")
        roles = [c.role for c in self.criteria]
        if ("magnitude" in roles) != ("direction" in roles):
            raise DeclarationError(f"claim {self.id}: direction and magnitude come in pairs; declare both or neither")

    def judge(self, estimates: Mapping[str, Estimate], scopes: Collection[Scope] = ("every",)) -> Verdict:
        """Hold every criterion of the subject's scopes against its estimate and combine them.

        A missing estimate is one that was not run at this effort.
        Source: the catalogue's rule for verdicts (95 % interval against the criterion's region).
        """
        findings = tuple(judge_criterion(c, estimates.get(c.estimate)) for c in self.criteria if c.on in scopes)
        ruling = combine_rulings(findings)
        words = " ".join(f.sentence for f in findings) or "nothing is judged on this subject; see the tables."
        sentence = f"{ruling.value.capitalize()}: {words}"
        return Verdict(ruling=ruling, sentence=sentence, findings=findings)

    def could_be_decided(self, estimates: Mapping[str, Estimate], scopes: Collection[Scope], times: float) -> bool:
        """Whether so many times the units might decide it, if every estimate keeps its value and its spread.

        An estimate of too few independent units may come to anything.
        """
        hoped: list[CriterionResult] = []
        for criterion in (c for c in self.criteria if c.on in scopes):
            finding = judge_criterion(criterion, estimates.get(criterion.estimate))
            estimate = finding.estimate
            if estimate is not None and finding.ruling is Ruling.INCONCLUSIVE:
                if estimate.n < count_fewest(estimate.alpha) or estimate.is_open:
                    return True
                needed = n_to_decide(estimate, criterion.edges)
                if needed is not None and needed <= times * estimate.n:
                    holds = criterion.region.contains(estimate.value)
                    finding = replace(finding, ruling=Ruling.SUPPORTED if holds else Ruling.REFUTED)
            hoped.append(finding)
        return combine_rulings(tuple(hoped)) in DECISIVE


Factor = Literal["start", "positions", "bound", "σ", "metric", "cap", "schedule", "prompts"]
