"""A subject: a language model that claims are tested on, known by name before anything is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import MissingError, SubjectError, explain
from engine.models.families import Attention

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Tier = Literal["cpu", "gpu", "xl"]

SAVE_AGAIN = "save it again with save_pretrained"
"""The remedy for most of what can be wrong with a model's folder."""


def describe_opening(opening: str) -> str:
    """How prompts are read behind what a tokenizer puts before a text, in words."""
    return f"behind {opening}, which its tokenizer puts before a text"


def refusal(who: str, got: str, expected: str, remedy: str = SAVE_AGAIN) -> SubjectError:
    """The error that refuses a model, in one line."""
    return SubjectError(explain(who=who, got=got, expected=expected, remedy=remedy))


@dataclass(frozen=True, kw_only=True)
class Subject(ABC):
    """A language model by name. Cheap to make, compare and hash: only `model` reads weights.

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
    def trained(self) -> bool:
        """Whether its weights come from training."""
        return True

    @property
    def drawn(self) -> bool:
        """Whether the name stands for several models that differ by a seed, of which claims draw some with `draw`."""
        return False

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that claims draw, of the model or of what is random beside it, such as a net or a twin."""
        return (0, 1, 2, 3)

    @property
    def tuning_seed(self) -> int:
        """The seed that step sizes are tuned on, which no measurement uses where another model costs nothing."""
        return 100

    def draw(self, seed: int) -> Subject:
        """The model of a seed; only where `drawn`."""
        raise AssertionError(f"{self.id} is one model")

    @property
    @abstractmethod
    def family(self) -> str:
        """Its architecture, by transformers' `model_type`; known without loading anything."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the weights without loading them: a hash, a revision, or a configuration and seed."""

    def tokenizer_source(self) -> str:
        """Identifies the tokenizer where the subject's name does not, by a hash of its files; "" where it does."""
        return ""

    @property
    def opening(self) -> str:
        """The text of what its tokenizer puts before a text, of a model of the catalogue; "" for nothing.

        Of any other model it is asked of the tokenizer itself.
        """
        return ""

    def missing(self) -> str | None:
        """One sentence with the command that fetches what is missing on this machine; None if nothing is."""
        return None

    @abstractmethod
    def config(self) -> PreTrainedConfig:
        """Its configuration. Raises MissingError, or SubjectError if it cannot be read."""

    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer. Raises MissingError, or SubjectError if there is none that fits."""

    @abstractmethod
    def untrained(self, seed: int) -> Subject:
        """The same configuration with random weights."""

    @property
    def own(self) -> bool:
        """Whether the user named it by where it lies: any claim may be asked of such a model, if it is trained."""
        return False

    @property
    def cheap_rows_only(self) -> bool:
        """Whether a session that asks for no subject measures only its cheap rows, unless at full effort."""
        return False

    @property
    def in_folder(self) -> bool:
        """Whether its weights lie in a folder in transformers' format, once they are on this machine."""
        return False

    def folder(self) -> Path:
        """The folder with its weights. Raises MissingError, or SubjectError if there is none."""
        raise refusal(self.id, "no folder", "weights in transformers' format", "save it as one")

    def model(self, dtype: torch.dtype, attention: Attention = "sdpa") -> PreTrainedModel:
        """Its weights as `dtype` on the CPU, in evaluation mode, with no parameter that requires a gradient.

        Raises MissingError if something has to be fetched first, SubjectError if it cannot be loaded.
        """
        self.require()
        model = use_torch_parts(self._load(dtype, attention))
        return model.eval().requires_grad_(False)

    def require(self) -> None:
        """Raises MissingError with the sentence of `missing`, if there is one."""
        sentence = self.missing()
        if sentence is not None:
            raise MissingError(sentence)

    @abstractmethod
    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        """The model as it is loaded or drawn, before `model` prepares it."""


def use_torch_parts(model: PreTrainedModel) -> PreTrainedModel:
    """Replace three of the library's modules by others with the same formula. Returns the same model.

    The library writes GPT-2's GELU as eight passes over its input; torch makes one. The norms of some families
    compute in float32 whatever their input is, which would leave a float64 model with seven digits. Linear layers
    multiply in half the time on some CPUs: see engine.models.products.
    """
    from torch import nn
    from transformers.activations import NewGELUActivation

    from engine.models.products import quicken

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, nn.GELU(approximate="tanh"))
            elif (norm := _find_float64_norm(child)) is not None:
                setattr(parent, name, norm)
    quicken(model)
    return model


def _find_float64_norm(module: nn.Module) -> nn.RMSNorm | None:
    """torch's norm in place of one that computes a float64 input in float32; None for any other module.

    What it computes is tried, since each family has a class of its own for it: some multiply by the weight, others by
    1 + weight.
    """
    import torch
    from torch import nn

    run: Any = module
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    if (
        not isinstance(weight, nn.Parameter)
        or (weight.dtype, weight.ndim, weight.device.type) != (torch.float64, 1, "cpu")
        or [name for name, _ in module.named_parameters()] != ["weight"]
        or not isinstance(eps, float)
    ):
        return None
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(2, len(weight), dtype=torch.float64, generator=generator)
    with torch.no_grad():
        try:
            found: Any = run(given)
        except TypeError:
            return None  # a norm of two inputs
        for factor in (weight, nn.Parameter(1 + weight)):
            norm = nn.RMSNorm(weight.shape, eps=eps, dtype=torch.float64)
            norm.weight = factor
            apart = (found - norm(given)).abs().max() / norm(given).abs().max()
            if 1e-12 < apart < 1e-5:
                return norm
    return None
