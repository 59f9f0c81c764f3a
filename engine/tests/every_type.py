"""A tiny random model of every causal-LM type that the pinned transformers knows.

`python -m engine.tests.every_type` tries to admit each of them and writes engine/models/types.json and the table of
docs/models.md.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from engine.errors import SubjectError
from engine.models.admission import admit
from engine.models.families import TYPES_FILE

VOCAB, WIDTH, BLOCKS, CONTEXT = 97, 32, 4, 64

TYPES: tuple[str, ...] = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))

SIZES: dict[str, Any] = {
    name: size
    for names, size in {
        "vocab_size": VOCAB,
        "hidden_size d_model n_embd embed_dim dim word_embed_proj_dim embedding_size attention_hidden_size": WIDTH,
        "lru_width": WIDTH,
        "num_hidden_layers n_layer n_layers num_layers decoder_layers": BLOCKS,
        "num_attention_heads n_head n_heads num_heads num_key_value_heads num_kv_heads": 4,
        "decoder_attention_heads encoder_attention_heads": 4,
        "head_dim v_head_dim": 8,
        "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner d_ff ffn_hidden_size": 48,
        "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size moe_latent_size": 24,
        "num_experts num_local_experts n_routed_experts moe_num_experts": 4,
        "num_experts_per_tok moe_topk moe_k": 2,
        "n_shared_experts n_group topk_group encoder_layers": 1,
        "max_position_embeddings n_positions n_ctx seq_length": CONTEXT,
        "rotary_dim qk_rope_head_dim qk_nope_head_dim": 4,
        "kv_lora_rank q_lora_rank num_buckets": 8,
        "initializer_range init_std": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }.items()
    for name in names.split()
}
"""Sizes by the names that configurations give them."""

QUIRKS: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], BLOCKS // 2]]},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type needs beside its sizes."""


def config_class(kind: str) -> type[PreTrainedConfig]:
    return getattr(transformers, CONFIG_MAPPING_NAMES[kind])


def make_config(kind: str, **changes: Any) -> PreTrainedConfig:
    """A tiny configuration of a type, with some sizes changed.

    Raises whatever the library raises where it takes no such sizes.
    """
    found = config_class(kind)
    own = found()
    text = own.get_text_config(decoder=True)
    depth = int(text.num_hidden_layers)
    # Sizes that follow from others are left to the library.
    own_names = {one.name for one in fields(type(text))} | set(text.attribute_map.values())
    sizes = {name: value for name, value in SIZES.items() if name in own_names - text.attribute_map.keys()}
    # Kinds of layers, one for each block: the first ones, and the last, so that no kind that a model needs is missing.
    for name, value in text.to_dict().items():
        if isinstance(value, list) and len(value) == depth and depth > BLOCKS and name in own_names:
            sizes[name] = [*value[: BLOCKS - 1], value[-1]]
    if "qk_rope_head_dim" in sizes:
        sizes.pop("head_dim", None)  # it follows from the parts of a head
    sizes |= QUIRKS.get(kind, {}) | changes
    # Some configurations hold one for text, others are their own decoder's.
    return found(text_config=sizes) if text is not own and hasattr(own, "text_config") else found(**sizes)


def make_model(kind: str, **changes: Any) -> PreTrainedModel:
    """A tiny model of a type, with random weights large enough for attention to matter."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    made: Any = getattr(transformers, name if isinstance(name, str) else name[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = made(make_config(kind, **changes))
    return model.float().eval().requires_grad_(False)


DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
START, END = "<!-- types: python -m engine.tests.every_type -->\n", "<!-- end of types -->\n"

ADMITTED = "yes"


def judge(kind: str) -> str:
    """'yes', or why a tiny model of a type is refused or cannot be built."""
    try:
        model = make_model(kind)
    except Exception as error:
        # Sizes of its own that must fit together, parts that are another package's, or a picture's encoder.
        return f"not tried: no tiny one can be built ({type(error).__name__})"
    try:
        admit(kind, model)
    except SubjectError as error:
        found = re.match(rf"{re.escape(kind)}: got a model of type \S+ ([^()]*?)(?: \(.*\))?, expected ", str(error))
        if found is None:
            raise
        return f"no: a model {found[1]}"
    return ADMITTED


def write_table(found: dict[str, str]) -> str:
    admitted = sum(answer == ADMITTED for answer in found.values())
    rows = "".join(f"| `{kind}` | {answer} |\n" for kind, answer in found.items())
    counts = f"transformers {transformers.__version__}: {admitted} of {len(found)} types are admitted.\n\n"
    return f"{START}\n{counts}| type | admitted |\n| --- | --- |\n{rows}\n{END}"


def read_table() -> str:
    """The part of the document that is generated."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text[text.index(START) : text.index(END) + len(END)]


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {kind: judge(kind) for kind in TYPES}
    TYPES_FILE.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    table = write_table(found)
    DOCUMENT.write_text(DOCUMENT.read_text(encoding="utf-8").replace(read_table(), table), encoding="utf-8")


if __name__ == "__main__":
    main()
