"""What a subject is: a language model that claims are tested on, known by name before anything is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from engine.errors import MissingError, SubjectError, explain
from engine.models.families import Attention

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Tier = Literal["cpu", "gpu", "xl"]


class ConfigSource(Protocol):
    """What random weights are drawn for: a configuration, with the tokenizer that belongs to it."""

    @property
    def family(self) -> str:
        """Its architecture, by transformers' `model_type`."""
        ...

    def missing(self) -> str | None:
        """What has to be fetched first, and the command that does it; None when nothing has."""
        ...

    def tokenizer_source(self) -> str:
        """What identifies the tokenizer where its name does not; "" where it does."""
        ...

    def config(self) -> PreTrainedConfig:
        """The configuration, each time a fresh one."""
        ...

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer whose ids the configuration's vocabulary counts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Subject(ABC):
    """A language model by name: cheap to make, compare and hash; weights are read by `model` alone.

    id: canonical name; `find_subject(id)` gives the same subject.
    note: one line for reports.
    """

    id: str
    note: str

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """The smallest kind of machine on which it runs by itself."""

    @property
    @abstractmethod
    def trained(self) -> bool:
        """Whether its weights come from training."""

    @property
    def fixed_seed(self) -> bool:
        """Whether the name fixes the seed of its random weights (always False for trained ones)."""
        return False

    @property
    @abstractmethod
    def family(self) -> str:
        """Its architecture, by transformers' `model_type`; known without loading anything."""

    @abstractmethod
    def fingerprint(self) -> str:
        """What identifies the weights, without loading them: hash, revision, or configuration and seed."""

    def tokenizer_source(self) -> str:
        """What identifies the tokenizer where the subject's name does not: a hash of what it is read from; else ""."""
        return ""

    @abstractmethod
    def missing(self) -> str | None:
        """One sentence with the command that fetches what is missing; None when the subject can be loaded.

        Looks at this machine only.
        """

    @abstractmethod
    def config(self) -> PreTrainedConfig:
        """Its configuration. Raises MissingError, or SubjectError when it cannot be read."""

    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer. Raises MissingError, or SubjectError when there is none that fits."""

    @abstractmethod
    def untrained(self, seed: int) -> Subject:
        """The same configuration with random weights."""

    @property
    def in_folder(self) -> bool:
        """Whether its weights lie in a folder in transformers' format, once they are on this machine."""
        return False

    def folder(self) -> Path:
        """The folder with its weights. Raises MissingError, or SubjectError where there is none."""
        raise SubjectError(
            explain(who=self.id, got="no folder", expected="weights in transformers' format", remedy="save it as one")
        )

    def model(self, dtype: torch.dtype, attention: Attention = "sdpa") -> PreTrainedModel:
        """Its weights as `dtype` on the CPU, in evaluation mode, no parameter asking for a gradient.

        Raises MissingError when something has to be fetched first, SubjectError when it cannot be loaded.
        """
        self.require()
        from engine.models.loading import use_torch_parts

        model = use_torch_parts(self._load(dtype, attention))
        return model.eval().requires_grad_(False)

    def require(self) -> None:
        """Raises MissingError with `missing`'s sentence when there is one."""
        sentence = self.missing()
        if sentence is not None:
            raise MissingError(sentence)

    @abstractmethod
    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel: ...
