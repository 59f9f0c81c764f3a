"""An arm's digest covers every setting: change one and it is another arm; equal arms have one digest anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from engine.arms import measurement
from engine.arms.arm import Arm
from engine.arms.measurement import digest_of
from engine.arms.protocol import PAGE
from engine.arms.stacks import SentenceNet
from engine.tests.planted import (
    INVERSION,
    MARGIN,
    NOISE,
    PSEUDO_INVERSE,
    RECOVERY,
    ROUND_TRIP,
    TUNING,
    UNITS,
    make_inversion,
    make_measurement,
    make_run,
)

NET = replace(INVERSION, settings=replace(INVERSION.settings, stack=SentenceNet(), protocol=PAGE))
ARMS: dict[str, Arm] = {
    "inversion": INVERSION,
    "net": NET,
    "tuning": TUNING,
    "recovery": RECOVERY,
    "margin": MARGIN,
    "noise": NOISE,
    "round trip": ROUND_TRIP,
    "pseudo-inverse": PSEUDO_INVERSE,
}


def vary(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one thing in it changed, for every thing there is to change, and where that was."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for path, other in vary(getattr(value, field.name)):
                yield f".{field.name}{path}", replace(value, **{field.name: other})
    elif isinstance(value, tuple):
        yield "[more]", (*value, *(value[-1:] or (7,)))
        for k, entry in enumerate(value):
            yield from ((f"[{k}]{path}", (*value[:k], other, *value[k + 1 :])) for path, other in vary(entry))
        if len(value) > 1:
            yield "[order]", value[::-1]
    elif isinstance(value, bool):
        yield "", not value
    elif value is None:
        yield "", 3
    else:
        yield "", f"{value}x" if isinstance(value, str) else value + 1


CHANGED = [pytest.param(arm, other, id=f"{name}{path}") for name, arm in ARMS.items() for path, other in vary(arm)]


@pytest.mark.parametrize(("arm", "other"), CHANGED)
def test_any_changed_field_changes_the_digest(arm: Arm, other: Arm) -> None:
    assert other != arm
    assert digest_of(other) != digest_of(arm)


def test_every_field_of_every_arm_was_changed() -> None:
    tried = {str(param.id) for param in CHANGED}
    for name, arm in ARMS.items():
        for field in fields(arm):
            assert any(path.startswith(f"{name}.{field.name}") for path in tried)
    assert {f"inversion.settings.{f.name}" for f in fields(INVERSION.settings)} <= {
        ".".join(path.split(".")[:3]).split("[")[0] for path in tried
    }
    assert {f"tuning.settings.protocol.{f.name}" for f in fields(PAGE)} <= tried


def test_no_two_changes_share_a_digest() -> None:
    digests = [digest_of(param.values[1]) for param in CHANGED]  # pyright: ignore[reportArgumentType]
    assert len(set(digests)) == len(digests)


def test_another_version_of_the_numerics_has_other_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(INVERSION)
    monkeypatch.setattr(measurement, "NUMERICS", measurement.NUMERICS + 1)
    assert digest_of(INVERSION) != before


def test_a_setting_that_came_later_names_no_earlier_arm_anew() -> None:
    # As it was before descents had an optimizer: what was measured then is found still.
    assert digest_of(INVERSION) == "dc1957e59fcb6b9aa86e5831341508bfefe44d84"
    stored = make_measurement(INVERSION, make_inversion([make_run(UNITS[0])]))
    assert stored.content() == "262630c1df2297b8cea683301d301dfe4a21cbb612aa9c890bb8b244d8449ce8"
    adam = replace(INVERSION.settings, optimizer="adam")
    assert replace(stored, arm=replace(INVERSION, settings=adam)).content() != stored.content()
    assert digest_of(replace(INVERSION, settings=adam)) != digest_of(INVERSION)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (replace(INVERSION, step=1), replace(INVERSION, step=1.0)),
        (replace(TUNING, steps=(1, 2)), replace(TUNING, steps=(1.0, 2.0))),
        (
            replace(INVERSION, settings=replace(INVERSION.settings, protocol=replace(PAGE, start_mean=0.0))),
            replace(INVERSION, settings=replace(INVERSION.settings, protocol=replace(PAGE, start_mean=-0.0))),
        ),
        (NET, replace(NET, settings=replace(NET.settings, stack=SentenceNet(tokens=5, narrow=False, seed=0)))),
    ],
    ids=["1 and 1.0", "1 and 1.0 in a grid", "0 and -0", "defaults spelled out"],
)
def test_equal_arms_have_equal_digests(one: Arm, other: Arm) -> None:
    assert one == other
    assert digest_of(one) == digest_of(other)


def test_digests_do_not_depend_on_the_process() -> None:
    code = (
        "from engine.tests.arms.test_digest import ARMS; from engine.arms.measurement import digest_of;"
        "print([digest_of(arm) for arm in ARMS.values()])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert told == {str([digest_of(arm) for arm in ARMS.values()])}
