"""Waves and looks: how many units a claim is given, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from engine.arms.arm import Arm
from engine.arms.protocol import CONTROLLED
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtMost, Criterion, Ruling
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.units import Units
from engine.running.interim_looks import evaluate_in_looks
from engine.statistics import Estimate, exact_share, paired_mean
from engine.tests.planted import drive, make_trial

Values = Callable[[int], float]


@dataclass(frozen=True, kw_only=True)
class Told:
    """A procedure whose k-th unit gives a value that is known beforehand; it notes how many units each look had."""

    value: Values
    exact: bool = False
    asked: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]], compare=False)

    def rounds(self, trial: Trial) -> Rounds:
        yield ()
        n = trial.count()
        self.asked.append((n, trial.look.as_last))
        values = [self.value(k) for k in range(n)]
        mean: Estimate = (
            exact_share("x", sum(value > 0 for value in values), n)
            if self.exact
            else paired_mean("x", values, bounds=(-1, 1), seed=0, look=trial.look)
        )
        return Evidence(estimates=Evidence.named(mean))


def run(procedure: Told, *criteria: Criterion, trial: Trial | None = None) -> tuple[Ruling, str, list[int]]:
    """The verdict, what is said of the units, and the units at each look."""
    claim = Claim(
        id="T01",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=procedure,
        criteria=criteria,
        subjects=("planted",),
        protocols=(CONTROLLED,),
    )

    def refuse(arm: Arm) -> object:
        raise AssertionError(f"{arm} was asked for")

    evidence = drive(evaluate_in_looks(claim, trial or make_trial(units=Units())), refuse)  # pyright: ignore
    looked = [n for n, as_last in procedure.asked if not as_last]
    return claim.judge(evidence.estimates).ruling, evidence.settings.get("units", ""), looked


def alternate(high: float, low: float) -> Values:
    return lambda k: high if k % 2 else low


ABOVE = Above("x", 0, because="planted")


def test_a_clear_effect_is_decided_by_the_first_wave() -> None:
    assert run(Told(value=alternate(0.5, 0.4)), ABOVE) == (
        Ruling.SUPPORTED,
        "12 of at most 36: decided at look 1 of 3",
        [12],
    )


def test_an_effect_of_the_size_of_its_spread_takes_more_waves() -> None:
    ruling, words, looked = run(Told(value=alternate(0.9, -0.06)), ABOVE)
    assert (ruling, looked) == (Ruling.SUPPORTED, [12, 24])
    assert words == "24 of at most 36: decided at look 2 of 3"


def test_what_is_out_of_reach_is_given_up_and_decides_nothing() -> None:
    ruling, words, looked = run(Told(value=alternate(0.9, -0.88)), ABOVE)
    assert (ruling, looked) == (Ruling.INCONCLUSIVE, [12])
    assert words == "12 of at most 36: more would hardly decide at look 1 of 3"


def test_what_stays_in_reach_gets_all_units() -> None:
    # A mean of 0.215 and a spread of 0.7: 36 units know it to 0.24, twice as many to 0.17.
    ruling, words, looked = run(Told(value=alternate(0.9, -0.47)), ABOVE)
    assert (ruling, looked) == (Ruling.INCONCLUSIVE, [12, 24, 36])
    assert words == "36 of at most 36: all are in at look 3 of 3"


def test_an_exact_figure_waits_for_all_units() -> None:
    """The worst of twelve is not the worst of thirty-six: the thirteenth unit is the first to fail."""
    ruling, _, looked = run(
        Told(value=lambda k: float(k == 12), exact=True), AtMost("x", 0, because="no unit may fail")
    )
    assert (ruling, looked) == (Ruling.REFUTED, [12, 24, 36])


def test_with_all_units_there_is_one_look() -> None:
    trial = replace(make_trial(units=Units()), stopping=False)
    assert run(Told(value=alternate(0.5, 0.4)), ABOVE, trial=trial) == (Ruling.SUPPORTED, "", [36])


@pytest.mark.parametrize("effort", ["standard", "full"])
def test_waves_are_of_twelve_and_a_look_sees_those_before_it(effort: str) -> None:
    looks = make_trial(effort, units=Units()).looks()  # pyright: ignore[reportArgumentType]
    assert [trial.count() for trial in looks] == [12, 24, 36]
    first, _, last = (trial.waves() for trial in looks)
    assert last[:1] == first


def list_units(trial: Trial) -> Sequence[object]:
    return [unit for wave in trial.waves() for unit in wave]


def test_starts_of_a_users_own_prompts_are_waves_too() -> None:
    trial = replace(make_trial(units=Units(), prompts=("One prompt.", "Another one.")), starts=7)
    assert [one.count() for one in trial.looks()] == [2, 4, 6, 8, 10, 12, 14]
    assert len(set(list_units(trial))) == 14


def test_an_excluded_size_waits_for_the_direction() -> None:
    """The size is excluded at once. Whether there is a difference is open until the second wave, which tells."""
    values: Values = lambda k: (0.5 if k % 2 else -0.3) if k < 12 else 0.4 + 0.01 * (k % 3)  # noqa: E731
    direction = Above("x", 0, because="planted", role="direction")
    magnitude = Above("x", 0.9, because="planted", role="magnitude")
    ruling, said, looked = run(Told(value=values), direction, magnitude)
    assert (ruling, looked) == (Ruling.PARTLY, [12, 24])
    assert said == "24 of at most 36: decided at look 2 of 3"


def test_an_excluded_size_without_a_direction_is_refuted_in_the_end() -> None:
    direction = Above("x", 0, because="planted", role="direction")
    magnitude = Above("x", 0.9, because="planted", role="magnitude")
    ruling, _, looked = run(Told(value=alternate(0.5, -0.42)), direction, magnitude)
    assert ruling is Ruling.REFUTED
    assert looked[-1] == 36
