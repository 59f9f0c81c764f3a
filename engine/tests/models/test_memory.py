"""A model too large for its device is left out before it is loaded, with both figures, on every device."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from engine import DIRECT
from engine.arms.settings import Unit
from engine.claim.claim import Claim
from engine.claim.criteria import Above
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.errors import SubjectError
from engine.experiments.language.arm import NextTokenArm
from engine.models import estimate_bytes, find_subject
from engine.models.devices import Devices
from engine.models.loaded import release_memory
from engine.models.memory import count_bytes, explain_shortage, find_failed_allocation, free_bytes
from engine.models.quantized import missing_bitsandbytes
from engine.running.costs import gpu_bytes, host_bytes, size_of
from engine.running.executors.inline import Inline
from engine.session.items import Item, explain_skip
from engine.session.options import SessionOptions
from engine.tests.planted import PlantedSubject
from engine.tests.planted_claims import Planted, run_session, write_claim
from engine.tests.tiny import FAMILIES, make_tiny
from engine.tests.tiny_models import make_gpt2, save

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Heavy(PlantedSubject):
    """A name with a weight."""

    size: str = "cpu"
    gib: float = 4.0

    @property
    def tier(self) -> Any:
        return self.size

    def config(self) -> Any:
        return self.gib


class Broken(Heavy):
    """Cannot be sized."""

    def config(self) -> Any:
        raise SubjectError("broken")


@pytest.fixture(autouse=True)
def size_planted_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration of a planted one is its size in float32, in GiB."""

    def estimate(config: Any, width: int = 4, *, who: str = "") -> int:
        return (
            round(config * GIB) * width // 4
            if isinstance(config, float | int)
            else estimate_bytes(config, width, who=who)
        )

    monkeypatch.setattr("engine.models.memory.estimate_bytes", estimate)


