"""Models with random weights: a configuration and a seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.errors import UsageError, explain
from engine.models.families import GPT2, Attention, find_attention
from engine.models.loading import build_without_weights, loading
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import make_gpt2_tokenizer, missing_gpt2_vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import GPT2Config, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LARGEST_SEED = 2**32 - 1

ABOUT_FILES = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "architectures", "dtype", "torch_dtype"}
)
"""Entries of a configuration on where it came from and how it was stored, which change no drawn weight."""


@dataclass(frozen=True, kw_only=True)
class UntrainedSubject(Subject):
    """Random weights for the configuration of a pattern, with the pattern's tokenizer.

    stem: the name without a seed. seed: None if the name has none; seed 0 is then loaded, and claims draw their own.
    size: the tier, if it is known; None estimates it.
    """

    stem: str
    size: Tier | None = None
    seed: int | None = None
    pattern: Subject | Gpt2Sizes

    @property
    def own(self) -> bool:
        return isinstance(self.pattern, Subject) and self.pattern.own

    @property
    def cheap_rows_only(self) -> bool:
        return isinstance(self.pattern, Subject) and self.pattern.cheap_rows_only

    @property
    def tier(self) -> Tier:
        return self.size if self.size is not None else find_tier(self)

    @property
    def trained(self) -> bool:
        return False

    @property
    def drawn(self) -> bool:
        return self.seed is None

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.pattern.seeds if isinstance(self.pattern, Subject) else super().seeds

    def draw(self, seed: int) -> UntrainedSubject:
        return self.untrained(seed)

    @property
    def family(self) -> str:
        return self.pattern.family

    def fingerprint(self) -> str:
        # Equal settings and seeds draw equal weights; where a configuration came from does not matter.
        settings = {name: value for name, value in self.config().to_dict().items() if name not in ABOUT_FILES}
        text = json.dumps(settings, sort_keys=True, default=str)
        tokens = self.pattern.tokenizer_source()
        drawn = f"config:{hashlib.sha256(text.encode()).hexdigest()}:seed={self.seed or 0}"
        return f"{drawn}:tokenizer={tokens}" if tokens else drawn

    @property
    def opening(self) -> str:
        return self.pattern.opening

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
class Gpt2Sizes:
    """GPT-2's configuration, the library's defaults except for `sizes`, with GPT-2's vocabulary."""

    sizes: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)

    @property
    def family(self) -> str:
        return GPT2.key

    def tokenizer_source(self) -> str:
        return ""  # its hashes are pinned

    @property
    def opening(self) -> str:
        return ""

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
    """A model with weights drawn from `seed` by the library's own rule. The caller's random state is kept.

    They are drawn in float32 and then cast, so that one seed gives the same weights in every dtype.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with loading(who, expected="a configuration that can be built", remedy="check the configuration"):
        with torch.device("cpu"):
            # Only the CPU's generator: torch.manual_seed would also seed those of the accelerators.
            torch.default_generator.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                config,
                dtype=torch.float32,
                attn_implementation=find_attention(config.model_type, attention),
                trust_remote_code=False,
            )
        # Only parameters: the rotary frequencies are meant to stay float32.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        model.config.dtype = dtype
    return model


def estimate_bytes(config: PreTrainedConfig, dtype_bytes: int = 4, *, who: str = "configuration") -> int:
    """Bytes of a configuration's parameters, tied ones counted once. Nothing is allocated."""
    with loading(who, expected="a configuration that can be built", remedy="check the configuration"):
        model = build_without_weights(config)
        return dtype_bytes * sum(parameter.numel() for parameter in model.parameters())


@lru_cache(maxsize=64)  # every item of a session asks for it, and the answer takes a while
def find_tier(subject: Subject) -> Tier:
    """The tier of a model by the size of its configuration. Raises SubjectError as `estimate_bytes` does."""
    return tier_of_size(estimate_bytes(subject.config(), who=subject.id))


def tier_of_size(float32_bytes: int) -> Tier:
    """The tier of a model by its size: 'cpu' up to 2.5 GB of float32 weights, else 'gpu'."""
    return "cpu" if float32_bytes <= 2_500_000_000 else "gpu"


def parse_seed(who: str, text: str) -> int:
    """The seed behind a name's colon. Raises UsageError unless it is a whole number from 0 to 2³² - 1."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise _wrong_seed(who, repr(text))
    return check_seed(who, int(text))


def check_seed(who: str, seed: int) -> int:
    """Return the seed. Raises UsageError unless it is from 0 to 2³² - 1."""
    if not 0 <= seed <= LARGEST_SEED:
        raise _wrong_seed(who, str(seed))
    return seed


def _wrong_seed(who: str, got: str) -> UsageError:
    expected, remedy = f"a whole number from 0 to {LARGEST_SEED}", f"write {who}:0, for example"
    return UsageError(explain(who=f"subject {who}", got=f"the seed {got}", expected=expected, remedy=remedy))
