"""int8 versions of subjects: bitsandbytes quantizes the linear layers of the blocks, everything else is float32.

A layer rounds its weights to int8 once, row by row, and its inputs at each call. A gradient passes back through the
de-quantized weights. A column of inputs with a value of 6 or more is not rounded, for every row of a batch, so that a
unit's numbers depend slightly on the units beside it. Source: LLM.int8(), arXiv 2208.07339.
"""

from __future__ import annotations

import logging
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from engine.errors import SubjectError, explain
from engine.models.families import Attention
from engine.models.loading import build_without_weights, load_weights, loading
from engine.models.subject import Subject, Tier, refusal

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SUFFIX = "-int8"
LOCAL, LOCAL_INT8 = "local:", "local-int8:"
HEAD = "lm_head"
"""The head's module in every family. It is not quantized, because with tied weights it is the embedding."""


@dataclass(frozen=True, kw_only=True)
class QuantizedSubject(Subject):
    """The weights of another subject, with int8 linear layers. `quantize` makes it."""

    base: Subject

    @property
    def own(self) -> bool:
        return self.base.own

    @property
    def tier(self) -> Tier:
        return self.base.tier

    @property
    def family(self) -> str:
        return self.base.family

    def fingerprint(self) -> str:
        return f"{self.base.fingerprint()}:int8"

    @property
    def opening(self) -> str:
        return self.base.opening

    def missing(self) -> str | None:
        return self.base.missing() or missing_bitsandbytes()

    def config(self) -> PreTrainedConfig:
        return self.base.config()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.base.tokenizer()

    def untrained(self, seed: int) -> Subject:
        return self.base.untrained(seed)

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        import torch

        if dtype != torch.float32:
            raise SubjectError(explain_dtype(self.id, str(dtype).removeprefix("torch.")))
        folder, config = self.base.folder(), self.base.config()
        with loading(self.id, expected="a bitsandbytes that works", remedy=_find_install_remedy()):
            from transformers import BitsAndBytesConfig

            plan = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[HEAD])
        # Adding the same filter again does nothing.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_drop_cast_warnings)
        model = load_weights(self.id, folder, config=config, dtype=dtype, attention=attention, quantization=plan)
        # The library does this at the first call; a moved or checked layer needs it before.
        for _, layer in int8_layers(model):
            layer.init_8bit_state()
        return model


def quantize(base: Subject) -> QuantizedSubject:
    """The int8 version of a subject, without loading it. Raises SubjectError unless its weights lie in a folder."""
    if not base.in_folder:
        expected = "a trained model in transformers' format (a folder, the hub's cache or the packaged one)"
        remedy = (
            "save the model with save_pretrained and name the folder (a GGUF file's is read by "
            "from_pretrained(FOLDER, gguf_file=NAME, quantization_config=GgufConfig(dequantize=True)))"
        )
        raise refusal(base.id, "a request for int8 weights", expected, remedy)
    name = f"{LOCAL_INT8}{base.id.removeprefix(LOCAL)}" if base.id.startswith(LOCAL) else f"{base.id}{SUFFIX}"
    return QuantizedSubject(id=name, note=f"{base.note}; linear layers in int8 (bitsandbytes)", base=base)


def explain_dtype(who: str, dtype: str) -> str:
    """One line on why an int8 subject can only be float32."""
    expected = "float32, the precision of all that is not int8"
    return explain(who=who, got=f"dtype {dtype}", expected=expected, remedy="leave --dtype out")


def missing_bitsandbytes() -> str | None:
    """How to get a bitsandbytes that works; None if it can be imported. Imports it, and torch with it."""
    if find_spec("bitsandbytes") is None:
        return f"int8 weights need bitsandbytes: {_find_install_remedy()}"
    cause = _try_import()
    return None if cause is None else f"bitsandbytes cannot be imported ({cause}): {_find_install_remedy()}"


def int8_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """The quantized layers of a model with their names; none in a plain model."""
    import torch

    named = ((name, layer, getattr(layer, "weight", None)) for name, layer in model.named_modules())
    return [(name, layer) for name, layer, w in named if isinstance(w, torch.Tensor) and w.dtype == torch.int8]


def move(model: PreTrainedModel, device: str) -> PreTrainedModel:
    """Move a model to a device, with its quantized layers.

    Such a layer also keeps its int8 weights and their scales outside of its parameters, where a module's own `to` does
    not find them. They are moved here, one by one.
    """
    # Take the weights of quantized layers out, move the rest, and put them back where it now is.
    layers = [(layer, layer.weight) for _, layer in int8_layers(model)]
    for layer, _ in layers:
        layer.weight = None
    model.to(device)  # pyright: ignore[reportArgumentType]
    for layer, weight in layers:
        layer.weight = type(weight)(weight.data.to(device), requires_grad=False, has_fp16_weights=False)
        layer.state.CB, layer.state.SCB = layer.weight.data, layer.state.SCB.to(device)
    return model


def estimate_int8_bytes(config: PreTrainedConfig, *, who: str = "configuration") -> int:
    """Bytes of a configuration's weights with int8 layers, without allocating them.

    An int8 layer takes one byte for a weight and four for a scale; every other weight takes four.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    with loading(who, expected="a configuration that can be built", remedy="check the configuration"):
        model = build_without_weights(config)
        plain = 4 * sum(parameter.numel() for parameter in model.parameters())
        kept = model.get_output_embeddings()
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear | Conv1D) and m is not kept]
        # A Conv1D holds inputs × outputs, a Linear outputs × inputs. There is one scale for each output.
        outputs = [m.weight.shape[1 if isinstance(m, Conv1D) else 0] for m in layers]
        return plain - 3 * sum(m.weight.numel() for m in layers) + 4 * sum(outputs)


def _find_install_remedy() -> str:
    if sys.platform == "darwin" and platform.machine() != "arm64":
        return "there is no build of it for Macs with Intel processors, so use another machine"
    return "pip install 'bitsandbytes>=0.46'"


@cache
def _try_import() -> str | None:
    """The error of importing bitsandbytes; None if there is none."""
    # Below an error it only logs such things as optional kernels that this machine lacks.
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with loading("bitsandbytes", expected="a module", remedy="install it again"):
            import bitsandbytes  # noqa: F401 (only tried)  # pyright: ignore[reportUnusedImport]
    except SubjectError as error:
        cause = error.__cause__
        return " ".join(f"{type(cause).__name__}: {cause}".split())[:120]
    finally:
        logger.setLevel(level)
    return None


def _drop_cast_warnings(record: logging.LogRecord) -> bool:
    """Filter out a warning that every layer repeats at every call: that inputs are cast to float16 to be rounded.

    That is what int8 means here.
    """
    return "inputs will be cast" not in str(record.msg)
