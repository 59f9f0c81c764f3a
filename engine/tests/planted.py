"""Measurements made up for tests: arms of every kind, and answers to what a procedure asks, with known numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from engine.arms.arm import Arm, Result
from engine.arms.measurement import Measurement, digest_of
from engine.arms.protocol import CONTROLLED, Protocol
from engine.arms.settings import DescentSettings, Method, Unit
from engine.arms.stacks import Stack
from engine.claim.procedure import Trial
from engine.claim.units import Effort, Units
from engine.errors import SubjectError
from engine.experiments.embedding.arm import (
    PseudoInverseArm,
    PseudoInverseResult,
    RoundTripArm,
    RoundTripResult,
    TokenFailure,
)
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, Snapshot, Stop
from engine.experiments.recovery.arm import MarginArm, NoiseArm, RecoveryArm
from engine.experiments.tuning.arm import StepOutcome, TuningArm, TuningResult
from engine.models import Subject
from engine.models.subject import Tier
from engine.records import Provenance

T = TypeVar("T")
INF, NAN = float("inf"), float("nan")
UNITS = (Unit(prompt="The sky", seed=0), Unit(prompt="A cat", seed=1))


@dataclass(frozen=True, kw_only=True)
class PlantedSubject(Subject):
    """A name without weights: whatever would load it is a mistake."""

    id: str = "planted"
    note: str = "made up for a test"
    seed: int | None = None
    is_trained: bool = True

    @property
    def tier(self) -> Tier:
        return "cpu"

    @property
    def trained(self) -> bool:
        return self.is_trained

    @property
    def drawn(self) -> bool:
        return not self.is_trained and self.seed is None

    def draw(self, seed: int) -> Subject:
        return self.untrained(seed)

    @property
    def family(self) -> str:
        return "gpt2"

    def fingerprint(self) -> str:
        return f"planted:{self.seed}"

    def missing(self) -> str | None:
        return None

    def config(self) -> Any:
        raise SubjectError("a planted subject has no configuration")

    def tokenizer(self) -> Any:
        raise AssertionError("a planted subject has no tokenizer")

    def untrained(self, seed: int) -> PlantedSubject:
        return PlantedSubject(id=f"planted-untrained:{seed}", seed=seed, is_trained=False)

    def _load(self, dtype: Any, attention: Any) -> Any:
        raise AssertionError("a planted subject has no weights")


def make_settings(*, protocol: Protocol = CONTROLLED, iterations: int = 100) -> DescentSettings:
    return DescentSettings(
        subject="planted", source="planted:None", stack=Stack(blocks=1), protocol=protocol, iterations=iterations
    )


TWELVE = Units(standard=12)


def make_trial(effort: Effort = "standard", *, units: Units = TWELVE, prompts: tuple[str, ...] = ()) -> Trial:
    return Trial(subject=PlantedSubject(), protocol=CONTROLLED, effort=effort, units=units, prompts=prompts)


INVERSION = InversionArm(settings=make_settings(), step=0.5, units=UNITS, read_at="N", batch=36, snapshots=(0, 20))
TUNING = TuningArm(settings=make_settings(), steps=(0.25, 0.5, 1.0), units=UNITS, horizon=100, batch=6)
RECOVERY = RecoveryArm(
    settings=replace(INVERSION.settings, optimizer="adam"), method=Method(), step=0.5, units=UNITS, batch=2
)
MARGIN = MarginArm(settings=INVERSION.settings, units=UNITS)
NOISE = NoiseArm(settings=INVERSION.settings, units=UNITS, noises=(0.25, 1.0), bits=(8, 4))
ROUND_TRIP = RoundTripArm(subject="planted", source="planted:None")
PSEUDO_INVERSE = PseudoInverseArm(subject="planted", source="planted:None", matrix="embedding")


def make_measurement(arm: Arm, result: Result, *, measured_at: str = "2026-01-02T03:04:05+00:00") -> Measurement:
    provenance = Provenance(
        commit="c0ffee",
        dirty=False,
        versions={"torch": "2"},
        device="cpu",
        machine="a machine",
        threads=2,
        dtype="float32",
        measured_at=measured_at,
    )
    return Measurement(digest=digest_of(arm), arm=arm, result=result, provenance=provenance, elapsed_s=1.5)


def make_run(
    unit: Unit,
    *,
    hit: int | None = None,
    recovery: float = 1.0,
    ceiling: float = 1.0,
    stop: Stop | None = None,
    final_distance: float = 0.1,
) -> InversionRun:
    """A run of four tokens with one snapshot."""
    return InversionRun(
        prompt=unit.prompt,
        seed=unit.seed,
        target=(1, 2, 3, 4),
        hit=hit,
        stop=stop or (Stop.CAP if hit is None else Stop.HIT),
        ended_at=100,
        bound=0.3,
        start_distance=1.0,
        final_distance=final_distance,
        final_l2=0.01,
        recovery=recovery,
        ceiling=ceiling,
        snapshots=(Snapshot(iteration=20, distance=0.5, l2=0.2, recovery=recovery / 2, top=((1, 2), (3, 4))),),
        curve=(1.0, 0.5, final_distance),
    )


def make_inversion(runs: Sequence[InversionRun]) -> InversionResult:
    return InversionResult(runs=tuple(runs), curve_at=(0, 1, 100), texts={1: "a", 2: "ß", 3: " \ufffd", 4: "\n"})


def make_outcome(step: float, hits: Sequence[int | None], distance: float = 1.0, *, lost: bool = False) -> StepOutcome:
    return StepOutcome(step=step, hits=tuple(hits), diverged=(lost,) * len(hits), median_distance=distance)


def make_inverse(
    *, difference: float = 1e-9, rank: int = 16, expected: int = 16, excess: float = 1.0
) -> PseudoInverseResult:
    """A pseudo-inverse of 40 × 16 whose tolerance is 1e-4."""
    return PseudoInverseResult(
        rows=40,
        columns=16,
        rank=rank,
        expected_rank=expected,
        condition=10.0,
        difference=difference,
        tolerance=1e-4,
        excess_norm=excess,
        ridge=((0.1, 0.01), (0.01, 0.001)),
    )


def make_round_trip(failures: int, *, tried: int = 1000) -> RoundTripResult:
    failed = tuple(
        TokenFailure(id=i, text=f"t{i}", winner=i + 1, winner_text="w", leverage=0.1, winner_leverage=0.9)
        for i in range(failures)
    )
    return RoundTripResult(vocab=tried + 3, tried=tried, apart=2, special=1, failures=failed, failures_apart=())


def tune_to_middle(arm: TuningArm) -> TuningResult:
    """The middle step size hits first and ends nearest; half and double of it, asked for afterwards, do worse."""
    middle, units = len(arm.steps) // 2 if len(arm.steps) > 2 else -9, len(arm.units)
    outcomes = (make_outcome(step, [5 + abs(k - middle)] * units) for k, step in enumerate(arm.steps))
    if arm.target == "distance":
        outcomes = (
            replace(outcome, distances=(0.5 + abs(k - middle),) * units) for k, outcome in enumerate(list(outcomes))
        )
    return TuningResult(outcomes=tuple(outcomes), read_to=arm.horizon)


def drive(
    rounds: Generator[Sequence[Arm], Sequence[Measurement], T],
    answer: Callable[[Arm], Result],
    *,
    asked: list[list[Arm]] | None = None,
) -> T:
    """Answer a generator's rounds until it returns, an arm always alike; `asked` takes note of every round."""
    given: list[Measurement] | None = None
    known: dict[str, Measurement] = {}
    while True:
        try:
            arms = list(next(rounds) if given is None else rounds.send(given))
        except StopIteration as end:
            return end.value
        if asked is not None:
            asked.append(arms)
        for arm in arms:
            if digest_of(arm) not in known:
                known[digest_of(arm)] = make_measurement(arm, answer(arm))
        given = [known[digest_of(arm)] for arm in arms]
