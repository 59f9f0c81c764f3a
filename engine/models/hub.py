"""Trained models of the Hugging Face hub, at pinned revisions, from the hub's cache on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.files import expand_home
from engine.models.local import FolderSubject
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import has_tokenizer
from engine.models.untrained import Gpt2Sizes, UntrainedSubject
from engine.models.weight_files import WEIGHT_FILES

FORMATS = ("*.json", "*.txt", "model.safetensors")
"""The files to download: a repository holds the weights in half a dozen formats, and one is enough."""


@dataclass(frozen=True, kw_only=True)
class HubSubject(FolderSubject):
    """A model of the hub at one revision. Nothing is downloaded here: `missing` gives the command for it.

    size: its tier. twin: the same configuration with random weights.
    """

    repository: str
    revision: str
    size: Tier
    twin: UntrainedSubject

    @property
    def tier(self) -> Tier:
        return self.size

    @property
    def family(self) -> str:
        return self.twin.family

    def fingerprint(self) -> str:
        return f"revision:{self.revision}"

    def missing(self) -> str | None:
        folder = self._snapshot()
        # A download that was interrupted leaves some of the files.
        whole = (folder / "config.json").is_file() and has_tokenizer(folder)
        if whole and any((folder / name).is_file() for name in WEIGHT_FILES):
            return None
        formats = " ".join(f"--include '{pattern}'" for pattern in FORMATS)
        command = f"hf download {self.repository} --revision {self.revision} {formats}"
        return f"{self.id} is not in the hub's cache: {command}"

    def untrained(self, seed: int) -> Subject:
        return self.twin.untrained(seed)

    def folder(self) -> Path:
        self.require()
        return self._snapshot()

    def _snapshot(self) -> Path:
        """The folder of this revision in the hub's cache, which need not exist."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name = repo_folder_name(repo_id=self.repository, repo_type="model")
        return expand_home(constants.HF_HUB_CACHE) / name / "snapshots" / self.revision


def _make_gpt2(
    name: str, revision: str, size: Tier, twin_size: Tier, *, blocks: int, d_model: int, heads: int
) -> HubSubject:
    """One of the four sizes of GPT-2, with its untrained twin."""
    twin = UntrainedSubject(
        id=f"{name}-untrained",
        stem=f"{name}-untrained",
        note=f"The configuration of {name} with random weights",
        size=twin_size,
        pattern=Gpt2Sizes(sizes={"n_layer": blocks, "n_embd": d_model, "n_head": heads}),
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
    _make_gpt2("gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", "gpu", "cpu", blocks=12, d_model=768, heads=12),
    _make_gpt2(
        "gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da", "gpu", "gpu", blocks=24, d_model=1024, heads=16
    ),
    _make_gpt2(
        "gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519", "gpu", "gpu", blocks=36, d_model=1280, heads=20
    ),
    _make_gpt2("gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2", "xl", "xl", blocks=48, d_model=1600, heads=25),
)
