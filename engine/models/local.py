"""Models that the user has on disk: a folder in transformers' format, or a GGUF file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.files import expand_home, hash_file, hash_files
from engine.models.config_file import read_json, select_used
from engine.models.families import Attention, check_family, config_class
from engine.models.gguf import (
    FETCH_FILE,
    GgufHeader,
    check_gguf_tokenizer,
    complete_settings,
    read_supported_header,
)
from engine.models.loading import load_weights, loading, staged
from engine.models.subject import SAVE_AGAIN, Subject, Tier, refusal
from engine.models.tokenizers import find_tokenizer_files, read_tokenizer
from engine.models.untrained import UntrainedSubject, check_seed, find_tier, tier_of_size
from engine.models.weight_files import find_weights
from engine.text import is_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CONFIG = "config.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")

MOST_BLOCKS = 1000
"""Several times the blocks of the deepest models. A corrupt number would keep the library building for hours."""


READ_AS = "opened"
"""Tells fingerprints of users' models from older ones. They belong to measurements from before prompts were read behind
what a tokenizer puts before a text."""


@dataclass(frozen=True, kw_only=True)
class FolderSubject(Subject):
    """A trained model that is read from a folder in transformers' format."""

    @property
    def in_folder(self) -> bool:
        return True

    def config(self) -> PreTrainedConfig:
        family, used = read_settings(self.id, self.folder())
        with loading(self.id, expected="a config.json that can be built", remedy=SAVE_AGAIN):
            config = config_class(family)(**used)
        _check_depth(self.id, config, SAVE_AGAIN)
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        config = self.config()
        return read_tokenizer(self.id, self.folder(), config)

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return load_weights(self.id, self.folder(), config=self.config(), dtype=dtype, attention=attention)


@dataclass(frozen=True, kw_only=True)
class LocalFolder(FolderSubject):
    """A folder of the user's."""

    path: Path

    @property
    def own(self) -> bool:
        return True

    @property
    def tier(self) -> Tier:
        return find_tier(self)

    @property
    def family(self) -> str:
        return read_settings(self.id, self.path)[0]

    def fingerprint(self) -> str:
        # Exactly the files that are read to load the model and its tokenizer.
        covered = [CONFIG, *find_weights(self.id, self.path), *find_tokenizer_files(self.path)]
        return f"{READ_AS}:folder:sha256:{hash_files(self.path, covered)}"

    def tokenizer_source(self) -> str:
        return f"{READ_AS}:{hash_files(self.path, find_tokenizer_files(self.path))}"

    def untrained(self, seed: int) -> Subject:
        return make_twin(self, f"local-untrained:{self.path}", seed)

    def folder(self) -> Path:
        return self.path


@dataclass(frozen=True, kw_only=True)
class LocalGguf(Subject):
    """A GGUF file. Its weights are de-quantized as they are loaded."""

    path: Path

    @property
    def own(self) -> bool:
        return True

    @property
    def tier(self) -> Tier:
        return tier_of_size(4 * self._header().weights)

    @property
    def family(self) -> str:
        return self._header().architecture

    def fingerprint(self) -> str:
        return f"{READ_AS}:gguf:sha256:{hash_file(self.path)}"

    def config(self) -> PreTrainedConfig:
        header = self._header()
        check_gguf_tokenizer(self.id, header.fields)
        from transformers import PreTrainedConfig

        with (
            staged(self.id, self.path.parent, [self.path.name]) as stage,
            loading(self.id, expected="a header with a model's configuration", remedy=FETCH_FILE),
        ):
            read, _ = PreTrainedConfig.get_config_dict(stage, gguf_file=self.path.name)
            # The library may take a file for another family than its architecture says, going by the model's name.
            family = check_family(self.id, read.get("model_type"))
            config = config_class(family)(**select_used(self.id, family, complete_settings(header, read)))
        _check_depth(self.id, config, FETCH_FILE)
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self.id, self.path.parent, self.config(), gguf_file=self.path.name)

    def tokenizer_source(self) -> str:
        with self.path.open("rb") as file:
            return f"{READ_AS}:{hashlib.sha256(file.read(self._header().end)).hexdigest()}"

    def untrained(self, seed: int) -> Subject:
        return make_twin(self, f"local-untrained:{self.path}", seed)

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        folder, name, config = self.path.parent, self.path.name, self.config()
        return load_weights(self.id, folder, config=config, dtype=dtype, attention=attention, gguf_file=name)

    def _header(self) -> GgufHeader:
        return read_supported_header(self.id, self.path)


