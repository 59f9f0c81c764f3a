"""The families of models: everything that the engine knows of a family is in its entry here.

To add a family, write its entry, and add a tiny model of it to engine/tests/tiny.py: the tests that run on every
family then try it. Neither torch nor transformers is imported before a class is asked for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import SubjectError, explain

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

Attention = Literal["sdpa", "eager"]


def split_names(text: str) -> frozenset[str]:
    """The names in a text, which are separated by spaces or line breaks."""
    return frozenset(text.split())


@dataclass(frozen=True, kw_only=True)
class GgufNames:
    """The fields and tensors that a GGUF file of a family may hold, beside notes. Fields are named without the family.

    required: fields for which transformers' reader would otherwise use its own defaults, or misorder the heads.
    optional: other fields that the reader uses.
    block_tensors: tensors of a block; the first group is the block's number. other_tensors: those outside the blocks.
    ignored_if_ones: tensors that the reader skips and that change nothing if all their numbers are 1.
    mlp_width: the entry of the configuration with the width inside the blocks, where the reader leaves it out.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    block_tensors: re.Pattern[str]
    other_tensors: frozenset[str]
    ignored_if_ones: frozenset[str] = frozenset()
    mlp_width: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models.

    key: transformers' `model_type` and GGUF's `general.architecture`. name: as people write it.
    config, model: transformers' classes. They are named here, so that no code of a model's own is ever run.
    float32_norm: the model's norm class, where it computes in float32 whatever its input is.

    Modules and tensors:
    rotary: whether positions are rotary angles, with entries of their own in config.json.
    prefix: what the names of tensors begin with, unless the file holds the model without its head.
    embedding: the embedding's name behind the prefix.
    masks, frequencies: buffers that older versions of transformers stored and newer ones compute.
    biases: tensors that are used only if the given entry of config.json is true.

    config.json:
    entries: those that the modules or the tokenizer read. context: the one with the longest length of a text.
    aliases: other names that transformers accepts for an entry; if a configuration has several, it silently
    picks one.
    synonyms: names of other libraries for an entry, which are ignored and must agree with it.

    vocabulary: size of the packaged tokenizer, for a folder without one; None if none is packaged.
    scripts: whether the author's scripts are about this family.
    """

    key: str
    name: str
    config: str
    model: str
    rotary: bool
    prefix: str
    embedding: str
    entries: frozenset[str]
    context: str
    gguf: GgufNames
    float32_norm: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    synonyms: Mapping[str, str] = field(default_factory=dict[str, str])
    masks: tuple[re.Pattern[str], re.Pattern[str]] | None = None
    frequencies: re.Pattern[str] | None = None
    biases: tuple[tuple[re.Pattern[str], str], ...] = ()
    vocabulary: int | None = None
    scripts: bool = False


SHARED = split_names(
    "vocab_size initializer_range bos_token_id eos_token_id pad_token_id tie_word_embeddings tokenizer_class"
)

GPT2 = Family(
    key="gpt2",
    name="GPT-2",
    config="GPT2Config",
    model="GPT2LMHeadModel",
    rotary=False,
    prefix="transformer.",
    embedding="wte.weight",
    # `reorder_and_upcast_attn` only changes where a factor is applied and how it is rounded. Torch's attention, which
    # we use, has its own order.
    entries=SHARED
    | split_names(
        """
        n_positions n_embd n_layer n_head n_inner activation_function layer_norm_epsilon scale_attn_weights
        scale_attn_by_inverse_layer_idx reorder_and_upcast_attn resid_pdrop embd_pdrop attn_pdrop
        """
    ),
    context="n_positions",
    aliases={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
        "n_ctx": "n_positions",
    },
    synonyms={"layer_norm_eps": "layer_norm_epsilon"},
    masks=(
        re.compile(r"(?:transformer\.)?h\.\d+\.attn\.bias"),
        re.compile(r"(?:transformer\.)?h\.\d+\.attn\.masked_bias"),
    ),
    vocabulary=50257,
    scripts=True,
    gguf=GgufNames(
        required=(
            "context_length",
            "embedding_length",
            "block_count",
            "attention.head_count",
            "attention.layer_norm_epsilon",
        ),
        optional=("feed_forward_length", "vocab_size"),
        block_tensors=re.compile(
            r"blk\.(\d+)\.(?:attn_norm|attn_qkv|attn_output|ffn_norm|ffn_up|ffn_down)\.(?:weight|bias)"
        ),
        other_tensors=split_names(
            "token_embd.weight position_embd.weight output_norm.weight output_norm.bias output.weight"
        ),
        mlp_width="n_inner",
    ),
)
LLAMA = Family(
    key="llama",
    name="Llama",
    config="LlamaConfig",
    model="LlamaForCausalLM",
    float32_norm="LlamaRMSNorm",
    rotary=True,
    prefix="model.",
    embedding="embed_tokens.weight",
    entries=SHARED
    | split_names(
        """
        hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim hidden_act
        max_position_embeddings rms_norm_eps attention_bias mlp_bias attention_dropout rope_parameters
        """
    ),
    context="max_position_embeddings",
    synonyms={
        "layer_norm_eps": "rms_norm_eps",
        "n_kv_heads": "num_key_value_heads",
        "n_heads": "num_attention_heads",
        "n_head": "num_attention_heads",
        "n_layers": "num_hidden_layers",
        "n_layer": "num_hidden_layers",
        "dim": "hidden_size",
        "n_embd": "hidden_size",
        "n_ctx": "max_position_embeddings",
        "n_positions": "max_position_embeddings",
    },
    frequencies=re.compile(r"(?:model\.)?(?:layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
    biases=(
        (re.compile(r"model\.layers\.\d+\.self_attn\.\w+_proj\.bias"), "attention_bias"),
        (re.compile(r"model\.layers\.\d+\.mlp\.\w+_proj\.bias"), "mlp_bias"),
    ),
    gguf=GgufNames(
        required=(
            "context_length",
            "embedding_length",
            "block_count",
            "feed_forward_length",
            "attention.head_count",
            "attention.head_count_kv",
            "attention.layer_norm_rms_epsilon",
        ),
        optional=("vocab_size", "rope.dimension_count", "rope.freq_base"),
        block_tensors=re.compile(
            r"blk\.(\d+)\.(?:attn_norm|attn_q|attn_k|attn_v|attn_output|ffn_norm|ffn_gate|ffn_up|ffn_down)\.weight"
        ),
        other_tensors=split_names("token_embd.weight output_norm.weight output.weight"),
        ignored_if_ones=frozenset({"rope_freqs.weight"}),
    ),
)
FAMILIES: Mapping[str, Family] = {family.key: family for family in (GPT2, LLAMA)}


def check_family(who: str, model_type: object) -> str:
    """The key of a family. Raises SubjectError, which names the supported families, for anything else."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        families = " or ".join(f"{family.name} ({key})" for key, family in FAMILIES.items())
        remedy = "name a model of one of them (smollm2-135m is one), or add the family as CONTRIBUTING.md says"
        got = f"a model of family {model_type!r}"
        raise SubjectError(explain(who=who, got=got, expected=f"one of {families}", remedy=remedy))
    return model_type


