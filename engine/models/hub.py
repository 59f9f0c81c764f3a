"""Trained models of the Hugging Face hub: those of the catalogue at pinned revisions, and any other that is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import MissingError, explain
from engine.files import expand_home
from engine.models.local import READ_AS, FolderSubject, make_twin, read_settings
from engine.models.subject import Subject, Tier, refusal
from engine.models.tokenizers import has_tokenizer
from engine.models.untrained import Gpt2Sizes, UntrainedSubject, find_tier
from engine.models.weight_files import WEIGHT_FILES
from engine.text import shorten

FORMATS = ("*.json", "*.txt", "*.model", "*.jinja", "model.safetensors", "model-*-of-*.safetensors")
"""The files to download: a repository holds the weights in half a dozen formats, and one is enough."""

SAFE = tuple(name for name in WEIGHT_FILES if ".safetensors" in name)

REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>(?!.*\.\.)[\w./-]{1,200}))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class HubRepository(FolderSubject):
    """A model of the hub at one commit, in the hub's cache on this machine."""

    repository: str
    revision: str

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

    def folder(self) -> Path:
        self.require()
        return self._snapshot()

    def _snapshot(self) -> Path:
        """The folder of this revision in the hub's cache, which need not exist."""
        return _find_cache(self.repository) / "snapshots" / self.revision


@dataclass(frozen=True, kw_only=True)
class HubSubject(HubRepository):
    """A model of the catalogue. Nothing is downloaded here: `missing` gives the command for it.

    size: its tier. twin: the same configuration with random weights.
    """

    size: Tier
    twin: UntrainedSubject

    @property
    def tier(self) -> Tier:
        return self.size

    @property
    def family(self) -> str:
        return self.twin.family

    def untrained(self, seed: int) -> Subject:
        return self.twin.untrained(seed)


@dataclass(frozen=True, kw_only=True)
class NamedRepository(HubRepository):
    """A model that the user named as 'org/name' or 'org/name@revision'. Its id holds the commit, whatever was asked."""

    @property
    def own(self) -> bool:
        return True

    def fingerprint(self) -> str:
        return f"{READ_AS}:{super().fingerprint()}"

    @property
    def tier(self) -> Tier:
        return find_tier(self)

    @property
    def family(self) -> str:
        return read_settings(self.id, self.folder())[0]

    def untrained(self, seed: int) -> Subject:
        return make_twin(self, f"{self.id}-untrained", seed)


def is_repository(name: str) -> bool:
    """Whether this is how a repository is named, with or without a revision, by the hub's own rules."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    match = REPOSITORY.fullmatch(name)
    if match is None:
        return False
    try:
        validate_repo_id(match["repository"])
    except HFValidationError:
        return False
    return True


def find_repository(name: str) -> NamedRepository:
    """The model of a repository, 'org/name' or 'org/name@revision', from the hub's cache, or fetched into it.

    A branch is what the cache says it is; only what the cache lacks is asked of the hub. Only safetensors are read, and
    no code of the repository's own. Raises MissingError if it is not there and cannot be fetched, SubjectError for a
    repository without a model in that format.
    """
    match = REPOSITORY.fullmatch(name)
    assert match is not None, name
    repository, asked = match["repository"], match["revision"] or "main"
    commit = asked if COMMIT.fullmatch(asked) else _read_branch(repository, asked)
    if commit is None or not any((_find_cache(repository) / "snapshots" / commit / one).is_file() for one in SAFE):
        commit = _fetch(name, repository, commit or asked)
    who = f"{repository}@{commit}"
    subject = NamedRepository(
        id=who, note=f"{repository}: of the hub, commit {commit[:8]}", repository=repository, revision=commit
    )
    folder = subject.folder()
    if not any((folder / one).is_file() for one in SAFE):
        raise refusal(who, "no model.safetensors", "weights in safetensors", "name a repository that has them")
    read_settings(who, folder)
    return subject


def _find_cache(repository: str) -> Path:
    """The folder of a repository in the hub's cache, which need not exist."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return expand_home(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def _read_branch(repository: str, revision: str) -> str | None:
    """The commit that the cache has of a branch or tag; None if it has none."""
    ref = _find_cache(repository) / "refs" / revision
    commit = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else ""
    return commit if COMMIT.fullmatch(commit) else None


def _fetch(who: str, repository: str, revision: str) -> str:
    """Download a model into the hub's cache, with the library's own progress bars. Returns the commit."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=list(FORMATS))
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = (
            f"check the name and the connection, or fetch it yourself: hf download {repository} --revision {revision}"
        )
        got = f"no such model in the hub's cache, and none fetched ({shorten(cause)})"
        raise MissingError(explain(who=who, got=got, expected="a repository of the hub", remedy=remedy)) from error
    return Path(folder).name


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
