"""transformers, kept quiet and held to an answer: a model whole, or one line that says why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, redirect_stderr
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, SubjectError, explain
from engine.models.families import Attention, model_class
from engine.models.refusals import refusal
from engine.models.staging import staged
from engine.models.stored import FETCH_AGAIN, check_stored
from engine.models.weight_files import find_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

LONGEST_CAUSE = 240


@contextmanager
def loading(who: str, *, expected: str, remedy: str) -> Generator[None]:
    """Runs library code without its bars, logs and warnings; the global random state is as before at the end.

    Whatever the libraries raise becomes a SubjectError of one line, chained to its cause.
    """
    import torch

    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            yield
    except EngineError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        shown = cause if len(cause) <= LONGEST_CAUSE else cause[:LONGEST_CAUSE] + "…"
        raise SubjectError(explain(who=who, got=shown, expected=expected, remedy=remedy)) from error


@contextmanager
def _quiet() -> Generator[None]:
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        # One of the library's bars asks no setting and writes to standard error whatever is set.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_weights(
    who: str,
    folder: Path,
    *,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    attention: Attention = "sdpa",
    gguf_file: str | None = None,
    quantization: Any | None = None,
) -> PreTrainedModel:
    """The model in `folder` (or in its `gguf_file`, de-quantized), every parameter from the file.

    quantization: the library's description of how plain weights are quantized as they are read.
    Raises SubjectError when a parameter is absent, left over or of another shape: transformers would go on with
    random numbers.
    """
    from transformers import GenerationConfig

    options: dict[str, Any] = {"gguf_file": gguf_file, "quantization_config": _unpacking()} if gguf_file else {}
    if quantization is not None:
        # Without a place named, the library would choose an accelerator by itself.
        options = {"quantization_config": quantization, "device_map": {"": "cpu"}}
    files = [gguf_file] if gguf_file else find_weights(who, folder)
    kind = model_class(config.model_type)
    with (
        staged(who, folder, files) as stage,
        loading(who, expected="weights that can be loaded", remedy=FETCH_AGAIN),
    ):
        if gguf_file is None:
            check_stored(who, stage, files, config, outline(config))
        loaded: Any = kind.from_pretrained(
            stage,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            generation_config=GenerationConfig(),  # claims say themselves how text is generated
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,  # a pickle may hold numbers, and nothing that runs
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            **{name: value for name, value in options.items() if value is not None},
        )
        model, report = loaded
        misfit = _find_misfit(report)
        if misfit is not None:
            raise refusal(who, misfit, "weights that fit the configuration, all of them", FETCH_AGAIN)
        model.config.name_or_path = str(folder)
    return model


def outline(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a configuration without numbers: its parameters have names and shapes, and take no memory."""
    import torch

    with torch.device("meta"):
        return model_class(config.model_type)(config)


def use_torch_parts(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with two of the library's parts replaced by torch's own of the same formula.

    GPT-2's GELU, which the library spells out in eight passes over its input: torch makes one. The root-mean-square
    norm of a float64 model: the library's computes in float32 whatever its input is, which would leave seven digits.
    """
    import torch
    from torch import nn
    from transformers.activations import NewGELUActivation
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, nn.GELU(approximate="tanh"))
            elif isinstance(child, LlamaRMSNorm) and child.weight.dtype == torch.float64:
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(parent, name, norm)
    return model


def _find_misfit(report: Mapping[str, Iterable[Any]]) -> str | None:
    """The first parameter, in the library's report on a load, that was not taken from the file as it is."""
    for key in sorted(report["missing_keys"]):
        return f"no {key}"
    for key, stored, built in sorted(report["mismatched_keys"], key=str):
        return f"{key} of shape {tuple(stored)} where the configuration has {tuple(built)}"
    return None


def _unpacking() -> Any:
    """Asks for plain weights: newer versions may otherwise keep them in 4-bit blocks on some devices."""
    import transformers

    make = getattr(transformers, "GgufConfig", None)
    return make(dequantize=True) if make is not None else None
