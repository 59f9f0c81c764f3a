"""The check of a GPU, with the CPU in the GPU's place: what it compares, and that it overlooks no fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

import engine.commands.gpu_check as gpu_check
from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.commands.gpu_check import bound_rounding, find_differences, read_numbers
from engine.experiments.inversion.arm import InversionResult
from engine.running.executors.inline import Inline
from engine.tests.tiny_models import make_gpt2, make_llama, save


@pytest.fixture(name="subject", scope="module", params=["gpt2", "llama"])
def provide_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    gpt2 = request.param == "gpt2"
    model = (
        make_gpt2(initializer_range=0.3, n_positions=64)
        if gpt2
        else make_llama(initializer_range=0.3, max_position_embeddings=64)
    )
    return f"local:{save(tmp_path_factory.mktemp(request.param), model)}"


@pytest.fixture(name="measured", scope="module")
def provide_measured() -> dict[Arm, Measurement]:
    """What the CPU measures, once for all tests: they change it afterwards."""
    return {}


@pytest.fixture(name="planted")
def provide_gpu(
    monkeypatch: pytest.MonkeyPatch, measured: dict[Arm, Measurement]
) -> Callable[[Callable[[Measurement, int], Measurement]], None]:
    """Puts the CPU in a GPU's place; a function changes its n-th measurement."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Planted GPU")
    monkeypatch.setattr(gpu_check, "free_bytes", lambda name: 2**30)
    measure = Inline(threads=1).run

    def plant(change: Callable[[Measurement, int], Measurement]) -> None:
        class Planted(Inline):
            def __init__(self, *, gpus: tuple[int, ...] = ()) -> None:
                super().__init__()
                self._on, self._count = bool(gpus), 0

            def run(self, arm: Arm) -> Measurement:
                arm = gpu_check.on_device(arm, "cpu")
                found = measured.get(arm) or measured.setdefault(arm, measure(arm))
                self._count += 1
                return change(found, self._count) if self._on else found

        monkeypatch.setattr("engine.running.executors.inline.Inline", Planted)

    return plant


def shift(measurement: Measurement, share: float) -> Measurement:
    """The same measurement, with every run of a descent ending a little farther away."""
    result = measurement.result
    if not isinstance(result, InversionResult):
        return measurement
    runs = tuple(replace(run, final_distance=run.final_distance * (1 + share)) for run in result.runs)
    return replace(measurement, result=replace(result, runs=runs))


def test_a_gpu_that_measures_alike_is_sound(subject: str, planted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    planted(lambda found, _: found)
    assert gpu_check.main(["--subject", subject]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Planted GPU, 1.0 GiB free; torch ")
    assert gpu_check.SOUND in printed
    assert printed.count("  yes\n") == len(list(gpu_check.make_probes(subject)))


def test_a_gpu_with_less_precision_is_not(subject: str, planted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """By a 256th, as with bfloat16's eight bits. TensorFloat-32's eleven could pass as the float32 arm's rounding."""
    planted(lambda found, _: shift(found, 2.0**-8))
    assert gpu_check.main(["--subject", subject]) == 1
    printed = capsys.readouterr().out
    assert gpu_check.UNSOUND in printed
    assert "final_distance" in printed
    assert "3.9e-03 apart" in printed


def test_a_gpu_that_does_not_repeat_itself_is_not(
    subject: str, planted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(lambda found, count: shift(found, 1e-15 * (count % 2)))
    assert gpu_check.main(["--subject", subject]) == 1
    assert "the GPU did not give the same numbers twice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "cuda:7"), "--device: got 'cuda:7', expected cuda:0; pick one that is there"),
        (
            ("--device", "cpu"),
            "gpu-check: got --device cpu, expected a GPU that torch sees; install a driver",
        ),
        (("--subject", "nobody"), "subject: got 'nobody'"),
    ],
)
def test_nothing_to_check_is_one_line(
    arguments: tuple[str, ...], words: str, planted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(lambda found, _: found)
    assert gpu_check.main(arguments) == 4
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_check.main([]) == 4
    assert "expected a CUDA device; install a driver and a CUDA build of torch" in capsys.readouterr().err


def test_rounding_grows_with_the_length_of_sums_and_their_number() -> None:
    small = bound_rounding("float64", steps=1, blocks=1, longest=100)
    assert small == pytest.approx(2 * 15 * 10 * 2.0**-52)
    assert bound_rounding("float64", steps=3, blocks=1, longest=100) == pytest.approx(3 * small)
    assert bound_rounding("float32", steps=1, blocks=1, longest=100) == pytest.approx(2**29 * small)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, []),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, [(0.2, ".a[1]: 2.0 was 2.5")]),
        ({"a": 1}, {"b": 1}, [(float("inf"), ": the names ['a'] were ['b']")]),
        ([1, 2], [1, 2, 3], [(float("inf"), ": [1, 2] was [1, 2, 3]")]),
        ({"a": 1}, {"a": 2}, [(float("inf"), ".a: 1 was 2")]),
        ({"a": 1.0}, {"a": float("inf")}, [(float("inf"), ".a: 1.0 was inf")]),
        ({"a": float("inf")}, {"a": float("inf")}, []),
    ],
)
def test_numbers_differ_by_a_share_and_everything_else_altogether(
    one: Any, other: Any, found: list[tuple[float, str]]
) -> None:
    assert list(find_differences(one, other)) == found


def test_every_probe_is_an_arm_that_a_ledger_can_hold(subject: str) -> None:
    """Of the declared types, so that reading what was written gives the same arm."""
    adapter = TypeAdapter[Arm](Arm)
    for arm in (p.arm for p in gpu_check.make_probes(subject)):
        assert adapter.validate_json(adapter.dump_json(arm)) == arm


def test_fields_that_are_nothing_but_rounding_are_left_out(subject: str) -> None:
    arm = next(p.arm for p in gpu_check.make_probes(subject) if p.arm.kind == "pseudo-inverse")
    assert "difference" not in read_numbers(Inline(threads=1).run(arm))
