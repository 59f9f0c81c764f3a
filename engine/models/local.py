"""Models that the user has on disk: a folder in transformers' format, or a GGUF file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SubjectError, explain
from engine.files import expand_home, hash_file, hash_files, read_once
from engine.models.config_file import select_used
from engine.models.families import Attention, check_family, config_class
from engine.models.folders import CONFIG, check_depth, check_folder, read_settings
from engine.models.gguf import GgufHeader, MalformedGguf, read_gguf_header
from engine.models.gguf_checks import check_gguf, check_whole, check_words, complete_settings
from engine.models.loading import load_weights, loading
from engine.models.refusals import SAVE_AGAIN, refusal
from engine.models.staging import staged
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import find_tokenizer_files, read_tokenizer
from engine.models.untrained import UntrainedSubject, check_seed, find_tier, size_tier
from engine.models.weight_files import find_weights
from engine.text import is_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


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
        return read_settings(self.id, self.path)[0]

    def fingerprint(self) -> str:
        covered = [CONFIG, *find_weights(self.id, self.path), *find_tokenizer_files(self.path)]
        return f"folder:sha256:{hash_files(self.path, covered)}"

    def tokenizer_source(self) -> str:
        return hash_files(self.path, find_tokenizer_files(self.path))

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
        return self._header().architecture

    def fingerprint(self) -> str:
        # Not the bare hash: before ends of texts and spaces before words were read as the file says, that was the name.
        return f"gguf:sha256:{hash_file(self.path)}"

    def missing(self) -> str | None:
        return None

    def config(self) -> PreTrainedConfig:
        header = self._header()
        check_words(self.id, header.fields)
        from transformers import PreTrainedConfig

        with (
            staged(self.id, self.path.parent, [self.path.name]) as stage,
            loading(self.id, expected="a header with a model's configuration", remedy="fetch the file again"),
        ):
            read, _ = PreTrainedConfig.get_config_dict(stage, gguf_file=self.path.name)
            # Some files of the Llama architecture are of a family of their own: the library goes by name.
            family = check_family(self.id, read.get("model_type"))
            config = config_class(family)(**select_used(self.id, family, complete_settings(header, read)))
        check_depth(self.id, config.num_hidden_layers, "fetch the file again")
        return config

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

    def tokenizer_source(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.sha256(file.read(self._header().end)).hexdigest()

    def _header(self) -> GgufHeader:
        return _read_header(self.id, self.path)


def find_local(text: str) -> LocalFolder | LocalGguf:
    """The model at a path, without torch. Raises SubjectError when nothing there can be one."""
    # Absolute, but not resolved: a link into a store of files may lose the ending that says GGUF.
    path = Path(os.path.abspath(expand_home(text)))
    who = f"local:{path}"
    if not is_text(text):
        raise refusal(who, "a path with bytes that are not UTF-8", "text, as reports hold it", "rename or link it")
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
            check_folder(who, path)
        except OSError as error:
            raise refusal(who, str(error), "a folder that can be read", "check its permissions") from error
        return LocalFolder(id=who, note=f"{path.name}: the user's own model folder", path=path)
    _read_header(who, path)
    return LocalGguf(id=who, note=f"{path.name}: the user's own GGUF file, weights de-quantized", path=path)


def untrained_twin(subject: Subject, path: Path, seed: int) -> UntrainedSubject:
    """The configuration of a local model with random weights, as 'local-untrained:PATH:seed'."""
    stem = f"local-untrained:{path}"
    check_seed(stem, seed)
    note = f"The configuration of {path.name} with random weights"
    return UntrainedSubject(id=f"{stem}:{seed}", stem=stem, note=note, seed=seed, pattern=subject)


def load_folder(who: str, folder: Path, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
    """The model in a folder. Raises SubjectError as `read_config` and `load_weights` do."""
    return load_weights(who, folder, config=read_config(who, folder), dtype=dtype, attention=attention)


def read_config(who: str, folder: Path) -> PreTrainedConfig:
    """The configuration in a folder. Raises SubjectError when it is no model of a supported family."""
    family, used = read_settings(who, folder)
    with loading(who, expected="a config.json that can be built", remedy=SAVE_AGAIN):
        config = config_class(family)(**used)
    check_depth(who, config.num_hidden_layers)
    return config


def _read_header(who: str, path: Path) -> GgufHeader:
    """The header of a file of a supported family that asks for nothing that is not computed."""
    try:
        header = read_once(read_gguf_header, path)
    except (MalformedGguf, OSError) as error:
        raise refusal(who, str(error), "a whole GGUF file", "fetch the file again") from error
    check_whole(who, header)
    check_family(who, header.architecture)
    check_gguf(who, path, header)
    return header
