"""Models that the user has on disk: a folder in transformers' format, or a GGUF file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cache import expand_home
from engine.errors import SubjectError, explain
from engine.prompts import is_text, shorten
from engine.subjects.base import Attention, Subject, Tier
from engine.subjects.files import hash_file
from engine.subjects.gguf_header import GgufHeader, MalformedGguf, read_gguf_header
from engine.subjects.loading import check_family, config_class, load_weights, loading
from engine.subjects.tokenizers import TOKENIZER_FILES, read_tokenizer
from engine.subjects.untrained import UntrainedSubject, check_seed, find_tier, size_tier

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights, in its order; an index lists the files that hold them."""

SAVE_AGAIN = "save it again with save_pretrained"

MOST_BLOCKS = 1000
"""Blocks of a model, several times the deepest one's: a number gone wrong would keep the library building for hours."""


@dataclass(frozen=True, kw_only=True)
class LocalFolder(Subject):
    """A folder in transformers' format."""

    path: Path

    @property
    def tier(self) -> Tier:
        return find_tier(self)

    @property
    def trained(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return _check_settings(self.id, self.path)

    def fingerprint(self) -> str:
        names = ["config.json", "generation_config.json", *TOKENIZER_FILES, *find_weights(self.id, self.path)]
        digest = hashlib.sha256()
        for name in sorted(name for name in names if (self.path / name).is_file()):
            digest.update(f"{name} {hash_file(self.path / name)}\n".encode())
        return f"folder:sha256:{digest.hexdigest()}"

    def missing(self) -> str | None:
        return None

    def config(self) -> PreTrainedConfig:
        return read_config(self.id, self.path)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self.id, self.path, self.config())

    def untrained(self, seed: int) -> Subject:
        return untrained_twin(self, self.path, seed)

    @property
    def in_folder(self) -> bool:
        return True

    def folder(self) -> Path:
        return self.path

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return load_folder(self.id, self.path, dtype, attention)


@dataclass(frozen=True, kw_only=True)
class LocalGguf(Subject):
    """A GGUF file; its weights are de-quantized as they are loaded."""

    path: Path

    @property
    def tier(self) -> Tier:
        return size_tier(4 * self._header().weights)

    @property
    def trained(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return check_family(self.id, self._header().architecture)

    def fingerprint(self) -> str:
        return f"sha256:{hash_file(self.path)}"

    def missing(self) -> str | None:
        return None

    def config(self) -> PreTrainedConfig:
        family = check_family(self.id, self._header().architecture)
        from transformers import PreTrainedConfig

        with loading(self.id, expected="a header with a model's configuration", remedy="fetch the file again"):
            settings, _ = PreTrainedConfig.get_config_dict(self.path.parent, gguf_file=self.path.name)
            # Some files of the Llama architecture are of a family of their own: the library goes by name.
            check_family(self.id, settings.get("model_type"))
            if family == "gpt2" and "n_ctx" in settings:
                settings["n_positions"] = settings["n_ctx"]  # the library reads the one and builds by the other
            return _check_depth(self.id, config_class(family).from_dict(settings), "fetch the file again")

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self.id, self.path.parent, self.config(), gguf_file=self.path.name)

    def untrained(self, seed: int) -> Subject:
        return untrained_twin(self, self.path, seed)

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return load_weights(
            self.id,
            self.path.parent,
            config=self.config(),
            dtype=dtype,
            attention=attention,
            gguf_file=self.path.name,
        )

    def _header(self) -> GgufHeader:
        return _read_header(self.id, self.path)


def find_local(text: str) -> LocalFolder | LocalGguf:
    """The model at a path, without torch. Raises SubjectError when nothing there can be one."""
    # Absolute, but not resolved: a link into a store of files may lose the ending that says GGUF.
    path = Path(os.path.abspath(expand_home(text)))
    who = f"local:{path}"
    if not is_text(text):
        raise _refusal(who, "a path with bytes that are not UTF-8", "text, as reports hold it", "rename or link it")
    if not text or not os.path.exists(path):  # unlike Path.exists, this is no error where the path is too long
        raise SubjectError(
            explain(
                who=who,
                got="no such path",
                expected="a model folder or a .gguf file",
                remedy="check the path",
            )
        )
    if path.is_dir():
        try:
            _check_folder(who, path)
        except OSError as error:
            raise _refusal(who, str(error), "a folder that can be read", "check its permissions") from error
        return LocalFolder(id=who, note=f"{path.name}: the user's own model folder", path=path)
    check_family(who, _read_header(who, path).architecture)
    return LocalGguf(id=who, note=f"{path.name}: the user's own GGUF file, weights de-quantized", path=path)