def find_local(text: str) -> LocalFolder | LocalGguf:
    """The model at a path, without importing torch. Raises SubjectError if what is there can be no model."""
    # Absolute, but not resolved: a link into a store of files may point to a name without the ending .gguf.
    path = Path(os.path.abspath(expand_home(text)))
    who = f"local:{path}"
    if not is_text(text):
        raise refusal(who, "a path with bytes that are not UTF-8", "text, as reports hold it", "rename or link it")
    # Unlike Path.exists, os.path.exists raises nothing for a path that is too long.
    if not text or not os.path.exists(path):
        raise refusal(who, "no such path", "a model folder or a .gguf file", "check the path")
    # Everything that can be checked without torch is checked now, before a session begins.
    if not path.is_dir():
        read_supported_header(who, path)
        return LocalGguf(id=who, note=f"{path.name}: the user's own GGUF file, weights de-quantized", path=path)
    try:
        names = sorted(file.name for file in path.iterdir())
        if not names:
            raise refusal(who, "an empty folder", "config.json and weights")
        packed = [name for name in names if name.endswith(".gguf")]
        if packed and CONFIG not in names:
            raise refusal(who, "a folder", "the GGUF file in it", f"name the file: local:{path / packed[0]}")
        read_settings(who, path)
        find_weights(who, path)
    except OSError as error:
        raise refusal(who, str(error), "a folder that can be read", "check its permissions") from error
    return LocalFolder(id=who, note=f"{path.name}: the user's own model folder", path=path)


def read_settings(who: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The family that a folder's config.json names, and the entries that its modules use.

    Raises SubjectError for anything but a plain model of a supported family: an adapter, quantized weights, or a
    config.json that names another file of weights, for example.
    """
    _check_adapter(who, folder)
    if not (folder / CONFIG).is_file():
        expected = "a model in transformers' format"
        if nested := _find_models(folder):
            kind = "a folder of the hub's cache" if (folder / "snapshots").is_dir() else f"a folder without {CONFIG}"
            raise refusal(who, kind, f"{expected}, as in it", f"name that one: local:{nested[0]}")
        raise refusal(who, f"a folder without {CONFIG}", expected)

    # A plain model of a known family, whose weights lie in the usual files.
    settings = read_json(who, folder / CONFIG)
    family = check_family(who, settings.get("model_type"), made_decoder=settings.get("is_decoder") is True)
    if settings.get("quantization_config"):
        remedy = (
            "de-quantize the model and save it: AutoModelForCausalLM.from_pretrained(FOLDER, device_map='cpu')"
            ".dequantize().save_pretrained(NEW-FOLDER, save_original_format=False)"
        )
        raise refusal(who, "quantized weights", "plain ones (or a GGUF file)", remedy)
    if settings.get("transformers_weights") is not None:
        # The library would read that file, while the fingerprint covers the usual ones.
        raise refusal(who, "config.json that names a file of weights", "weights in model.safetensors")
    return family, select_used(who, family, settings)


def _check_adapter(who: str, folder: Path) -> None:
    """Raises SubjectError for an adapter in a folder: if peft is installed, transformers would attach it."""
    adapters = [name for name in ADAPTER_FILES if (folder / name).is_file()]
    if not adapters:
        return
    merge = (
        "merge it into its model: peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
        ".save_pretrained(NEW-FOLDER), with the tokenizer beside it"
    )
    if (folder / CONFIG).is_file():
        got, remedy = f"an adapter ({adapters[0]}) beside a model", f"move it elsewhere, or {merge}"
    else:
        got, remedy = f"an adapter ({adapters[0]}) without its model", merge
    raise refusal(who, got, "a whole model", remedy)


def _find_models(folder: Path) -> list[Path]:
    """Folders in a folder that hold a model: the hub's cache has one for each revision, training one per checkpoint.

    The revision that the cache's main branch points to comes first, then the newest.
    """
    snapshots = folder / "snapshots"
    inside = [path for path in (snapshots if snapshots.is_dir() else folder).iterdir() if (path / CONFIG).is_file()]
    main = folder / "refs" / "main"
    revision = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else ""
    return sorted(inside, key=lambda path: (path.name != revision, -path.stat().st_mtime, path.name))


def _check_depth(who: str, config: PreTrainedConfig, remedy: str) -> None:
    """Raises SubjectError for a number of blocks that no model has."""
    blocks: object = config.get_text_config(decoder=True).num_hidden_layers
    if not isinstance(blocks, int) or not 0 < blocks <= MOST_BLOCKS:
        raise refusal(who, f"{blocks!r} blocks", f"1 to {MOST_BLOCKS}", remedy)


def make_twin(subject: Subject, stem: str, seed: int) -> UntrainedSubject:
    """The configuration of a user's model with random weights, as 'STEM:seed'."""
    check_seed(stem, seed)
    note = f"The configuration of {subject.note.partition(':')[0]} with random weights"
    return UntrainedSubject(id=f"{stem}:{seed}", stem=stem, note=note, seed=seed, pattern=subject)
