"""Arms that wait, held against a list that is searched and sorted each time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arms.arm import Arm
from engine.arms.costs import Cost
from engine.errors import SubjectError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.running.waiting import Needs, Waiting

ADDED = st.tuples(st.integers(0, 3), st.sampled_from((1.0, 2.0, 3.0)), st.sampled_from((1e9, 2e9)))
STEPS = st.lists(st.one_of(ADDED, st.integers(0, 30)), max_size=40)
"""An arm to add, by its group, seconds and bytes; or which of those that wait to take out."""


def list_expected(held: list[tuple[Arm, int, float, float]]) -> list[tuple[float, float, Arm]]:
    """Of each group and size the costliest arm, the first of equal ones; with its bytes and its group's seconds."""
    found: list[tuple[float, float, Arm]] = []
    for group in sorted({group for _, group, _, _ in held}):
        own = [one for one in held if one[1] == group]
        for size in dict.fromkeys(one[3] for one in own):
            arm = max((one for one in own if one[3] == size), key=lambda one: one[2])[0]
            found.append((size, sum(one[2] for one in own), arm))
    return found


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_whatever_comes_and_goes_the_costliest_of_each_group_and_size_is_told(steps: list[Any]) -> None:
    costs: dict[Arm, Cost] = {}
    waiting, held = Waiting(), list[tuple[Arm, int, float, float]]()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("engine.running.waiting.estimate_cost", lambda arm: costs[arm])
        monkeypatch.setattr("engine.running.waiting.host_bytes", lambda arm: costs[arm].memory_bytes)
        for number, step in enumerate(steps):
            if isinstance(step, tuple):
                group, seconds, size = step
                arm = PseudoInverseArm(subject=str(group), source="s", matrix=str(number))
                costs[arm] = Cost(seconds=seconds, memory_bytes=size)
                held.append((arm, group, seconds, size))
                waiting.add(arm)
            elif held:
                waiting.take_out(held.pop(step % len(held))[0])
            told = [(n.host_bytes, pytest.approx(waiting.seconds_of(n.group)), n.arm) for n in waiting.list_costliest()]
            assert sorted(told, key=repr) == sorted(list_expected(held), key=repr)
            in_turn = [arm for group in sorted({one[1] for one in held}) for arm, own, *_ in held if own == group]
            assert list(waiting) == in_turn
            assert waiting.first is (in_turn[0] if in_turn else None)
            assert len(waiting) == len(held)


def test_what_is_new_is_told_once_and_only_while_it_waits() -> None:
    one, two, three = (PseudoInverseArm(subject="none", source="s", matrix=f"random:{n}x2") for n in (2, 3, 4))
    waiting = Waiting([one, two])
    waiting.take_out(one)
    assert [needs.arm for needs in waiting.list_new()] == [two]
    assert [needs.arm for needs in waiting.list_new()] == []
    waiting.add(three)
    assert [needs.arm for needs in waiting.list_new()] == [three]


def test_an_arm_whose_model_cannot_be_sized_waits_as_if_it_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arm: Arm) -> Cost:
        raise SubjectError("broken")

    monkeypatch.setattr("engine.running.waiting.estimate_cost", fail)
    (needs,) = Waiting([PseudoInverseArm(subject="none", source="s", matrix="random:2x2")]).list_costliest()
    assert isinstance(needs, Needs)
    assert (needs.seconds, needs.room) == (0.0, (0.0, 0.0))
