"""int8 subjects: named, refused, loaded, and the gradients that pass through their layers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.arms.stacks import Stack
from engine.errors import MissingError, SubjectError, UsageError
from engine.models import CATALOGUE, Subject, find_subject, quantized
from engine.models.loaded import check_finite
from engine.models.memory import count_bytes
from engine.models.quantized import estimate_int8_bytes, int8_layers, move, quantize
from engine.models.stacks import BlockStack
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf

EPS32 = torch.finfo(torch.float32).eps

needs_bitsandbytes = pytest.mark.skipif(
    quantized.missing_bitsandbytes() is not None,
    reason="runs where bitsandbytes can be imported (it has no build for Macs with Intel processors)",
)

# Six heads of 8: no size is a power of two, and the rows are long enough for a sum to round.
WIDE = {"n_embd": 48, "n_head": 6}
WIDE_LLAMA = {"hidden_size": 48, "intermediate_size": 72, "num_attention_heads": 6, "num_key_value_heads": 2}
MODELS = {
    "gpt2": lambda: make_gpt2(**WIDE, initializer_range=0.3),
    "llama": lambda: make_llama(**WIDE_LLAMA, initializer_range=0.3),
}


@pytest.fixture(params=MODELS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """A tiny folder of each family, to be quantized."""
    return find_subject(f"local-int8:{save(tmp_path / 'model', MODELS[request.param]())}")


def load(subject: Subject) -> Any:
    return subject.model(torch.float32)


def plain(layer: Any) -> Tensor:
    """The weights that an int8 layer stands for, [outputs, inputs]: codes times their row's scale, in 127ths."""
    return layer.state.CB.float() * (layer.state.SCB[:, None] * (1 / 127))


@pytest.mark.parametrize(("name", "tier"), [("gpt2-xl-int8", "xl"), ("gpt2-int8", "gpu"), ("smollm2-135m-int8", "cpu")])
def test_an_int8_subject_is_its_base_under_another_name(name: str, tier: str) -> None:
    found = find_subject(name)
    base = find_subject(name.removesuffix("-int8"))
    assert found.id == name
    assert found == quantize(base)
    assert (found.tier, found.family, found.trained) == (tier, base.family, True)
    assert found.fingerprint() == f"{base.fingerprint()}:int8"
    assert found.untrained(3) == base.untrained(3)
    assert "int8" in found.note


def test_the_largest_int8_subject_is_in_the_catalogue() -> None:
    assert "gpt2-xl-int8" in CATALOGUE


def test_a_local_folder_is_found_again_by_its_int8_name(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2())
    found = find_subject(f"local-int8:{folder}")
    assert found.id == f"local-int8:{folder}"
    assert found == quantize(find_subject(f"local:{folder}"))


def test_what_lies_in_no_folder_cannot_be_quantized(tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "tiny.gguf", make_llama())
    names = ("gpt2-untrained-int8", f"local-int8:{gguf}")
    again = find_subject("smollm2-135m-int8")
    for ask in (*(lambda name=name: find_subject(name) for name in names), lambda: quantize(again)):
        with pytest.raises(SubjectError, match=r"got a request for int8 weights, expected a trained model .*; save"):
            ask()


@pytest.mark.parametrize("name", ["gtp2-int8", "int8", "gpt2-int8:3"])
def test_an_unknown_int8_name_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        find_subject(name)


def test_without_bitsandbytes_the_subject_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    monkeypatch.setattr(quantized.platform, "machine", lambda: "arm64")
    subject = find_subject("smollm2-135m-int8")
    assert (subject.missing() or "").endswith("need bitsandbytes: pip install 'bitsandbytes>=0.46'")
    with pytest.raises(MissingError, match="pip install"):
        load(subject)


def test_a_mac_that_has_no_build_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    monkeypatch.setattr(quantized.sys, "platform", "darwin")
    monkeypatch.setattr(quantized.platform, "machine", lambda: "x86_64")
    assert "no build of it for Macs with Intel" in (quantized.missing_bitsandbytes() or "")


def test_a_bitsandbytes_that_cannot_be_imported_is_said_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bitsandbytes.py").write_text("raise OSError('no such library')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    quantized._try_import.cache_clear()
    try:
        assert "cannot be imported (OSError: no such library): " in (quantized.missing_bitsandbytes() or "")
    finally:
        quantized._try_import.cache_clear()


@needs_bitsandbytes
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_precision_does_not_apply(dtype: torch.dtype, subject: Subject) -> None:
    with pytest.raises(SubjectError, match=r"expected float32.*leave --dtype out"):
        subject.model(dtype)


