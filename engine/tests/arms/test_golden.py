"""Numbers of a few small float64 arms, as they were when NUMERICS was last raised.

They may change only together with NUMERICS in engine/arms/measurement.py, which is part of every arm's digest: stored
measurements of the old numbers are then not taken for the new ones. After raising it, rewrite the file with

    python -m engine.tests.arms.test_golden
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import PreTrainedModel

from engine.arms.arm import Arm, Result
from engine.arms.measurement import NUMERICS
from engine.arms.protocol import CONTROLLED, DIRECT, PAGE, Schedule
from engine.arms.settings import DescentSettings, Method, StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.commands.gpu_check import find_differences
from engine.experiments.conditioning.arm import JacobianArm, LogitGradientArm
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.experiments.inputs import make_generator
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.measure_arm import measure_arm
from engine.experiments.orthogonal_walk.arm import OrthogonalWalkArm
from engine.experiments.recovery.arm import MarginArm, NoiseArm, RecoveryArm
from engine.experiments.tuning.arm import TuningArm
from engine.models.loaded import LoadedModels
from engine.tests.tiny import make_tiny

GOLDEN = Path(__file__).parents[1] / "golden.json"
TOLERANCE = 1e-9
"""Relative: thirty float64 steps keep about twelve digits, whatever order a machine sums in."""

UNITS = (Unit(prompt="a cat", seed=0), Unit(prompt="a b c d e f", seed=1))


class GoldenModels(LoadedModels):
    """Tiny models whose weights are drawn here, so that no library's initialization can move them."""

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        model = make_tiny(subject, dtype=getattr(torch, dtype))
        for name, parameter in sorted(model.named_parameters()):
            drawn = torch.randn(parameter.shape, generator=make_generator("golden", name), dtype=torch.float64) * 0.2
            parameter.data = (drawn + 1 if parameter.ndim == 1 and name.endswith("weight") else drawn).to(parameter)
        return model

    def tokenizer(self, subject: str) -> Any:
        return _Letters()


