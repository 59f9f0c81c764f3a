"""Load models through transformers, without its logs, from exactly the files that a subject is named by.

Every failure becomes a SubjectError of one line.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, redirect_stderr
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, SubjectError, explain
from engine.files import cache_folder
from engine.models.families import Attention, find_attention, model_class
from engine.models.subject import refusal
from engine.models.weight_files import ALL_WEIGHTS, FETCH_AGAIN, check_stored, find_weights, renames

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

LONGEST_CAUSE = 240

MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a name of its own is made in it)
"""Where many machines can hold links although every disk is full."""


@contextmanager
def loading(who: str, *, expected: str, remedy: str) -> Generator[None]:
    """Run library code without its progress bars, logs and warnings, and leave the global random state as it was.

    Whatever the libraries raise becomes a SubjectError of one line, chained to its cause.
    """
    import torch

    try:
        from transformers.utils import logging

        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(CRITICAL)
        logging.disable_progress_bar()
        try:
            # One of the library's bars reads no setting and always writes to standard error.
            with warnings.catch_warnings(), redirect_stderr(io.StringIO()), torch.random.fork_rng(devices=[]):
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
    except EngineError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        shown = cause if len(cause) <= LONGEST_CAUSE else cause[:LONGEST_CAUSE] + "…"
        raise SubjectError(explain(who=who, got=shown, expected=expected, remedy=remedy)) from error


@contextmanager
def staged(who: str, folder: Path, names: Iterable[str]) -> Generator[Path]:
    """A folder with links to these files of `folder` and nothing else, so that a library can open no other file.

    Beside the files it is asked for, a library may open others: an adapter, a second vocabulary, settings for
    generation. Which ones changes with its version and with what else is installed, so no list of them would last.

    names: relative to `folder`, possibly in a subfolder. Raises SubjectError if no folder can be made.
    """
    with ExitStack() as stack:
        made: str | None = None
        problem: OSError | None = None
        # Among the temporary folders; where those cannot be written, in the cache or in memory.
        for place in (None, cache_folder(), MEMORY):
            try:
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix="lm-claims-", dir=place))
                break
            except OSError as error:
                problem = problem or error
        try:
            if made is None:
                assert problem is not None
                raise problem
            for name in names:
                link = Path(made, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((folder / name).resolve())
        except OSError as error:
            got = f"no folder for temporary files ({error})"
            raise refusal(who, got, "one that can be written", "set TMPDIR to one") from error
        yield Path(made)


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
    """The model in `folder` (or in its `gguf_file`, de-quantized), with every parameter from the files.

    quantization: the library's description of how plain weights are quantized as they are read.
    Raises SubjectError if a parameter is absent, left over or of another shape: transformers would go on with random
    numbers.
    """
    import transformers

    options: dict[str, Any] = {}
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
        # Asks for plain weights: newer versions may otherwise keep them in 4-bit blocks on some devices.
        if (make_gguf_config := getattr(transformers, "GgufConfig", None)) is not None:
            options["quantization_config"] = make_gguf_config(dequantize=True)
    elif quantization is not None:
        # Unless it is told a device, the library would choose an accelerator by itself.
        options = {"quantization_config": quantization, "device_map": {"": "cpu"}}
    files = [gguf_file] if gguf_file else find_weights(who, folder)
    kind = model_class(config.model_type)
    with (
        staged(who, folder, files) as stage,
        loading(who, expected="weights that can be loaded", remedy=FETCH_AGAIN),
    ):
        if gguf_file is None:
            check_stored(who, stage, files, config, build_without_weights(config))
        loaded: Any = kind.from_pretrained(
            stage,
            config=config,
            dtype=dtype,
            attn_implementation=find_attention(config.model_type, attention),
            generation_config=transformers.GenerationConfig(),  # claims decide how text is generated
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,  # a pickle may hold numbers, and nothing that runs
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            **options,
        )
        model, report = loaded
        # Of types whose tensors it renames, the library alone knows which ones have no place.
        for key in sorted(report["unexpected_keys"]) if renames(model) else ():
            got = f"{key[:120]}, which the configuration has no place for"
            raise refusal(who, got, ALL_WEIGHTS, FETCH_AGAIN)
        # The first parameter that was not taken from the files as it is.
        for key in sorted(report["missing_keys"]):
            raise refusal(who, f"no {key}", ALL_WEIGHTS, FETCH_AGAIN)
        for key, stored, built in sorted(report["mismatched_keys"], key=str):
            got = f"{key} of shape {tuple(stored)} where the configuration has {tuple(built)}"
            raise refusal(who, got, ALL_WEIGHTS, FETCH_AGAIN)
        model.config.name_or_path = str(folder)
    return model


def build_without_weights(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a configuration on the meta device: its parameters have names and shapes, and take no memory."""
    import torch

    with torch.device("meta"):
        return model_class(config.model_type)(config)