@needs_bitsandbytes
def test_every_linear_layer_of_the_blocks_is_int8_and_nothing_else(subject: Subject) -> None:
    model = load(subject)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    names = {name for name, _ in int8_layers(model)}
    assert len(names) == 2 * (4 if subject.family == "gpt2" else 7)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.int8 if name.removesuffix(".weight") in names else torch.float32), name
        assert not parameter.requires_grad
    assert not model.training


@needs_bitsandbytes
def test_the_codes_are_the_weights_rounded_row_by_row(subject: Subject) -> None:
    model, saved = load(subject), find_subject(subject.id.replace("-int8", "")).model(torch.float32)
    for name, layer in int8_layers(model):
        weight = saved.get_parameter(f"{name}.weight")
        weight = weight.T if subject.family == "gpt2" else weight  # a GPT-2 layer holds inputs × outputs
        # Half a step of rounding, max|row| / 127 / 2, and before it the rounding to float16, which has 11 bits.
        largest = weight.abs().amax(dim=1, keepdim=True)
        bound = largest * (0.5 / 127 + 2 * 2.0**-11)
        assert bool(((plain(layer) - weight).abs() <= bound).all()), name


@needs_bitsandbytes
def test_the_estimate_is_the_bytes_of_a_model_that_was_built(subject: Subject) -> None:
    model = load(subject)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    scales = sum(layer.state.SCB.numel() * 4 for _, layer in int8_layers(model))
    assert count_bytes(subject, "float32") == estimate_int8_bytes(subject.config()) == weights + scales


