"""A model's config.json: each entry is used, is known to change nothing, or is a reason to refuse the model.

transformers sets an entry that it does not know as an attribute that no module reads, or that one module reads and
another does not: a window of attention would reach the cache and not the mask. So it is given only the entries that
the family's modules use. That also keeps an entry from naming a file elsewhere, and from changing how the model is
called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import SubjectError
from engine.models.families import Family, config_class, find_family, split_names
from engine.models.subject import SAVE_AGAIN, refusal

CALLS = split_names(
    """
    use_cache output_past return_dict use_return_dict output_hidden_states output_attentions torchscript dtype
    torch_dtype attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset
    _experts_implementation experts_implementation _flash_attn_2_enabled _use_flash_attention_2 gradient_checkpointing
    chunk_size_feed_forward use_bfloat16 tf_legacy_loss use_flash_attn use_flash_attention flash_attention torch_compile
    """
)
"""Entries that the caller decides at each call, and this suite is the caller."""

DECODING = split_names(
    """
    assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens diversity_penalty do_sample
    early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff eta_cutoff
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length max_new_tokens
    min_length min_new_tokens no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups
    num_beams num_return_sequences output_scores prefix remove_invalid_values renormalize_logits repetition_penalty
    return_dict_in_generate suppress_tokens target_lookbehind temperature top_k top_p typical_p
    """
)
"""How text is generated. Claims about continuations decide that themselves."""

ABOUT = split_names(
    """
    model_type transformers_version architectures _name_or_path name_or_path _model_name_or_path
    base_model_name_or_path _commit_hash id2label label2id num_labels _num_labels problem_type finetuning_task
    task_specific_params license model_name unsloth_version unsloth_fixed transformers.js_config trust_remote_code
    neftune_noise_alpha is_llama_config is_decoder predict_special_tokens summary_type summary_use_proj
    summary_activation summary_proj_to_labels summary_first_dropout pretraining_tp max_window_layers
    author created_date _comment comment description language dataset datasets version vocab_size_or_config_json_file
    multiple_of initializer_factor max_sequence_length model_max_length seq_len max_seq_len max_seq_length
    """
)
"""Notes on where the model comes from, what else its class can do, and how it was trained. The files and hub names
among these are never opened."""

UNREAD = re.compile(r"\w*(?:dropout|pdrop|layerdrop)\w*|\w+_token_ids?")
"""Entries that only training reads, and ids of tokens that no module reads."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "is_causal": (True,),
    "tie_encoder_decoder": (False,),
    "use_sliding_window": (False,),
    "use_parallel_residual": (False,),
    "parallel_attn": (False,),
    "alibi": (False,),
    "use_alibi": (False,),
    "qk_norm": (False,),
    "use_qk_norm": (False,),
    "qk_layernorm": (False,),
    "rope_interleaved": (False,),
    "partial_rotary_factor": (1,),
    "rotary_pct": (1,),
    "logit_scale": (1,),
    "logits_scaling": (1,),
    "residual_multiplier": (1,),
    "embedding_multiplier": (1,),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "pruned_heads": ({}, []),
    "per_layer_config": ({},),
    "n_special": (0,),
    "bias": (False,),
    "qkv_bias": (False,),
    "use_qkv_bias": (False,),
    "multi_query": (False,),
    "quantization_config": ({},),
}
"""Values of other entries that change nothing. With any other value, the model would compute something else."""

ROPE: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "longrope": frozenset(
        {"short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"}
    ),
    "yarn": split_names(
        """
        factor attention_factor beta_fast beta_slow mscale mscale_all_dim truncate original_max_position_embeddings
        """
    ),
}
"""Kinds of rotary positions, with the entries that each reads beside its base."""

ORIGINAL_CONTEXT = "original_max_position_embeddings"
"""The entry with the context before rotary positions were stretched."""

IGNORE_ORIGINAL_CONTEXT = frozenset({"default", "linear", "dynamic"})
"""Kinds of rotary positions that do not read it."""

REMOVE_ENTRY = "delete the entry if it is only a note; else name a model without it, or one whose family has it"


def read_json(who: str, path: Path, remedy: str = SAVE_AGAIN) -> dict[str, Any]:
    """The object in a JSON file. Raises SubjectError if the file cannot be read or holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refusal(who, f"{path.name}: {error}", "readable JSON", remedy) from error
    if not isinstance(content, dict):
        raise refusal(who, f"{path.name} with a JSON {type(content).__name__}", "a JSON object", remedy)
    return content


def select_used(who: str, family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config.json that the family's modules use, under the names that transformers gives them.

    Raises SubjectError that names the first entry that would change the computation and is not used.
    """
    known = find_family(family)
    chosen = {key: value for key, value in settings.items() if key in known.entries - known.aliases.keys()}

    # Sizes under other names. Of two names the library would take one without a word, so both must agree.
    sizes: dict[str, Any] = {}
    for alias, name in known.aliases.items():
        value = settings.get(alias)
        if value is None:
            continue
        size = sizes.setdefault(name, value if settings.get(name) is None else settings[name])
        if size != value:
            got = f"config.json with {name} {_show(size)} and {alias} {_show(value)}"
            raise refusal(who, got, "the same number twice", "keep the one that fits the weights")
    chosen |= sizes
    if known.rotary and not known.declared:
        chosen |= _select_rope(who, settings)

    for key, value in settings.items():
        if key in chosen or _is_harmless(key, value, settings, known):
            continue
        if not (known.declared and _follows(key, value, family, chosen)):
            raise _unused(who, key, value)

    for key in ("activation_function", "hidden_act"):
        if (name := chosen.get(key)) is not None:
            from transformers.activations import ACT2FN  # late: it imports torch

            if not isinstance(name, str) or name not in ACT2FN:
                got = f"config.json with {key}: {_show(name)}"
                expected = "an activation that the library has, such as gelu_new or silu"
                raise refusal(who, got, expected, "name the one it was trained with")
    return chosen