def untrained_twin(subject: Subject, path: Path, seed: int) -> UntrainedSubject:
    """The configuration of a local model with random weights, as 'local-untrained:PATH:seed'."""
    stem = f"local-untrained:{path}"
    check_seed(stem, seed)
    note = f"The configuration of {path.name} with random weights"
    return UntrainedSubject(id=f"{stem}:{seed}", stem=stem, note=note, seed=seed, pattern=subject)


def load_folder(who: str, folder: Path, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
    """The model in a folder. Raises SubjectError as `read_config`, `find_weights` and `load_weights` do."""
    config = read_config(who, folder)
    find_weights(who, folder)
    return load_weights(who, folder, config=config, dtype=dtype, attention=attention)


def read_config(who: str, folder: Path) -> PreTrainedConfig:
    """The configuration in a folder. Raises SubjectError when it is no model of a supported family."""
    family = _check_settings(who, folder)
    with loading(who, expected="a config.json that can be built", remedy=SAVE_AGAIN):
        return _check_depth(who, config_class(family).from_pretrained(folder, local_files_only=True))


def find_weights(who: str, folder: Path) -> list[str]:
    """Names of the files that hold a folder's weights, with their index.

    Raises SubjectError without any, and for an index that names a file elsewhere.
    """
    present = [name for name in WEIGHT_FILES if os.path.isfile(folder / name)]
    if not present:
        raise _refusal(who, "no weights", f"one of {', '.join(WEIGHT_FILES)}")
    if not present[0].endswith(".index.json"):
        return present[:1]
    index = _read_json(who, folder / present[0]).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise _refusal(who, f"{present[0]} without a weight_map", "an index of weight files")
    shards = sorted({str(name) for name in index.values()})
    # The names come from the file, and what is joined to a folder need not stay in it.
    if strays := [name for name in shards if name != Path(name).name or not is_text(name)]:
        raise _refusal(who, f"{present[0]} that lists {shorten(strays[0])}", "names of files beside it")
    absent = [name for name in shards if not os.path.isfile(folder / name)]
    if absent:
        raise _refusal(who, f"no {absent[0]}", f"the {len(shards)} files that {present[0]} lists")
    return [present[0], *shards]


def _check_folder(who: str, folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        raise _refusal(who, "an empty folder", "config.json and weights")
    packed = [name for name in names if name.endswith(".gguf")]
    if packed and "config.json" not in names:
        remedy = f"name the file: local:{folder / packed[0]}"
        raise SubjectError(explain(who=who, got="a folder", expected="the GGUF file in it", remedy=remedy))
    _check_settings(who, folder)
    find_weights(who, folder)


def _check_settings(who: str, folder: Path) -> str:
    """The family that config.json names."""
    if not (folder / "config.json").is_file():
        raise _refusal(who, "a folder without config.json", "a model in transformers' format")
    settings = _read_json(who, folder / "config.json")
    family = check_family(who, settings.get("model_type"))
    if settings.get("quantization_config"):
        raise _refusal(who, "quantized weights", "plain ones (or a GGUF file)", "de-quantize the model and save it")
    if settings.get("transformers_weights") is not None:
        # The library would read that file, and the fingerprint be another's.
        raise _refusal(who, "config.json that names a file of weights", f"weights in {WEIGHT_FILES[0]}")
    return family


def _check_depth(who: str, config: PreTrainedConfig, remedy: str = SAVE_AGAIN) -> PreTrainedConfig:
    blocks = config.num_hidden_layers
    if not isinstance(blocks, int) or not 0 < blocks <= MOST_BLOCKS:
        raise _refusal(who, f"{blocks!r} blocks", f"1 to {MOST_BLOCKS}", remedy)
    return config


def _read_json(who: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(who, f"{path.name}: {error}", "readable JSON") from error
    if not isinstance(content, dict):
        raise _refusal(who, f"{path.name} with a JSON {type(content).__name__}", "a JSON object")
    return content


def _read_header(who: str, path: Path) -> GgufHeader:
    try:
        return read_gguf_header(path)
    except (MalformedGguf, OSError) as error:
        raise _refusal(who, str(error), "a whole GGUF file", "fetch the file again") from error


def _refusal(who: str, got: str, expected: str, remedy: str = SAVE_AGAIN) -> SubjectError:
    return SubjectError(explain(who=who, got=got, expected=expected, remedy=remedy))
