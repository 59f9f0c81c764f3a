"""What a claim says, what decides it, and the verdict. Pure: no tensors, no files, no clock."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal

from engine.effort import Units
from engine.errors import DeclarationError
from engine.records import Beyond
from engine.statistics import Estimate, count_fewest, n_to_decide

if TYPE_CHECKING:
    from engine.procedures.base import Procedure
    from engine.protocol import Protocol
    from engine.sensitivity import Factor

Role = Literal["only", "direction", "magnitude"]
Scope = Literal["every", "trained", "trained GPT-2", "gpt2-xl"]
"""The subjects on which a criterion is judged; its estimate is shown on all."""


class Ruling(StrEnum):
    """What an experiment says of a claim; each member reads on in a sentence."""

    SUPPORTED = "supported"
    PARTLY = "partly supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run at this effort"


DECISIVE = frozenset({Ruling.SUPPORTED, Ruling.PARTLY, Ruling.REFUTED})


@dataclass(frozen=True, kw_only=True)
class Region:
    """The values of an estimand for which a criterion holds: an interval, each end open or closed."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def contains(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def rule(self, low: float, high: float) -> Ruling:
        """Where the interval [low, high] lies: inside, outside, or across an edge of the region."""
        if self.contains(low) and self.contains(high):
            return Ruling.SUPPORTED
        beyond = low > self.high or (low == self.high and self.open_high)
        short = high < self.low or (high == self.low and self.open_low)
        return Ruling.REFUTED if beyond or short else Ruling.INCONCLUSIVE


@dataclass(frozen=True)
class Criterion:
    """One condition on one estimate. Made by its subclasses, which say the region in words."""

    estimate: str
    because: str = field(kw_only=True)
    role: Role = field(default="only", kw_only=True)
    on: Scope = field(default="every", kw_only=True)

    @property
    def region(self) -> Region:
        raise TypeError(f"{type(self).__name__} has no region; use Above, AtLeast, Below, AtMost or Within")

    @property
    def edges(self) -> list[float]:
        """Finite ends of the region."""
        return [edge for edge in (self.region.low, self.region.high) if math.isfinite(edge)]

    @property
    def text(self) -> str:
        """The condition as a reader writes it, such as 'ratio > 100'."""
        raise TypeError(f"{type(self).__name__} has no text; use Above, AtLeast, Below, AtMost or Within")


@dataclass(frozen=True)
class Above(Criterion):
    """Strictly greater than the bound."""

    tag: ClassVar[str] = "Above"
    bound: float = math.nan

    @property
    def region(self) -> Region:
        return Region(low=self.bound, open_low=True)

    @property
    def text(self) -> str:
        return f"{self.estimate} > {self.bound:g}"


@dataclass(frozen=True)
class AtLeast(Criterion):
    """Greater than or equal to the bound."""

    tag: ClassVar[str] = "AtLeast"
    bound: float = math.nan

    @property
    def region(self) -> Region:
        return Region(low=self.bound)

    @property
    def text(self) -> str:
        return f"{self.estimate} ≥ {self.bound:g}"


@dataclass(frozen=True)
class Below(Criterion):
    """Strictly less than the bound."""

    tag: ClassVar[str] = "Below"
    bound: float = math.nan

    @property
    def region(self) -> Region:
        return Region(high=self.bound, open_high=True)

    @property
    def text(self) -> str:
        return f"{self.estimate} < {self.bound:g}"


@dataclass(frozen=True)
class AtMost(Criterion):
    """Less than or equal to the bound."""

    tag: ClassVar[str] = "AtMost"
    bound: float = math.nan

    @property
    def region(self) -> Region:
        return Region(high=self.bound)

    @property
    def text(self) -> str:
        return f"{self.estimate} ≤ {self.bound:g}"


@dataclass(frozen=True)
class Within(Criterion):
    """Between two bounds, ends included."""

    tag: ClassVar[str] = "Within"
    low: float = math.nan
    high: float = math.nan

    @property
    def region(self) -> Region:
        return Region(low=self.low, high=self.high)

    @property
    def text(self) -> str:
        return f"{self.low:g} ≤ {self.estimate} ≤ {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One criterion held against its estimate."""

    criterion: Criterion
    estimate: Estimate | None
    ruling: Ruling
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the estimates say of a claim. `sentence` holds the numbers."""

    ruling: Ruling
    sentence: str
    findings: tuple[Finding, ...] = ()

    @property
    def supported(self) -> bool:
        return self.ruling is Ruling.SUPPORTED

    @property
    def decisive(self) -> bool:
        return self.ruling in DECISIVE


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the document in our words, the procedure that tests it, and what decides it.

    sentence, estimand, document: our restatement, what is measured, and the document's own figure.
    procedure: how it is measured (an instance from engine.procedures).
    criteria: what the estimates must satisfy; several are all required.
    subjects: ids from the catalogue; protocols: settings of the experiment.
    units: how many at each effort.
    full_only: subjects on which standard effort cannot afford the row, so that it runs at full effort alone.
    others: subjects that an item needs beside its own, such as a smaller model to compare with.
    others_on: the items that need them; the rest do without.
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
    full_only: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    others_on: Scope = "every"
    notes: tuple[str, ...] = ()
    beyond: Beyond | None = None
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
        findings = tuple(_find(c, estimates.get(c.estimate)) for c in self.criteria if c.on in scopes)
        ruling = _combine(findings)
        words = " ".join(f.sentence for f in findings) or "nothing is judged on this subject; see the tables."
        sentence = f"{ruling.value.capitalize()}: {words}"
        return Verdict(ruling=ruling, sentence=sentence, findings=findings)

    def is_in_reach(self, estimates: Mapping[str, Estimate], scopes: Collection[Scope], times: float) -> bool:
        """Whether so many times the units might decide it, if every estimate keeps its value and its spread.

        An estimate of too few independent units may come to anything.
        """
        hoped: list[Finding] = []
        for criterion in (c for c in self.criteria if c.on in scopes):
            finding = _find(criterion, estimates.get(criterion.estimate))
            estimate = finding.estimate
            if estimate is not None and finding.ruling is Ruling.INCONCLUSIVE:
                if estimate.n < count_fewest(estimate.alpha) or estimate.is_open:
                    return True
                needed = n_to_decide(estimate, criterion.edges)
                if needed is not None and needed <= times * estimate.n:
                    holds = criterion.region.contains(estimate.value)
                    finding = replace(finding, ruling=Ruling.SUPPORTED if holds else Ruling.REFUTED)
            hoped.append(finding)
        return _combine(tuple(hoped)) in DECISIVE


def _find(criterion: Criterion, estimate: Estimate | None) -> Finding:
    if estimate is None:
        sentence = f"{criterion.estimate} was not run at this effort (asked: {criterion.text})."
        return Finding(criterion=criterion, estimate=None, ruling=Ruling.NOT_RUN, sentence=sentence)
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
    return Finding(criterion=criterion, estimate=estimate, ruling=ruling, sentence=sentence + ".")


def _combine(findings: tuple[Finding, ...]) -> Ruling:
    """All supported, or any refuted; direction held and magnitude not is 'partly'."""
    # No criterion at all is a path that was run to be shown, and not to be judged.
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