@pytest.fixture(params=["cpu", "cuda:0", "cuda:1"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device with 6 GiB free; any other has none."""
    monkeypatch.setattr("engine.models.memory.free_bytes", lambda name: 6 * GIB if name == request.param else 0)
    return request.param


@pytest.fixture
def bitsandbytes_first() -> None:
    """Imported before a session inside this one, which would take it out of sys.modules again: it can't come twice."""
    missing_bitsandbytes()


def make_item(
    subject: PlantedSubject, device: str, *, asked: bool, dtype: str = "float32", others: tuple[str, ...] = ()
) -> Item:
    claim = Claim(
        id="C90",
        section="Planted",
        sentence="Planted.",
        estimand="x",
        document="",
        procedure=Planted(interval=(2, 3)),
        criteria=(Above("x", 1, because="planted"),),
        subjects=("planted",),
        protocols=(DIRECT,),
        needs_subjects=others,
        needed_on="trained",
    )
    kind = device.partition(":")[0]
    trial = Trial(subject=subject, protocol=DIRECT, effort="smoke", units=Units(), dtype=dtype, device=kind)
    return Item(claim=claim, trial=trial, asked=asked)


def skip(item: Item, device: str, *more: str, inline: bool = False) -> str | None:
    kind, _, index = device.partition(":")
    gpus = tuple(int(n) for n in (index, *more)) if index else ()
    choices = SimpleNamespace(devices=Devices(kind=kind, gpus=gpus), inline=inline, elsewhere=False)
    return explain_skip(item, cast(SessionOptions, choices))


@pytest.mark.parametrize("asked", [False, True], ids=["by itself", "asked for"])
def test_a_model_that_fits_runs_and_one_that_does_not_is_left_out_with_both_figures(device: str, asked: bool) -> None:
    # Half as much again for what works on the weights: 4 GiB of them need 6, of which there are 6.
    assert skip(make_item(Heavy(gib=4.0), device, asked=asked), device) is None
    assert skip(make_item(Heavy(gib=4.2), device, asked=asked), device) == (
        f"planted needs about 6.3 GiB and {device} has 6.0 GiB free: use a larger device."
    )


def test_double_precision_needs_twice_the_room(device: str) -> None:
    assert skip(make_item(Heavy(gib=2.5), device, asked=True), device) is None
    double = make_item(Heavy(gib=2.5), device, asked=True, dtype="float64")
    assert "needs about 7.5 GiB" in (skip(double, device) or "")


@pytest.mark.parametrize("size", ["gpu", "xl"])
def test_a_larger_tier_that_is_asked_for_is_weighed_too(size: str, device: str) -> None:
    assert "needs about 9.0 GiB" in (skip(make_item(Heavy(gib=6.0, size=size), device, asked=True), device) or "")


def test_a_larger_tier_that_is_not_asked_for_names_the_gpu_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.memory.free_bytes", lambda name: 0)
    assert "run on a machine with a GPU" in (skip(make_item(Heavy(size="xl"), "cpu", asked=False), "cpu") or "")


def test_the_other_model_of_an_item_counts_where_it_is_needed(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.session.items.find_subject", lambda name: Heavy(id=name, gib=2.0))
    item = make_item(Heavy(gib=3.0), device, asked=True, others=("smaller",))
    words = f"planted and smaller need about 7.5 GiB and {device} has 6.0 GiB free: use a larger device."
    assert skip(item, device) == words
    assert skip(make_item(Heavy(gib=3.0, is_trained=False), device, asked=True, others=("smaller",)), device) is None


def test_the_other_model_is_asked_about_its_weights_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Heavy):
        def missing(self) -> str | None:
            return "fetch it"

    monkeypatch.setattr("engine.session.items.find_subject", lambda name: Absent(id=name))
    assert skip(make_item(Heavy(gib=0), "cpu", asked=True, others=("smaller",)), "cpu") == "fetch it"
    assert skip(make_item(Heavy(gib=0, is_trained=False), "cpu", asked=True, others=("smaller",)), "cpu") is None


@pytest.fixture(name="two")
def provide_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.memory.free_bytes", lambda name: {"cuda:0": 3 * GIB, "cuda:1": 6 * GIB}[name])


@pytest.mark.usefixtures("two")
def test_of_several_gpus_one_must_have_room_or_all_together_where_a_model_may_be_spread() -> None:
    def ask(gib: float, *, inline: bool) -> str | None:
        return skip(make_item(Heavy(gib=gib), "cuda:0", asked=True), "cuda:0", "1", inline=inline)

    assert ask(4.0, inline=False) is None
    assert ask(5.0, inline=True) is None
    assert ask(5.0, inline=False) == (
        "planted needs about 7.5 GiB and cuda:1 has 6.0 GiB free: spread it over all by --executor inline."
    )
    assert ask(7.0, inline=True) == (
        "planted needs about 10.5 GiB and cuda:0 and cuda:1 have 9.0 GiB free: use a larger device."
    )
    assert "use a larger device" in (ask(7.0, inline=False) or "")


@pytest.mark.usefixtures("bitsandbytes_first")
def test_an_int8_model_is_never_spread() -> None:
    subject = find_subject("smollm2-135m-int8")
    needs = 1.5 * count_bytes(subject, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.models.memory.free_bytes", lambda name: 0.9 * needs)
        words = explain_shortage([subject], dtype="float32", devices=["cuda:0", "cuda:1"], spread=True)
    assert words is not None
    assert words.endswith("GiB free: use a larger device.")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_in_double_precision_is_counted_with_eight_bytes_a_weight(device: str) -> None:
    units = (Unit(prompt="a", seed=0),)
    single = NextTokenArm(subject="gpt2-untrained:0", source="s", units=units, device=device)
    double = replace(single, dtype="float64")
    weights = size_of("gpt2-untrained:0").weights
    assert host_bytes(double) - host_bytes(single) >= 4 * weights
    assert gpu_bytes(double) - gpu_bytes(single) >= (0 if device == "cpu" else 4 * weights)


def test_a_model_that_cannot_be_sized_is_left_to_the_experiment(device: str) -> None:
    assert skip(make_item(Broken(), device, asked=True), device) is None


def wrap(error: Exception) -> Exception:
    """As what goes wrong in a library's loading is passed on."""
    wrapped = SubjectError("weights that can be loaded")
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize("dress", [lambda error: error, wrap], ids=["itself", "as a cause"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["Python", "torch", "CUDA", "its driver", "cuBLAS", "the system"],
)
def test_an_allocation_that_failed_is_known_by_its_words(
    error: Exception, dress: Callable[[Exception], Exception]
) -> None:
    assert find_failed_allocation(dress(error)) == f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), wrap(ValueError("NaN"))])
def test_another_error_is_no_allocation_that_failed(error: Exception) -> None:
    assert find_failed_allocation(error) is None


def test_free_memory_is_looked_up_once_on_either_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    asked: list[str] = []

    class Memory:
        available = 5 * GIB

    def ask_cpu() -> Memory:
        asked.append("cpu")
        return Memory()

    def ask_cuda(name: str) -> tuple[int, int]:
        asked.append(name)
        return 7 * GIB, 80 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", ask_cpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", ask_cuda)
    free_bytes.cache_clear()
    try:
        found = [free_bytes(name) for name in ("cpu", "cuda:1", "cpu", "cuda:1")]
        assert found == [5 * GIB, 7 * GIB] * 2
        assert asked == ["cpu", "cuda:1"]
        assert "cpu has 5.0 GiB free" in (
            explain_shortage([Heavy()], dtype="float32", devices=["cpu"], spread=False) or ""
        )
    finally:
        free_bytes.cache_clear()
        count_bytes.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_is_the_bytes_of_a_model_that_was_built(family: str, dtype: torch.dtype) -> None:
    model = make_tiny(family, dtype=dtype)
    built = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    assert estimate_bytes(model.config, dtype.itemsize) == built


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("float64", 8), ("float16", 2)])
def test_a_subject_counts_its_weights_in_its_precision(dtype: str, width: int, tmp_path: Path) -> None:
    saved = make_gpt2()
    subject = find_subject(f"local:{save(tmp_path / 'model', saved)}")
    assert count_bytes(subject, dtype) == width * sum(p.numel() for p in saved.parameters())