def config_class(family: str) -> type[PreTrainedConfig]:
    """transformers' configuration class of a family."""
    import transformers

    return getattr(transformers, FAMILIES[family].config)


def model_class(family: str) -> type[PreTrainedModel]:
    """transformers' language-model class of a family."""
    import transformers

    return getattr(transformers, FAMILIES[family].model)


def float32_norm_class(family: str) -> type[nn.Module] | None:
    """The family's norm that computes in float32 whatever its input is; None if it has none."""
    name = FAMILIES[family].float32_norm if family in FAMILIES else None
    # It is not exported, but lies in the same module as the model.
    return getattr(sys.modules[model_class(family).__module__], name) if name is not None else None


def count_block(config: PreTrainedConfig) -> tuple[int, int]:
    """Weights of a block without biases and norms, and the numbers that it caches (keys and values) for each token."""
    sizes: Any = config
    d, inner = int(sizes.hidden_size), getattr(sizes, "intermediate_size", None)
    if inner is None:  # a plain MLP of two maps, four times as wide unless n_inner is set
        inner = getattr(sizes, "n_inner", None) or 4 * d
        return 4 * d * d + 2 * d * int(inner), 2 * d
    # A gated MLP of three maps, and fewer heads for keys and values than for queries.
    cached = 2 * d * int(sizes.num_key_value_heads) // int(sizes.num_attention_heads)
    return (2 * d + cached) * d + 3 * d * int(inner), cached