class Tape:
    """What passes each int8 layer on one pass forth and back: its input, and the gradients at both ends."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: dict[str, dict[str, Tensor]] = {}
        self._handles = [layer.register_forward_hook(self._watch(name)) for name, layer in int8_layers(model)]

    def _watch(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            kept = self.seen.setdefault(name, {"input": inputs[0].detach()})
            # Other paths meet in the input's gradient; the output's is this layer's own, which is run again on a leaf.
            output.register_hook(lambda gradient: kept.__setitem__("upstream", gradient.detach()))
            return output

        return hook

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


def record(model: Any, stack: Stack, embeddings: Tensor) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
    """Inputs and upstream gradients of every int8 layer along one pass, and the gradient of the embeddings."""
    blocks = BlockStack(model, stack, "true")
    with torch.no_grad():
        blocks(embeddings)  # the first time, it also tries masks on a text of its own
    tape = Tape(model)
    leaf = embeddings.clone().requires_grad_()
    blocks(leaf).abs().sum().backward()
    tape.close()
    assert leaf.grad is not None
    return tape.seen, leaf.grad


def check_layers(model: Any, seen: dict[str, dict[str, Tensor]]) -> int:
    """Each int8 layer hands back what a plain layer of the de-quantized weights does, from one upstream gradient.

    Backward, bitsandbytes multiplies the upstream gradient g by D = codes · (scale · 1/127), in float32, and nothing
    else: however the inputs were rounded, this is the gradient of a linear layer with weights D. Both products are
    sums of `outputs` terms g_o·D_oi. The plain sum in any order is within outputs·u·Σ|g_o·D_oi| of the exact one
    (u = ε/2; Higham, Accuracy and Stability, equation 3.5), so the two differ by at most twice that; forming D in
    two orders of multiplication adds three roundings to each side.
    """
    checked = 0
    for name, layer in int8_layers(model):
        if name not in seen:
            continue
        x, upstream = seen[name]["input"].clone().requires_grad_(), seen[name]["upstream"]
        layer(x).backward(upstream)
        weight = plain(layer)
        twin = seen[name]["input"].clone().requires_grad_()
        nn.functional.linear(twin, weight).backward(upstream)
        assert x.grad is not None
        assert twin.grad is not None
        size = upstream.abs() @ weight.abs()
        bound = 2 * (weight.shape[0] + 3) * (EPS32 / 2) * size
        assert bool(((x.grad - twin.grad).abs() <= bound).all()), name
        assert bool((x.grad.abs() > 0).any()), name
        checked += 1
    return checked


@pytest.fixture
def embeddings() -> Tensor:
    return torch.randn((3, 5, 48), generator=torch.Generator().manual_seed(3))


@needs_bitsandbytes
def test_a_gradient_through_an_int8_layer_is_the_de_quantized_weights(subject: Subject, embeddings: Tensor) -> None:
    model = load(subject)
    seen, _ = record(model, Stack(blocks=2), embeddings)
    assert check_layers(model, seen) == len(int8_layers(model))


@needs_bitsandbytes
def test_outliers_change_nothing_about_that(subject: Subject, embeddings: Tensor) -> None:
    model = load(subject)
    _, layer = int8_layers(model)[0]
    x = embeddings.clone()
    x[..., 4] = 40.0  # beyond the 6 at which a column is left out of the rounding
    upstream = torch.randn((3, 5, layer.out_features), generator=torch.Generator().manual_seed(4))
    assert check_layers(model, {int8_layers(model)[0][0]: {"input": x, "upstream": upstream}}) == 1


@needs_bitsandbytes
def test_a_gradient_through_a_block_is_that_of_plain_layers_at_the_same_points(
    subject: Subject, embeddings: Tensor
) -> None:
    """End to end: layers that put out what the int8 ones put out, and pass gradients by D in float64, give the same.

    With equal values forward, every nonlinearity is differentiated at the same point, so the two chains differ by the
    float32 rounding of the backward products alone, which the test above bounds for each. This one shows that nothing
    else contributes, such as a layer that drops its gradient: that would be off by a tenth or more. Rounding is at most
    2·(192 + 3)·u = 2.3e-5 of a sum of absolute values; a factor of 10 covers two blocks in a row and cancellation.
    """
    model = load(subject)
    _, expected = record(model, Stack(blocks=2), embeddings)
    for name, layer in int8_layers(model):
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], _Straight(layer))
    leaf = embeddings.clone().requires_grad_()
    BlockStack(model, Stack(blocks=2), "true")(leaf).abs().sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad - expected).abs().max() <= 2.3e-4 * expected.abs().max()


class _Straight(nn.Module):
    """Puts out an int8 layer's value, with the gradient of a plain layer of its de-quantized weights."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer, self._weight = [layer], plain(layer).double()  # in a list, so that it is no submodule

    def forward(self, x: Tensor) -> Tensor:
        return _Pass.apply(x, self._layer[0], self._weight)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return layer(x.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return (gradient.double() @ ctx.weight).to(gradient.dtype), None, None


@needs_bitsandbytes
def test_the_packaged_model_runs_in_int8_at_both_depths(caplog: pytest.LogCaptureFixture) -> None:
    model = load(find_subject("smollm2-135m-int8"))
    ids = torch.tensor([[504, 6376, 314]])
    embedded = model.get_input_embeddings()(ids)
    with caplog.at_level(logging.WARNING):
        for blocks in (15, 30):
            seen, gradient = record(model, Stack(blocks=blocks), embedded)
            assert len(seen) == 7 * blocks
            assert bool(torch.isfinite(gradient).all())
    assert caplog.records == []
    seen, _ = record(model, Stack(blocks=1), embedded)
    assert check_layers(model, seen) == 7


@needs_bitsandbytes
def test_errors_of_bitsandbytes_are_still_heard(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    load(subject)
    logging.getLogger("bitsandbytes.autograd._functions").warning("something else")
    logging.getLogger("bitsandbytes").error("broken")
    assert [record.message for record in caplog.records] == ["something else", "broken"]


@needs_bitsandbytes
def test_damaged_weights_are_found_in_the_scales(subject: Subject) -> None:
    model = load(subject)
    check_finite(subject.id, model)
    name, layer = int8_layers(model)[-1]
    layer.state.SCB[0] = torch.nan
    with pytest.raises(SubjectError, match=f"NaN or infinity in {name}.weight"):
        check_finite(subject.id, model)


@needs_bitsandbytes
def test_a_folder_with_nan_in_a_layer_is_refused(tmp_path: Path) -> None:
    damaged = make_llama()
    damaged.model.layers[1].mlp.up_proj.weight.data[3, 2] = torch.nan
    name = f"local-int8:{save(tmp_path / 'model', damaged)}"
    with pytest.raises(SubjectError, match=r"NaN or infinity in model\.layers\.1\.mlp\.up_proj\.weight"):
        check_finite(name, load(find_subject(name)))


@needs_bitsandbytes
def test_a_layer_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    other = make_llama(num_hidden_layers=1)
    folder = save(tmp_path / "model", other)
    settings = (folder / "config.json").read_text()
    (folder / "config.json").write_text(settings.replace('"num_hidden_layers": 1', '"num_hidden_layers": 2'))
    with pytest.raises(SubjectError, match=r"no model\.layers\.1"):
        load(find_subject(f"local-int8:{folder}"))


@needs_bitsandbytes
def test_moving_takes_codes_and_scales_along(subject: Subject) -> None:
    model = move(load(subject), "meta")
    held = [t for _, layer in int8_layers(model) for t in (layer.weight, layer.state.CB, layer.state.SCB)]
    assert len(held) == 3 * 2 * (4 if subject.family == "gpt2" else 7)
    assert {t.device.type for t in (*held, *model.parameters())} == {"meta"}


@pytest.fixture(autouse=True)
def _no_global_draws() -> Generator[None]:
    """Nothing here may touch the global random state."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)