def test_int8_takes_less_than_a_third_of_the_largest_model(tmp_path: Path) -> None:
    """gpt2-xl by hand: 12·d² weights in each of 48 blocks at one byte, the embeddings at four."""
    untrained = find_subject("gpt2-xl-untrained")
    from engine.models.quantized import estimate_int8_bytes

    d, blocks = 1600, 48
    codes, scales = 12 * d * d * blocks, 4 * 9 * d * blocks  # 3d + d + 4d + d outputs a block
    others = (50257 + 1024) * d + blocks * (4 * d + 9 * d) + 2 * d  # embeddings; norms and biases; the last norm
    assert estimate_int8_bytes(untrained.config()) == codes + scales + 4 * others
    assert estimate_int8_bytes(untrained.config()) < count_bytes(untrained, "float32") / 3


@pytest.mark.parametrize("options", [(), ("--subject", "gpt2-untrained")], ids=["by itself", "asked for"])
def test_a_session_skips_what_is_too_large(
    options: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.models.memory.free_bytes", lambda name: GIB // 4)
    write_claim(pytester.path, "supported")
    result = run_session(pytester, "-rs", *options)
    result.assert_outcomes(skipped=1)
    # 124,439,808 weights of four bytes, half as much again: 0.695 GiB.
    result.stdout.fnmatch_lines(["*gpt2-untrained needs about 0.7 GiB and cpu has 0.2 GiB free: use a larger device."])


@pytest.mark.usefixtures("bitsandbytes_first")
def test_another_precision_with_an_int8_subject_is_a_usage_error(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", subjects=("smollm2-135m-int8",))
    asked = run_session(pytester, "--subject", "smollm2-135m-int8", "--dtype", "float64")
    assert asked.ret == pytest.ExitCode.USAGE_ERROR
    asked.stderr.fnmatch_lines(["*smollm2-135m-int8: got dtype float64, expected float32*leave --dtype out"])
    listed = run_session(pytester, "-rs", "--dtype", "float64")
    listed.assert_outcomes(skipped=1)
    listed.stdout.fnmatch_lines(["*smollm2-135m-int8: got dtype float64*leave --dtype out"])


@pytest.mark.usefixtures("bitsandbytes_first")
def test_an_int8_folder_of_a_users_own_has_items(pytester: pytest.Pytester, tmp_path: Path) -> None:
    write_claim(pytester.path, "supported")
    result = run_session(pytester, "--subject", f"local-int8:{save(tmp_path / 'model', make_gpt2())}")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("used", [False, True], ids=["no GPU in use", "a GPU in use"])
def test_what_is_given_back_is_given_back_by_a_gpu_too(used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    release_memory()
    assert bool(emptied) is used


def test_an_executor_lets_searches_for_cycles_pass_over_the_libraries_as_long_as_it_lives() -> None:
    executor = Inline()
    assert gc.get_freeze_count() > 100_000
    del executor
    assert gc.get_freeze_count() == 0
