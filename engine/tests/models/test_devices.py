"""Which devices a session uses: names, GPUs for children, workers and threads; no GPU is needed to tell."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from engine.errors import UsageError
from engine.models.devices import VISIBLE, Devices, check_device, find_devices, using_gpus, visible_id
from engine.running.executors.inline import Inline
from engine.session.options import SessionOptions

CORES = 16


@pytest.fixture(autouse=True)
def _four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the third has most room, beside sixteen cores."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("engine.session.options.count_cores", lambda: CORES)
    for place in ("engine.session.options", "engine.models.memory"):
        monkeypatch.setattr(f"{place}.free_bytes", lambda name: 8e9 if name == "cuda:2" else 4e9)


def choose(**asked: Any) -> SessionOptions:
    plain: dict[str, Any] = {field.name: None for field in fields(SessionOptions)}
    usual = {"device": "auto", "executor": "auto", "stored": False, "session": (0, 1), "memory": 1e10}
    return SessionOptions(**plain | usual | asked)


@pytest.mark.parametrize(
    ("name", "kind", "gpus"),
    [
        ("auto", "cuda", (0, 1, 2, 3)),
        ("cuda", "cuda", (0, 1, 2, 3)),
        ("cuda:2", "cuda", (2,)),
        ("cpu", "cpu", ()),
    ],
)
def test_a_name_stands_for_devices(name: str, kind: str, gpus: tuple[int, ...]) -> None:
    found = find_devices(check_device(name))
    assert found == Devices(kind=kind, gpus=gpus)
    assert found.names == (tuple(f"cuda:{n}" for n in gpus) or ("cpu",))


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_devices("auto") == Devices(kind="cpu")


@pytest.mark.parametrize(
    ("count", "visible", "name", "words"),
    [
        (4, None, "cuda:4", "expected cuda:0 to cuda:3; pick one"),
        (1, None, "cuda:1", "expected cuda:0; pick one"),
        (0, None, "cuda", "expected a CUDA device; install a driver and a CUDA build"),
        (0, "", "cuda", "expected a CUDA device; see what CUDA_VISIBLE_DEVICES='' leaves, or use cpu"),
        (4, None, "cpu:0", "expected auto, cpu, cuda or cuda:N"),
        (4, None, "mps", "expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_told_with_what_to_do(
    count: int, visible: str | None, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    with pytest.raises(UsageError, match=f"^--device: got '{name}', {words}"):
        check_device(name)


def test_elsewhere_a_device_may_be_one_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert find_devices(check_device("cuda", elsewhere=True)) == Devices(kind="cuda")


@pytest.mark.parametrize(
    ("visible", "names"), [(None, ["0", "1"]), ("3,5", ["3", "5"]), ("GPU-aa, GPU-bb", ["GPU-aa", "GPU-bb"])]
)
def test_a_child_is_told_the_callers_own_name_of_a_gpu(
    visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    assert [visible_id(n) for n in range(2)] == names


@pytest.mark.parametrize(
    ("asked", "workers", "threads", "inline"),
    [
        ({"device": "cpu"}, 16, 1, False),
        ({"device": "cpu", "asked_threads": 4}, 4, 4, False),
        ({"device": "cpu", "executor": "inline"}, 1, 1, True),
        ({}, 4, 4, False),
        ({"device": "cuda:1"}, 1, 16, True),
        ({"device": "cuda:1", "asked_workers": 8}, 8, 2, False),
        ({"executor": "inline", "asked_workers": 8}, 1, 16, True),
        ({"executor": "inline", "session": (2, 4)}, 1, 4, True),
        ({"executor": "ray"}, 4, 4, False),
        ({"executor": "ray", "ray_address": "head:6379"}, 4, 1, False),
        ({"stored": True}, 4, 1, False),
    ],
)
def test_workers_and_threads_are_a_fair_share(asked: dict[str, Any], workers: int, threads: int, inline: bool) -> None:
    choices = choose(**asked)
    assert (choices.workers, choices.threads, choices.inline) == (workers, threads, inline)


def test_a_cluster_is_asked_for_one_core_an_arm_whatever_this_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose(device="cuda", executor="ray", ray_address="head:6379").threads == 1


@pytest.mark.parametrize(
    ("session", "gpus"),
    [((0, 1), (2, 0, 1, 3)), ((0, 4), (0, 1, 2, 3)), ((1, 4), (1, 2, 3, 0)), ((6, 8), (2, 3, 0, 1))],
    ids=["alone: the emptiest", "first of four", "second of four", "seventh of eight"],
)
def test_one_process_takes_the_emptiest_gpu_and_pytests_workers_take_turns(
    session: tuple[int, int], gpus: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, ...]] = []

    def note(self: Inline, *, threads: int, gpus: tuple[int, ...]) -> None:
        told.append(gpus)

    monkeypatch.setattr(Inline, "__init__", note)
    choose(executor="inline", session=session).make_executor()
    assert told == [gpus]


def test_products_are_float32s_own_where_no_gpu_is_named_too() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with using_gpus(()):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
