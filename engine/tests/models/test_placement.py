"""Models that are spread over several GPUs: which modules go where, and that a cut model runs its own blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.arms.stacks import Stack
from engine.errors import MissingError
from engine.models.memory import dispatch, place, plan_layout
from engine.models.stacks import BlockStack
from engine.tests.tiny import FAMILIES, make_tiny


@pytest.fixture(name="size")
def provide_size() -> dict[str, int]:
    """Bytes of each family's weights."""
    models = {family: make_tiny(family) for family in FAMILIES}
    return {f: sum(p.numel() * p.element_size() for p in m.parameters()) for f, m in models.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_stays_whole_where_the_first_gpu_has_room_for_it_and_for_work(
    family: str, size: dict[str, int]
) -> None:
    model = make_tiny(family)
    assert plan_layout(model, (0, 1), lambda gpu: 1.5 * size[family]) is None
    assert plan_layout(model, (0, 1), lambda gpu: 1.5 * size[family] - 1) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_cut_between_blocks_and_every_module_has_a_gpu(family: str, size: dict[str, int]) -> None:
    model = make_tiny(family)
    layout = plan_layout(model, (2, 3), lambda gpu: 1.3 * size[family])
    assert layout is not None
    assert set(layout.values()) == {2, 3}
    for name, _ in model.named_parameters():
        holders = [part for part in layout if name == part or name.startswith(f"{part}.")]
        if name != "lm_head.weight":
            assert len(holders) == 1, name
    blocks = [part for part in layout if any(f".{word}." in part for word in ("h", "layers"))]
    assert all(part.rpartition(".")[2].isdecimal() for part in blocks), "a block is divided"


@pytest.mark.parametrize(("device", "gpus"), [("cpu", (0, 1)), ("cuda", (0,)), ("cuda", ())])
def test_one_gpu_and_the_cpu_take_a_model_whole(
    device: str, gpus: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, moved = make_tiny("gpt2"), list[str]()
    monkeypatch.setattr("engine.models.memory.move", lambda model, device: moved.append(device) or model)
    monkeypatch.setattr("engine.models.memory.free_gpu_bytes", lambda gpu: 0.0)
    assert place(model, device, gpus) is model
    assert moved == [device]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_several_gpus_have_no_room_for_is_told(family: str, size: dict[str, int]) -> None:
    with pytest.raises(MissingError, match=r"^placement: got .* GB of weights in .* expected room .* GB free"):
        plan_layout(make_tiny(family), (0, 1), lambda gpu: 0.5 * size[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stack", [Stack(blocks=1), Stack(blocks=2, head=True), Stack(blocks=3, final_norm=True)])
def test_a_cut_of_a_placed_model_gives_the_plain_ones_numbers(family: str, stack: Stack, tmp_path: Path) -> None:
    """The CPU stands for the first device and the disk for another: the library's hooks are the same."""
    plain, placed = make_tiny(family, dtype=torch.float64), make_tiny(family, dtype=torch.float64)
    body = placed.base_model_prefix
    parts = {name: "cpu" for name, _ in placed.base_model.named_children()}
    blocks = next(name for name in parts if name in ("h", "layers"))
    del parts[blocks]
    parts |= {f"{blocks}.{n}": "disk" if n else "cpu" for n in range(3)}
    layout = {f"{body}.{name}": where for name, where in parts.items()} | {"lm_head": "cpu"}
    dispatch(placed, layout, offload_dir=tmp_path)
    embeddings = torch.randn(2, 5, 32, dtype=torch.float64)
    outputs = [BlockStack(model, stack, "true")(embeddings) for model in (plain, placed)]
    assert torch.equal(*outputs)


def test_a_body_that_is_placed_as_one_still_runs_the_blocks_of_its_cut() -> None:
    plain, placed = make_tiny("gpt2"), make_tiny("gpt2")
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    add_hook_to_module(placed.base_model, AlignDevicesHook(execution_device="cpu"))
    embeddings = torch.randn(1, 4, 32)
    one, other = (BlockStack(model, Stack(blocks=1), "true")(embeddings) for model in (plain, placed))
    assert torch.equal(one, other)
