"""Families of models: all that the engine knows of each, in one entry. Neither torch nor transformers is imported.

To add a family, write its entry, and models of it in engine/tests/tiny.py: the tests that run on every family try it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from engine.models.refusals import refusal

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Attention = Literal["sdpa", "eager"]


def split_names(text: str) -> frozenset[str]:
    """The names in a text, between spaces and line breaks."""
    return frozenset(text.split())


@dataclass(frozen=True, kw_only=True)
class GgufNames:
    """What a GGUF file of a family holds, beside notes.

    needed: fields for which the library's reader would take its own defaults, or leave heads in the wrong order.
    optional: others that it uses. block: a tensor of a block, whose number is the first group. whole: the other
    tensors that it has a place for. ones: tensors that it passes over and that change nothing where all are 1.
    width: the entry of the configuration that holds the width inside the blocks, where the reader leaves it out.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    block: re.Pattern[str]
    whole: frozenset[str]
    ones: frozenset[str] = frozenset()
    width: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family, by transformers' `model_type` and GGUF's `general.architecture`.

    name: as people write it. config, model: transformers' classes, named outright, so that no folder's own code is
    run.
    blocks, norm, positions: where the model keeps its blocks, final norm and learned positions (None when rotary).
    prefix: what tensors' names have before those of the model without its head. embedding: the embedding's name.
    settings: entries of config.json that its modules read, and the tokenizer. context: the one with the longest text.
    aliases: other names for its own sizes, which the library takes, the last one written or none. said_again: other
    libraries' names for an entry, of which nothing is lost where both say the same.
    masks, frequencies: buffers that older versions of the library stored, and newer ones make for themselves.
    biases: tensors that are used only under an entry of config.json.
    vocabulary: of the tokenizer that is packaged, for a folder without one. scripts: whether the author's scripts are
    about it.
    """

    key: str
    name: str
    config: str
    model: str
    blocks: str
    norm: str
    positions: str | None
    prefix: str
    embedding: str
    settings: frozenset[str]
    context: str
    gguf: GgufNames
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    said_again: Mapping[str, str] = field(default_factory=dict[str, str])
    masks: tuple[re.Pattern[str], re.Pattern[str]] | None = None
    frequencies: re.Pattern[str] | None = None
    biases: tuple[tuple[re.Pattern[str], str], ...] = ()
    vocabulary: int | None = None
    scripts: bool = False

    @property
    def rotary(self) -> bool:
        return self.positions is None


SHARED = split_names(
    "vocab_size initializer_range bos_token_id eos_token_id pad_token_id tie_word_embeddings tokenizer_class"
)

GPT2 = Family(
    key="gpt2",
    name="GPT-2",
    config="GPT2Config",
    model="GPT2LMHeadModel",
    blocks="h",
    norm="ln_f",
    positions="wpe",
    prefix="transformer.",
    embedding="wte.weight",
    # `reorder_and_upcast_attn` moves a factor and roundings alone, which torch's own attention does its own way.
    settings=SHARED
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
    said_again={"layer_norm_eps": "layer_norm_epsilon"},
    masks=(
        re.compile(r"(?:transformer\.)?h\.\d+\.attn\.bias"),
        re.compile(r"(?:transformer\.)?h\.\d+\.attn\.masked_bias"),
    ),
    vocabulary=50257,
    scripts=True,
    gguf=GgufNames(
        needed=(
            "context_length",
            "embedding_length",
            "block_count",
            "attention.head_count",
            "attention.layer_norm_epsilon",
        ),
        optional=("feed_forward_length", "vocab_size"),
        block=re.compile(r"blk\.(\d+)\.(?:attn_norm|attn_qkv|attn_output|ffn_norm|ffn_up|ffn_down)\.(?:weight|bias)"),
        whole=split_names("token_embd.weight position_embd.weight output_norm.weight output_norm.bias output.weight"),
        width="n_inner",
    ),
)
LLAMA = Family(
    key="llama",
    name="Llama",
    config="LlamaConfig",
    model="LlamaForCausalLM",
    blocks="layers",
    norm="norm",
    positions=None,
    prefix="model.",
    embedding="embed_tokens.weight",
    settings=SHARED
    | split_names(
        """
        hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim hidden_act
        max_position_embeddings rms_norm_eps attention_bias mlp_bias attention_dropout rope_parameters
        """
    ),
    context="max_position_embeddings",
    said_again={
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
        needed=(
            "context_length",
            "embedding_length",
            "block_count",
            "feed_forward_length",
            "attention.head_count",
            "attention.head_count_kv",
            "attention.layer_norm_rms_epsilon",
        ),
        optional=("vocab_size", "rope.dimension_count", "rope.freq_base"),
        block=re.compile(
            r"blk\.(\d+)\.(?:attn_norm|attn_q|attn_k|attn_v|attn_output|ffn_norm|ffn_gate|ffn_up|ffn_down)\.weight"
        ),
        whole=split_names("token_embd.weight output_norm.weight output.weight"),
        ones=frozenset({"rope_freqs.weight"}),
    ),
)
FAMILIES: Mapping[str, Family] = {family.key: family for family in (GPT2, LLAMA)}


def check_family(who: str, model_type: object) -> str:
    """The family's key. Raises SubjectError that names the supported families."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        families = " or ".join(f"{family.name} ({key})" for key, family in FAMILIES.items())
        remedy = "name a model of one of them (smollm2-135m is one), or add the family as CONTRIBUTING.md says"
        raise refusal(who, f"a model of family {model_type!r}", f"one of {families}", remedy)
    return model_type


def config_class(family: str) -> type[PreTrainedConfig]:
    """transformers' configuration class of a family."""
    import transformers

    return getattr(transformers, FAMILIES[family].config)


def model_class(family: str) -> type[PreTrainedModel]:
    """transformers' language-model class of a family."""
    import transformers

    return getattr(transformers, FAMILIES[family].model)


def count_block(config: PreTrainedConfig) -> tuple[int, int]:
    """Weights of a block, biases and norms aside, and numbers of keys and values that it keeps of a token."""
    sizes: Any = config
    d, inner = int(sizes.hidden_size), getattr(sizes, "intermediate_size", None)
    if inner is None:  # a net of two maps, four times as wide unless it says so
        inner = getattr(sizes, "n_inner", None) or 4 * d
        return 4 * d * d + 2 * d * int(inner), 2 * d
    cached = 2 * d * int(sizes.num_key_value_heads) // int(sizes.num_attention_heads)
    return (2 * d + cached) * d + 3 * d * int(inner), cached