class _Letters:
    """One id a character."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def make_arms() -> dict[str, Arm]:
    page = DescentSettings(
        subject="gpt2",
        source="golden",
        stack=Stack(blocks=1, head=True),
        protocol=PAGE,
        iterations=30,
        dtype="float64",
    )
    controlled = replace(page, subject="llama", stack=Stack(blocks=2, final_norm=True), protocol=CONTROLLED)
    cosine = replace(controlled, metric="l2", schedule=Schedule(shape="cosine", end=0.01))
    net = replace(page, stack=SentenceNet(tokens=4), first_tokens=4)
    adam = replace(controlled, stack=Stack(blocks=2), iterations=12, optimizer="adam")
    trusting = Method(decoder="pseudo-inverse", token_by_token=False, verify=False)
    grid = (0.005, 0.01, 0.02)
    return {
        "gpt2, 1 block and head, page": InversionArm(
            settings=page, step=0.001, units=UNITS, read_at="N", batch=36, snapshots=(0, 10)
        ),
        "llama, 2 blocks and norm, controlled": InversionArm(
            settings=controlled, step=0.01, units=UNITS, read_at="hit", batch=36
        ),
        "llama, l2, cosine": InversionArm(settings=cosine, step=0.1, units=UNITS, read_at="N", batch=1),
        "wide net": InversionArm(settings=net, step=0.01, units=UNITS, read_at="N", batch=36),
        "tuning": TuningArm(settings=controlled, steps=grid, units=UNITS, horizon=30, batch=6),
        "tuning for the distance": TuningArm(
            settings=controlled, steps=grid, units=UNITS, horizon=30, batch=6, target="distance"
        ),
        "orthogonal walk in the null space": OrthogonalWalkArm(
            settings=StackSettings(
                subject="gpt2", source="golden", stack=Stack(blocks=2), protocol=CONTROLLED, dtype="float64"
            ),
            units=UNITS,
            steps=5,
            step=0.05,
            vectors="broadcast",
            direction="null",
            full=True,
        ),
        "jacobian of a block and the head": JacobianArm(
            settings=StackSettings(
                subject="gpt2",
                source="golden",
                stack=Stack(blocks=2, head=True),
                protocol=CONTROLLED,
                dtype="float64",
            ),
            units=UNITS,
            first_block=2,
        ),
        "gradients by the logits": LogitGradientArm(
            settings=StackSettings(
                subject="gpt2",
                source="golden",
                stack=Stack(blocks=3, head=True, final_norm=True),
                protocol=DIRECT,
                dtype="float64",
            ),
            units=UNITS,
        ),
        "pseudo-inverse": PseudoInverseArm(subject="none", source="none", matrix="random:40x8:rank=5:seed=2"),
        "recovery, checked": RecoveryArm(settings=adam, method=Method(), step=0.05, units=UNITS, batch=2),
        "recovery, trusted": RecoveryArm(settings=adam, method=trusting, step=0.05, units=UNITS, batch=1),
        "margins": MarginArm(settings=adam, units=UNITS),
        "noise": NoiseArm(settings=adam, units=UNITS, noises=(0.45, 2.0), bits=(8, 4)),
    }


def read_numbers(arm: Arm) -> Any:
    """What an arm gives, as JSON holds it; what is nothing but rounding is left out."""
    numbers = TypeAdapter(Result).dump_python(measure_arm(arm, GoldenModels()), mode="json")
    for rounding in ("difference", "ridge", "texts", "noise", "epsilon", "epsilons"):
        numbers.pop(rounding, None)
    for run in numbers.get("runs", []):
        for rounding in ("product", "relative", "worst_relative", "constrained"):
            run.pop(rounding, None)
    for outcome in numbers.get("outcomes", []):
        if not outcome["distances"]:  # tuned for hits
            del outcome["distances"]
    for run in numbers.get("runs", []):
        run.pop("own_distance", None)
        for found in run.get("found", []):
            found.pop("distance")
    return numbers


def read_all() -> dict[str, Any]:
    return {name: read_numbers(arm) for name, arm in make_arms().items()}


def check(found: dict[str, Any], stored: dict[str, Any], numerics: int) -> None:
    """Fail when numbers changed without their version, or the version without the file."""
    changes = [words for share, words in find_differences(found, stored["arms"]) if share > TOLERANCE]
    if stored["numerics"] != numerics:
        pytest.fail(
            f"golden.json holds numerics {stored['numerics']} and the code has {numerics}: "
            "rewrite it with python -m engine.tests.arms.test_golden"
        )
    if changes:
        pytest.fail(
            f"{len(changes)} numbers changed, the first at {changes[0]}. If that is meant, raise NUMERICS in "
            "engine.arms.measurement and run python -m engine.tests.arms.test_golden; what is stored is then run again"
        )


@pytest.fixture(name="found", scope="module")
def provide_found() -> dict[str, Any]:
    return read_all()


@pytest.fixture(name="stored")
def provide_stored() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_numbers_change_only_with_the_version_of_the_numerics(found: dict[str, Any], stored: dict[str, Any]) -> None:
    check(found, stored, NUMERICS)


def test_a_number_that_changed_asks_for_a_new_version(found: dict[str, Any], stored: dict[str, Any]) -> None:
    run = stored["arms"]["gpt2, 1 block and head, page"]["runs"][1]
    run["final_distance"] *= 1 + 3 * TOLERANCE
    with pytest.raises(pytest.fail.Exception, match=r"1 numbers changed, .*final_distance: .*raise NUMERICS"):
        check(found, stored, NUMERICS)
    run["final_distance"] *= 1 - 2.9 * TOLERANCE
    check(found, stored, NUMERICS)


@pytest.mark.parametrize("field", ["hit", "stop", "ended_at"])
def test_a_hit_that_moved_asks_for_a_new_version(field: str, found: dict[str, Any], stored: dict[str, Any]) -> None:
    stored["arms"]["llama, 2 blocks and norm, controlled"]["runs"][0][field] = None
    with pytest.raises(pytest.fail.Exception, match=f"{field}: .* was None"):
        check(found, stored, NUMERICS)


def test_a_new_version_asks_for_new_numbers(found: dict[str, Any], stored: dict[str, Any]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"rewrite it with python -m engine\.tests\.arms\.test_golden"):
        check(found, stored, NUMERICS + 1)


def test_golden_arms_hit_and_miss_and_move(stored: dict[str, Any]) -> None:
    runs = [run for arm in stored["arms"].values() for run in arm.get("runs", []) if "stop" in run]
    assert {run["stop"] for run in runs} == {"hit", "cap"}
    assert all(run["final_distance"] < run["start_distance"] for run in runs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    text = json.dumps({"numerics": NUMERICS, "arms": read_all()}, indent=1)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
