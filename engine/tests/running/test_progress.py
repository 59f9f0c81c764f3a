"""How long it will still take is told as a guess, and what runs now always counts with what it still needs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.arms.costs import Cost
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.running.progress import OVERRUN, STARTING_S, ProgressBar


def name_arms(count: int) -> list[PseudoInverseArm]:
    return [
        PseudoInverseArm(subject="none", source="none", matrix=f"random:40x8:rank=8:seed={k}") for k in range(count)
    ]


Tick = Callable[[float], None]


@pytest.fixture(name="tick")
def provide_clock(monkeypatch: pytest.MonkeyPatch) -> Tick:
    """A clock that goes when it is told. Arms are expected to take ten seconds each."""
    now = [1000.0]
    monkeypatch.setattr("engine.running.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("engine.running.progress.estimate_cost", lambda _: Cost(seconds=10.0, memory_bytes=0))
    monkeypatch.setattr("sys.stderr", io.StringIO())

    def tick(seconds: float) -> None:
        now[0] += seconds

    return tick


@pytest.fixture(name="bar")
def provide_bar(tick: Tick) -> ProgressBar:
    return ProgressBar()


def test_the_first_arms_count_with_what_it_takes_to_begin(bar: ProgressBar, tick: Tick) -> None:
    (arm,) = name_arms(1)
    bar.expect([arm])
    bar.begin(arm)
    assert bar.left_s == STARTING_S + 10
    tick(4)
    assert bar.left_s == STARTING_S + 6
    bar.close()


def test_what_is_told_of_an_arm_stands_behind_its_own_name(
    bar: ProgressBar, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training goes on while the arm that began after it has ended."""
    training, other = (replace(arm, subject=name) for arm, name in zip(name_arms(2), ("long", "short"), strict=True))
    monkeypatch.setattr(
        PseudoInverseArm, "describe_progress", lambda arm: "step 300 of 8,000" if arm.subject == "long" else ""
    )
    bar.expect([training, other])
    bar.begin(training)
    bar.begin(other)
    assert "step 300" not in bar._describe()  # pyright: ignore[reportPrivateUsage]
    bar.finish(other, 1.0)
    assert bar._describe() == "pseudo-inverse long: step 300 of 8,000"  # pyright: ignore[reportPrivateUsage]
    bar.close()


def test_an_arm_that_takes_longer_than_expected_is_never_about_to_end(bar: ProgressBar, tick: Tick) -> None:
    (arm,) = name_arms(1)
    bar.expect([arm])
    bar.begin(arm)
    for gone in (30, 60, 120):
        tick(gone)
    assert bar.left_s == OVERRUN * 210
    bar.close()


def test_what_arms_took_corrects_what_is_expected_of_the_others(bar: ProgressBar, tick: Tick) -> None:
    arms = name_arms(3)
    bar.expect(arms)
    bar.begin(arms[0])
    tick(70)
    bar.finish(arms[0], 70.0)
    # Seventy seconds for ten, beside ten for ten that are there from the start: four times as long.
    assert bar.left_s == 2 * 40
    bar.begin(arms[1])
    tick(10)
    assert bar.left_s == 30 + 40
    bar.close()


def test_what_runs_at_once_shares_what_waits_and_the_longest_counts(bar: ProgressBar, tick: Tick) -> None:
    arms = name_arms(4)
    bar.expect([*arms[:1], *arms[2:]])
    bar.begin(arms[0])
    tick(30)
    bar.expect(arms[1:2])
    bar.begin(arms[1])
    # One needs a quarter of thirty yet, the other all of its own, and twenty wait for both.
    assert bar.left_s == max(STARTING_S + 10, (OVERRUN * 30 + STARTING_S + 10 + 20) / 2)
    bar.close()


def test_what_is_foreseen_counts_and_what_was_stored_corrects_nothing(bar: ProgressBar, tick: Tick) -> None:
    arms = name_arms(2)
    bar.expect(arms[:1])
    bar.forecast(arms[1:])
    bar.begin(arms[0])
    tick(0.01)
    bar.finish(arms[0], 0.0)
    assert bar.left_s == 10
    bar.close()


def test_a_line_says_about_how_long_and_in_the_end_that_it_is_done(
    bar: ProgressBar, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.running.progress.LOG_BEAT_S", 1000.0)
    arms = name_arms(2)
    bar.expect(arms)
    bar.begin(arms[0])
    tick(30)
    bar.finish(arms[0], 30.0)
    monkeypatch.setattr("sys.stderr", said := io.StringIO())
    tick(30)
    bar.begin(arms[1])
    tick(20)
    bar.finish(arms[1], 20.0)
    bar.close()
    lines = said.getvalue().split("\n")
    assert "measuring 1/2 arms  50%" in said.getvalue()
    assert any("1 min 0 s elapsed, about 20 s left, pseudo-inverse none" in line for line in lines), lines
    assert any("measuring 2/2 arms 100%" in line and "elapsed, done" in line for line in lines), lines
    assert "at most" not in said.getvalue()


class Terminal(io.StringIO):
    """A terminal as standard error."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_is_drawn_in_place_and_the_cursor_comes_back(
    tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    bar, arms = ProgressBar(), name_arms(2)
    bar.expect(arms)
    bar.begin(arms[0])
    tick(30)
    bar.finish(arms[0], 30.0)
    bar.close()
    said = screen.getvalue()
    assert "measuring 1/2 arms  50%" in said
    assert "━" in said
    assert "\r" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