def _follows(key: str, value: object, family: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a configuration of the chosen entries has this one with the same value by itself."""
    with suppress(Exception):
        return getattr(config_class(family)(**chosen), key) == value
    return False


def _is_harmless(key: str, value: object, settings: Mapping[str, Any], family: Family) -> bool:
    """Whether an entry that is not used changes nothing, or has been compared with what is used."""
    if value is None or key in family.entries or key in CALLS | DECODING | ABOUT or UNREAD.fullmatch(key):
        return True
    if key in NEUTRAL:
        return any(value == neutral for neutral in NEUTRAL[key])
    if key in family.aliases or (family.rotary and key in ("rope_theta", "rope_scaling")):
        return True  # compared by select_used and _select_rope
    if key in family.synonyms:
        return value == settings.get(family.synonyms[key])
    if key == ORIGINAL_CONTEXT and family.rotary:
        # Harmless if the kind in use ignores it, or if it is repeated among the positions' own entries.
        ropes = [rope for rope in _list_ropes(settings) if isinstance(rope, dict)]
        kinds = {str(rope.get("rope_type") or rope.get("type") or "default") for rope in ropes}
        return kinds <= IGNORE_ORIGINAL_CONTEXT or value in [rope.get(key) for rope in ropes]
    if key in ("sliding_window", "attention_window"):
        # A window as long as the context hides nothing.
        context = settings.get(family.context)
        wide = isinstance(value, int) and isinstance(context, int) and value >= context
        return wide or value == 0 or settings.get("use_sliding_window") is False
    if key == "auto_map":
        # Code of the model's own may compute something else than the family's classes. Code for other uses, such as a
        # tokenizer, is not run and does not matter.
        named = {str(name) for name in value} if isinstance(value, dict) else {"AutoModel"}  # pyright: ignore[reportUnknownVariableType]
        return not any(name.startswith("AutoModel") for name in named)
    if key == "layer_types":
        return isinstance(value, list) and set(map(str, value)) == {"full_attention"}  # pyright: ignore[reportUnknownArgumentType]
    return False


def _select_rope(who: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions as `rope_parameters`, the library's one entry for them, whichever entries they were in."""
    ropes = _list_ropes(settings)
    if len(ropes) == 2 and _normalize(ropes[0], settings) != _normalize(ropes[1], settings):
        raise refusal(who, "rope_parameters and rope_scaling that differ", "one of them", "keep the one that is meant")
    rope: Any = ropes[0] if ropes else {}
    if not isinstance(rope, dict):
        raise refusal(who, f"rotary positions of {_show(rope)}", "a JSON object")
    found: dict[str, Any] = {str(key): value for key, value in rope.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    # One kind and one base, each of which may be written in two places.
    kinds = {str(found[key]) for key in ("rope_type", "type") if found.get(key) is not None} or {"default"}
    kind = next(iter(kinds))
    if len(kinds) > 1 or kind not in ROPE:
        got = f"rotary positions of kind {' and '.join(sorted(kinds))[:60]}"
        raise refusal(who, got, f"one of {', '.join(ROPE)}", REMOVE_ENTRY)
    theta = settings.get("rope_theta")
    if theta is not None and found.setdefault("rope_theta", theta) != theta:
        got = f"rope_theta {_show(theta)} and rotary positions with {_show(found['rope_theta'])}"
        raise refusal(who, got, "the same base twice", "keep the one that is meant")

    # Only what this kind reads is passed on: the library would accept the rest without a word.
    for key, value in found.items():
        if key in ("rope_type", "type", "rope_theta", "finetuned") or value is None:
            continue
        if key in ROPE[kind] or (key == ORIGINAL_CONTEXT and kind in IGNORE_ORIGINAL_CONTEXT):
            continue
        if value == 1 and (key == "partial_rotary_factor" or (key == "factor" and kind == "default")):
            continue
        raise _unused(who, f"{key} of rotary positions ({kind})", value)
    used = {key: found[key] for key in ("rope_theta", *ROPE[kind]) if found.get(key) is not None}
    return {"rope_parameters": {"rope_type": kind, **used}} if ropes or theta is not None else {}


def _list_ropes(settings: Mapping[str, Any]) -> list[Any]:
    """The rotary positions of a config.json, in the newer entry and in the older one."""
    return [settings[key] for key in ("rope_parameters", "rope_scaling") if settings.get(key)]


def _normalize(rope: Any, settings: Mapping[str, Any]) -> Any:
    """Rotary positions with their kind and base filled in, so that two ways to write them compare equal."""
    if not isinstance(rope, dict):
        return rope
    held: dict[str, Any] = {str(key): value for key, value in rope.items() if value is not None}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    kind = held.pop("type", "default")
    return {"rope_theta": settings.get("rope_theta"), "rope_type": kind} | held


def _unused(who: str, key: str, value: object) -> SubjectError:
    got = f"config.json with {key[:60]}: {_show(value)}"
    return refusal(who, got, "only what the family's own modules compute", REMOVE_ENTRY)


def _show(value: object) -> str:
    """A JSON value, cut so that a whole file does not land in an error message."""
    try:
        shown = json.dumps(value)
    except RecursionError:
        shown = "a nest of lists"
    return shown if len(shown) <= 60 else shown[:59] + "…"
