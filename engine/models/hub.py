"""Trained models of the Hugging Face hub, at pinned revisions, from the hub's cache on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.files import expand_home
from engine.models.families import Attention
from engine.models.local import load_folder, read_config
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import has_tokenizer, read_tokenizer
from engine.models.untrained import Gpt2ConfigSource, UntrainedSubject
from engine.models.weight_files import WEIGHT_FILES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

FORMATS = ("*.json", "*.txt", "model.safetensors")
"""Files that are wanted: a repository holds the weights in half a dozen formats, and one is enough."""


@dataclass(frozen=True, kw_only=True)
class HubSubject(Subject):
    """A model of the hub at one revision. Nothing is downloaded: `missing` says what to run."""

    repository: str
    revision: str
    size: Tier
    twin: UntrainedSubject

    @property
    def tier(self) -> Tier:
        return self.size

    @property
    def trained(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return self.twin.family

    def fingerprint(self) -> str:
        return f"revision:{self.revision}"

    def missing(self) -> str | None:
        folder = self._snapshot()
        whole = (folder / "config.json").is_file() and has_tokenizer(folder)
        if whole and any((folder / name).is_file() for name in WEIGHT_FILES):
            return None
        formats = " ".join(f"--include '{pattern}'" for pattern in FORMATS)
        command = f"hf download {self.repository} --revision {self.revision} {formats}"
        return f"{self.id} is not in the hub's cache: {command}"

    def config(self) -> PreTrainedConfig:
        self.require()
        return read_config(self.id, self._snapshot())

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self.id, self._snapshot(), self.config())

    def untrained(self, seed: int) -> Subject:
        return self.twin.untrained(seed)

    @property
    def in_folder(self) -> bool:
        return True

    def folder(self) -> Path:
        self.require()
        return self._snapshot()

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return load_folder(self.id, self._snapshot(), dtype, attention)

    def _snapshot(self) -> Path:
        """Where the hub's cache keeps this revision; it need not exist."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name = repo_folder_name(repo_id=self.repository, repo_type="model")
        return expand_home(constants.HF_HUB_CACHE) / name / "snapshots" / self.revision


def _make(
    name: str, revision: str, *, size: Tier, twin_size: Tier, blocks: int, d_model: int, heads: int
) -> HubSubject:
    sizes = {"n_layer": blocks, "n_embd": d_model, "n_head": heads}
    twin = UntrainedSubject(
        id=f"{name}-untrained",
        stem=f"{name}-untrained",
        note=f"The configuration of {name} with random weights",
        size=twin_size,
        pattern=Gpt2ConfigSource(sizes=sizes),
    )
    return HubSubject(
        id=name,
        note=f"{name}, trained; {blocks} GPT-2 blocks, d_model {d_model}, tied head; revision {revision[:8]}",
        repository=f"openai-community/{name}",
        revision=revision,
        size=size,
        twin=twin,
    )


HUB_SUBJECTS = (
    _make(
        "gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        size="gpu",
        twin_size="cpu",
        blocks=12,
        d_model=768,
        heads=12,
    ),
    _make(
        "gpt2-medium",
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        size="gpu",
        twin_size="gpu",
        blocks=24,
        d_model=1024,
        heads=16,
    ),
    _make(
        "gpt2-large",
        "32b71b12589c2f8d625668d2335a01cac3249519",
        size="gpu",
        twin_size="gpu",
        blocks=36,
        d_model=1280,
        heads=20,
    ),
    _make(
        "gpt2-xl",
        "15ea56dee5df4983c59b2538573817e1667135e2",
        size="xl",
        twin_size="xl",
        blocks=48,
        d_model=1600,
        heads=25,
    ),
)
