"""How a verdict depends on the choices of an experiment: one is changed at a time, everything else stays."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.prompts import LONG
from engine.arms.protocol import BoundRule, Positions, Protocol, Schedule
from engine.arms.settings import Metric, TunedFor
from engine.claim.claim import Claim, Factor
from engine.claim.criteria import DECISIVE, Ruling
from engine.claim.procedure import Evidence, Trial
from engine.claim.units import Units
from engine.experiments.inversion.procedure import Inversions
from engine.records import SENSITIVITY, Table

UNITS = 12
"""Units of each variant: one wave."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed choice; None leaves a setting as it is.

    start: mean and standard deviation of e₀; a deviation of None is the target's own. iterations: the cap N.
    """

    factor: Factor
    choice: str
    start: tuple[float, float | None] | None = None
    positions: Positions | None = None
    bound: BoundRule | None = None
    sigma: float | None = None
    metric: Metric | None = None
    iterations: int | None = None
    schedule: Schedule | None = None
    tuned_for: TunedFor | None = None
    step_factor: float | None = None
    prompts: tuple[str, ...] = ()

    def change_protocol(self, protocol: Protocol) -> Protocol:
        if self.start is not None:
            protocol = replace(protocol, start_mean=self.start[0], start_std=self.start[1])
        if self.positions is not None:
            protocol = replace(protocol, positions=self.positions)
        return protocol if self.bound is None else replace(protocol, bound=self.bound)

    def change_procedure(self, procedure: Inversions) -> Inversions:
        named = ("sigma", "metric", "iterations", "schedule", "tuned_for", "step_factor")
        changes = {name: getattr(self, name) for name in named}
        made = {name: value for name, value in changes.items() if value is not None}
        return replace(procedure, samples=tuple((name, replace(one, **made)) for name, one in procedure.samples))


VARIANTS = (
    Variant(factor="η", choice="tuned for the earliest hit", tuned_for="hit"),
    Variant(factor="η", choice="tuned for the least distance at N", tuned_for="distance"),
    Variant(factor="η", choice="a quarter of it", step_factor=0.25),
    Variant(factor="η", choice="four times it", step_factor=4.0),
    Variant(factor="start", choice="N(1/2, 1/20²)", start=(0.5, 0.05)),
    Variant(factor="start", choice="the target's own scale", start=(0.0, None)),
    Variant(factor="start", choice="N(0, 1)", start=(0.0, 1.0)),
    Variant(factor="positions", choice="0 for every token", positions="first"),
    Variant(factor="positions", choice="true ones", positions="true"),
    Variant(factor="bound", choice="m(σ)", bound="shift"),
    Variant(factor="bound", choice="0.3 of the start distance", bound="start"),
    Variant(factor="σ", choice="1/25", sigma=1 / 25),
    Variant(factor="σ", choice="1/10", sigma=1 / 10),
    Variant(factor="metric", choice="L²", metric="l2"),
    Variant(factor="cap", choice="N = 300", iterations=300),
    Variant(factor="cap", choice="N = 3000", iterations=3000),
    Variant(factor="schedule", choice="constant", schedule=Schedule(shape="constant", end=1.0)),
    Variant(factor="schedule", choice="linear to η/100", schedule=Schedule(end=0.01)),
    Variant(factor="prompts", choice="12 longer ones", prompts=LONG[:UNITS]),
)
"""The other choices of each factor. Those that an item already has are left out."""


def sensitivity_table(
    claim: Claim, trial: Trial, evidence: Evidence
) -> Generator[Sequence[Arm], Sequence[Measurement], tuple[Table, tuple[Measurement, ...]]]:
    """The claim judged again under each variant of its factors, on one wave of units, at a single look.

    evidence: of the claim as declared, whose verdict the variants are compared with.
    """
    procedure = claim.procedure
    assert isinstance(procedure, Inversions)
    base = claim.judge(evidence.estimates, trial.scopes).ruling
    rows: list[tuple[str, ...]] = []
    measured: list[Measurement] = []
    for variant in VARIANTS:
        own, changed = variant.change_procedure(procedure), variant.change_protocol(trial.protocol)
        as_declared = (own, changed, variant.prompts) == (procedure, trial.protocol, ())
        if variant.factor not in ("η", *claim.factors) or as_declared:
            continue
        found = yield from own.rounds(
            replace(
                trial,
                protocol=changed,
                prompts=variant.prompts,
                units=Units(standard=UNITS, full=UNITS),
                stopping=False,
            )
        )
        measured += found.measurements
        verdict = claim.judge(found.estimates, trial.scopes)
        estimates = "; ".join(dict.fromkeys(f.estimate.text for f in verdict.findings if f.estimate is not None))
        rows.append((variant.factor, variant.choice, estimates, verdict.ruling, _compare(verdict.ruling, base)))
    return _tabulate(rows, base), tuple(measured)


def _compare(ruling: Ruling, base: Ruling) -> str:
    if ruling == base:
        return "as declared"
    return "flips" if {ruling, base} <= DECISIVE else "undecided" if ruling not in DECISIVE else "decided here"


def _tabulate(rows: Sequence[tuple[str, ...]], base: Ruling) -> Table:
    return Table(
        title="Sensitivity: one choice made otherwise at a time",
        columns=("factor", "choice", "estimates", "verdict", "beside the declared experiment"),
        rows=tuple(rows),
        kind=SENSITIVITY,
        note=f"As declared it is {base}. Each variant has {UNITS} units, a step size tuned for itself, and one look.",
    )
