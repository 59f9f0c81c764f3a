"""How often simulated claims get a false verdict: the whole grid is slow, its parts are not."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.__main__ import main
from engine.claim.criteria import Region, Ruling
from engine.statistics import ONLY, Estimate
from engine.studies.calibration.results import Position, read_calibration
from engine.studies.calibration.scenarios import (
    DIFFERENCE,
    EQUIVALENT,
    GEOMETRIC,
    LEAST,
    MEDIAN,
    RATIO,
    SCENARIOS,
    SHARE,
    TUNED,
    Scenario,
)
from engine.studies.calibration.simulate import Counts, Setting, list_settings, simulate, simulate_all, summarize

CLAIMS = 2000
"""At each edge; a quarter of it beside. Four standard errors of 5 % are then 2 %."""

MANY = 200_000
KEPT = Path(__file__).resolve().parents[3] / "reports" / "reference" / "calibration.json"


@pytest.mark.slow
def test_false_verdicts_and_coverage_keep_their_bars_in_every_cell() -> None:
    settings = list_settings()
    assert {setting.n for setting in settings} >= {6, 12, 24, 36, 60}
    assert {scenario.censored for scenario in SCENARIOS} >= {0.0, 0.3, 0.6}
    asked = [(setting, CLAIMS if setting.position == 0 else CLAIMS // 4) for setting in settings]
    found = simulate_all(asked, workers=len(os.sched_getaffinity(0)))
    missed = {
        str(setting): misses for setting, counts in found.items() if (misses := summarize(setting, counts).misses)
    }
    assert not missed


@pytest.mark.parametrize("position", [0, 1, -1], ids=["edge", "inside", "outside"])
@pytest.mark.parametrize(
    "scenario",
    [replace(scenario, censored=0.0) for scenario in SCENARIOS[::2]],
    ids=lambda s: f"{s.estimand} {s.edge} {s.alike}",
)
def test_what_is_drawn_has_the_truth_that_is_said(scenario: Scenario, position: int) -> None:
    """200,000 draws: a share is known to 0.0011, a median of log-normal values to 0.0014·1.25 on the logarithm."""
    truth = scenario.place_truth(position)
    drawn = scenario.draw(np.random.default_rng(1), MANY, truth)
    first = drawn.values[0]
    seen = {
        SHARE: lambda: first.mean(),
        DIFFERENCE: lambda: (first - drawn.values[1]).mean(),
        RATIO: lambda: np.median(first) / np.median(drawn.values[1]),
        MEDIAN: lambda: np.median(first),
        GEOMETRIC: lambda: np.exp(np.log(first).mean()),
        EQUIVALENT: lambda: (first - drawn.values[1]).mean(),
        TUNED: lambda: first.mean(),
    }[scenario.estimand]()
    # What four model seeds share is four draws alone: their mean is off by √(alike/4).
    slack = 0.01 + 1.5 * np.sqrt(scenario.alike / 4)
    assert seen == pytest.approx(truth, rel=slack if truth >= 1 else 0.0, abs=slack if truth < 1 else 0.0)


@pytest.mark.parametrize("censored", [0.3, 0.6])
def test_the_cap_censors_the_share_that_is_said(censored: float) -> None:
    scenario = Scenario(estimand=RATIO, edge=30.0, shift=2.0, censored=censored)
    slow = scenario.draw(np.random.default_rng(0), MANY, 30.0).values[0]
    # √(0.24/200,000) = 0.0011; the cap is a whole iteration.
    assert (slow > scenario.cap).mean() == pytest.approx(censored, abs=0.005)


def test_units_of_a_model_seed_are_as_alike_as_is_said() -> None:
    scenario = Scenario(estimand=MEDIAN, edge=1.0, shift=1.5, alike=0.4)
    logs = [np.log(scenario.draw(np.random.default_rng(k), 8, 1.0).values[0]) for k in range(4000)]
    same, other = (np.corrcoef([(log[0], log[k]) for log in logs], rowvar=False)[0, 1] for k in (4, 1))
    # A correlation of 4,000 pairs is known to 0.016.
    assert same == pytest.approx(0.4, abs=0.05)
    assert other == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(("edge", "wrong"), [(0.0, {Ruling.SUPPORTED}), (LEAST, {Ruling.REFUTED})])
def test_with_a_smallest_effect_one_ruling_alone_is_false_on_the_edge(edge: float, wrong: set[Ruling]) -> None:
    scenario = Scenario(estimand=EQUIVALENT, edge=edge, shift=0.2)
    assert scenario.wrong(0) == wrong
    assert scenario.wrong(1) == {Ruling.REFUTED}
    assert scenario.wrong(-1) == {Ruling.SUPPORTED}
    assert scenario.criterion.no_effect(Estimate(**PLAIN)) == Region(low=-LEAST, high=LEAST)


PLAIN: Any = {"name": "x", "value": 0, "low": 0, "high": 0, "n": 9, "method": "", "scale": "linear"}


def test_a_tuned_step_size_is_often_the_wrong_one_and_its_interval_holds_both() -> None:
    """The two best step sizes lie 5 % apart: tuning mixes them up, and no verdict may hang on which it took."""
    scenario = Scenario(estimand=TUNED, edge=0.5, shift=0.2)
    drawn = [scenario.draw(np.random.default_rng(k), 36, 0.7) for k in range(200)]
    chosen = [one._choose_steps() for one in drawn]  # pyright: ignore[reportPrivateUsage]
    wrong = sum(first == 1 for first, *_ in chosen)
    assert 30 < wrong < 100
    assert not any(2 in steps for steps in chosen)  # twice as far is told apart
    held = [one.estimate(36, ONLY) for one in drawn]
    assert sum(estimate.low <= 0.7 <= estimate.high for estimate in held) >= 190
    # Without the other choices, the intervals of the wrong ones would miss.
    alone = [one.values[first].mean() for one, (first, *_) in zip(drawn, chosen, strict=True)]
    assert sum(value < 0.5 for value in alone) > 25


def test_numbered_claims_do_not_depend_on_how_they_are_batched() -> None:
    setting = Setting(scenario=SCENARIOS[0], n=24, position=0)
    assert simulate(setting, 6) == simulate(setting, 2) + simulate(setting, 4, first=2)


def test_a_truth_far_inside_is_always_decided_and_never_falsely() -> None:
    scenario = Scenario(estimand=SHARE, edge=0.5, shift=0.45)
    found = simulate(Setting(scenario=scenario, n=36, position=1), 30)
    assert (found.decided, found.false, found.claims) == (30, 0, 30)
    assert found.units < 30 * 36  # most end early


def test_at_the_edge_every_decisive_verdict_is_false() -> None:
    found = simulate(Setting(scenario=SCENARIOS[0], n=12, position=0), 200)
    # Two or fewer, or ten or more of twelve: 3.9 %, of 200 claims 7.7, and three standard deviations of 2.7 more.
    assert found.false == found.decided
    assert 0 < found.false < 16


@pytest.mark.parametrize("position", [1, -1])
def test_the_kept_figures_come_out_again(position: Position) -> None:
    setting = Setting(scenario=SCENARIOS[0], n=6, position=position)
    (kept,) = (
        cell
        for cell in read_calibration(KEPT).scenarios[0].cells
        if (cell.n, cell.position) == (setting.n, setting.position)
    )
    assert summarize(setting, simulate(setting, kept.claims)) == kept


@pytest.mark.parametrize(
    ("counts", "n", "misses"),
    [
        pytest.param(Counts(claims=2000, false=100, covered=1900), 12, "", id="on the bars"),
        pytest.param(
            Counts(claims=2000, false=101, covered=1899), 12, "5.1% false verdicts, up to 6.1%", id="too many false"
        ),
        pytest.param(
            Counts(claims=100, false=3, covered=97), 12, "3.0% false verdicts, up to 8.5%", id="too few to be sure"
        ),
        pytest.param(Counts(claims=2000, false=0, covered=1800), 12, "90.0% covered", id="not covered"),
        pytest.param(Counts(claims=2000, false=0, covered=1800), 6, "", id="not asked of six"),
    ],
)
def test_bars_are_held_against_shares(counts: Counts, n: int, misses: str) -> None:
    decided = replace(counts, decided=counts.false)
    assert summarize(Setting(scenario=SCENARIOS[0], n=n, position=0), decided).misses == misses


def test_the_command_keeps_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [Setting(scenario=SCENARIOS[0], n=12, position=position) for position in (0, 1)]
    monkeypatch.setattr("engine.commands.calibrate.list_settings", lambda: few)
    out = tmp_path / "calibration.json"
    assert main(["calibrate", "--claims", "8", "--workers", "1", "--out", str(out)]) == 0
    kept = json.loads(out.read_text(encoding="utf-8"))
    assert [(row["position"], row["claims"]) for row in kept["cells"]] == [(0, 8), (1, 2)]
    # What is there stays, to the last figure; what is missing is added.
    more = [*few, Setting(scenario=SCENARIOS[0], n=6, position=0)]
    monkeypatch.setattr("engine.commands.calibrate.list_settings", lambda: more)
    assert main(["calibrate", "--claims", "16", "--workers", "1", "--out", str(out), "--missing"]) == 0
    again = json.loads(out.read_text(encoding="utf-8"))
    assert again["cells"][:2] == kept["cells"]
    assert [(row["n"], row["claims"]) for row in again["cells"][2:]] == [(6, 16)]
    # Each claim says where it was simulated, and a file that lacks nothing is left as it is.
    runs = read_calibration(out).runs
    assert [(run.claims, run.commit) for run in runs] == [(10, kept["commit"]), (16, again["commit"])]
    assert main(["calibrate", "--claims", "16", "--workers", "1", "--out", str(out), "--missing"]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == again
    assert main(["calibrate", "--missing", "--out", "-"]) == 4
    assert "calibration: got --missing with --out -" in capsys.readouterr().err
    assert main(["calibrate", "--claims", "0"]) == 4
    assert "calibration: got --claims 0" in capsys.readouterr().err
