"""Models with random weights: a configuration and a seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.errors import UsageError, explain
from engine.models.families import GPT2, Attention
from engine.models.loading import loading, outline
from engine.models.subject import ConfigSource, Subject, Tier
from engine.models.tokenizers import make_gpt2_tokenizer, missing_gpt2_vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import GPT2Config, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LARGEST_SEED = 2**32 - 1

ABOUT_FILES = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "architectures", "dtype", "torch_dtype"}
)
"""Entries of a configuration that say where it came from and how it was stored, not what is drawn."""


@dataclass(frozen=True, kw_only=True)
class UntrainedSubject(Subject):
    """Random weights for a pattern.

    seed: None in a name without one; it then loads seed 0, and claims draw seeds of their own.
    size: the tier where it is known; None estimates it.
    """

    stem: str
    size: Tier | None = None
    seed: int | None = None
    pattern: ConfigSource

    @property
    def tier(self) -> Tier:
        return self.size if self.size is not None else find_tier(self)

    @property
    def trained(self) -> bool:
        return False

    @property
    def fixed_seed(self) -> bool:
        return self.seed is not None

    @property
    def family(self) -> str:
        return self.pattern.family

    def fingerprint(self) -> str:
        settings = {name: value for name, value in self.config().to_dict().items() if name not in ABOUT_FILES}
        text = json.dumps(settings, sort_keys=True, default=str)
        tokens = self.pattern.tokenizer_source()
        drawn = f"config:{hashlib.sha256(text.encode()).hexdigest()}:seed={self.seed or 0}"
        return f"{drawn}:tokenizer={tokens}" if tokens else drawn

    def missing(self) -> str | None:
        return self.pattern.missing()

    def config(self) -> PreTrainedConfig:
        return self.pattern.config()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.pattern.tokenizer()

    def untrained(self, seed: int) -> UntrainedSubject:
        check_seed(self.stem, seed)
        return replace(self, id=f"{self.stem}:{seed}", seed=seed)

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return draw_weights(self.id, self.config(), seed=self.seed or 0, dtype=dtype, attention=attention)


@dataclass(frozen=True, kw_only=True)
class Gpt2ConfigSource:
    """GPT-2's configuration, with the library's defaults but for `sizes`, and GPT-2's vocabulary."""

    sizes: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)

    @property
    def family(self) -> str:
        return GPT2.key

    def tokenizer_source(self) -> str:
        return ""  # pinned with the package

    def missing(self) -> str | None:
        return missing_gpt2_vocabulary()

    def config(self) -> GPT2Config:
        from transformers import GPT2Config

        return GPT2Config(**self.sizes)  # pyright: ignore[reportArgumentType]

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return make_gpt2_tokenizer()


def draw_weights(
    who: str, config: PreTrainedConfig, *, seed: int, dtype: torch.dtype, attention: Attention = "sdpa"
) -> PreTrainedModel:
    """A model whose weights the library's own rule draws from `seed`; the caller's random state is kept.

    Drawn in float32 whatever the dtype, so that one seed has the same weights in every dtype.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with loading(who, expected="a configuration that can be built", remedy="check the configuration"):
        with torch.device("cpu"):
            # The CPU's generator alone: torch.manual_seed would also reach those of the accelerators.
            torch.default_generator.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, attn_implementation=attention, trust_remote_code=False
            )
        # Parameters only: the rotary frequencies are meant to stay float32.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        model.config.dtype = dtype
    return model


def estimate_bytes(config: PreTrainedConfig, dtype_bytes: int = 4, *, who: str = "configuration") -> int:
    """Bytes of a configuration's parameters, tied ones counted once. Nothing is allocated."""
    with loading(who, expected="a configuration that can be built", remedy="check the configuration"):
        model = outline(config)
        return dtype_bytes * sum(parameter.numel() for parameter in model.parameters())


@lru_cache(maxsize=64)  # every item of a session asks for it
def find_tier(subject: Subject) -> Tier:
    """The tier of a model that no catalogue knows, by a model of its configuration without weights.

    Raises SubjectError as `estimate_bytes` does. Remembered by name and path as long as the process lives.
    """
    return size_tier(estimate_bytes(subject.config(), who=subject.id))


def size_tier(float32_bytes: int) -> Tier:
    """The tier of a model that no catalogue knows: 'cpu' up to 2.5 GB of float32 weights."""
    return "cpu" if float32_bytes <= 2_500_000_000 else "gpu"


def parse_seed(who: str, text: str) -> int:
    """The seed behind a name's colon. Raises UsageError unless it is a whole number from 0 to 2³² - 1."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise UsageError(_wrong_seed(who, repr(text)))
    return check_seed(who, int(text))


def check_seed(who: str, seed: int) -> int:
    """The same seed. Raises UsageError unless it is from 0 to 2³² - 1."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(_wrong_seed(who, str(seed)))
    return seed


def _wrong_seed(who: str, got: str) -> str:
    expected = f"a whole number from 0 to {LARGEST_SEED}"
    return explain(who=f"subject {who}", got=f"the seed {got}", expected=expected, remedy=f"write {who}:0, for example")
