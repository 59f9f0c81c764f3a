"""What a config.json asks for: each entry is used, known to change nothing, or a reason to refuse the model.

The library sets whatever it does not know as an attribute that no module reads, or that one reads half: a window of
attention would reach the cache and not the mask. So the library is handed the entries that its modules use, and no
others. That also keeps an entry from naming a file elsewhere, and from deciding what is ours to decide at a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.errors import SubjectError
from engine.models.families import FAMILIES, Family, split_names
from engine.models.refusals import refusal

CALLS = split_names(
    """
    use_cache output_past return_dict use_return_dict output_hidden_states output_attentions torchscript dtype
    torch_dtype attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset
    _experts_implementation experts_implementation _flash_attn_2_enabled _use_flash_attention_2 gradient_checkpointing
    chunk_size_feed_forward use_bfloat16 tf_legacy_loss use_flash_attn use_flash_attention flash_attention torch_compile
    """
)
"""What a caller decides, and this suite is the caller."""

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
"""How text is generated: claims about continuations say that themselves."""

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
"""Where the model comes from, what else its kind can do, how its training was spread and how long its texts were. The
files and hub names among these are never opened."""

UNREAD = re.compile(r"\w*(?:dropout|pdrop|layerdrop)\w*|\w+_token_ids?")
"""Names of what only training reads, and of tokens that no module knows."""

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
"""Values of entries that ask for nothing. With any other, the model would compute what these classes do not."""

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
"""Kinds of rotary positions, with what each reads beside its base."""

ROPE_NOTES: Mapping[str, frozenset[str]] = {
    "default": frozenset({"original_max_position_embeddings"}),
    "linear": frozenset({"original_max_position_embeddings"}),
    "dynamic": frozenset({"original_max_position_embeddings"}),
}
"""What these kinds carry along and do not read."""

REMEDY = "delete the entry if it is only a note; else name a model without it, or one whose family has it"


def select_used(who: str, family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that a family's modules use, by their own names.

    Raises SubjectError that names the first entry that would change the computation and is not used.
    """
    known = FAMILIES[family]
    chosen = {key: value for key, value in settings.items() if key in known.settings}
    chosen |= _select_sizes(who, known.aliases, settings)
    if known.rotary:
        chosen |= _select_rope(who, settings)
    for key, value in settings.items():
        if key in chosen or _changes_nothing(key, value, settings, known):
            continue
        raise _unused(who, key, value)
    _check_activation(who, chosen)
    return chosen


def _check_activation(who: str, chosen: Mapping[str, Any]) -> None:
    for key in ("activation_function", "hidden_act"):
        if (name := chosen.get(key)) is not None:
            from transformers.activations import ACT2FN  # late: it brings torch

            if not isinstance(name, str) or name not in ACT2FN:
                expected = "an activation that the library has, such as gelu_new or silu"
                raise refusal(
                    who, f"config.json with {key}: {_show(name)}", expected, "name the one it was trained with"
                )


def _changes_nothing(key: str, value: object, settings: Mapping[str, Any], family: Family) -> bool:
    if (
        value is None
        or key in family.settings
        or key in CALLS
        or key in DECODING
        or key in ABOUT
        or UNREAD.fullmatch(key)
    ):
        return True
    if key in NEUTRAL:
        return any(value == neutral for neutral in NEUTRAL[key])
    if key in family.aliases or (family.rotary and key in ("rope_theta", "rope_scaling")):
        return True  # held against its other names already
    context = settings.get(family.context)
    if key in family.said_again:
        return value == settings.get(family.said_again[key])
    if key == "original_max_position_embeddings" and family.rotary:
        return _rope_reads_it_not(value, settings)
    if key in ("sliding_window", "attention_window"):
        # A window that no prompt outgrows hides nothing.
        wide = isinstance(value, int) and isinstance(context, int) and value >= context
        return wide or value == 0 or settings.get("use_sliding_window") is False
    if key == "auto_map":
        # Code of the model's own computes what the family's need not. Other code, which is not run, is none of it.
        named = {str(name) for name in value} if isinstance(value, dict) else {"AutoModel"}  # pyright: ignore[reportUnknownVariableType]
        return not any(name.startswith("AutoModel") for name in named)
    if key == "layer_types":
        return isinstance(value, list) and set(map(str, value)) == {"full_attention"}  # pyright: ignore[reportUnknownArgumentType]
    return False


def _select_sizes(who: str, aliases: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A family's sizes under their own names, each said once or the same each time."""
    sizes: dict[str, Any] = {}
    for alias, name in aliases.items():
        value = settings.get(alias)
        if value is None:
            continue
        said = sizes.setdefault(name, value if settings.get(name) is None else settings[name])
        if said != value:
            got = f"config.json with {name} {_show(said)} and {alias} {_show(value)}"
            raise refusal(who, got, "the same number twice", "keep the one that fits the weights")
    return sizes


def _select_rope(who: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions in the library's one entry for them, whatever the two older ones were called."""
    said = _list_ropes(settings)
    if len(said) == 2 and _normalize(said[0], settings) != _normalize(said[1], settings):
        raise refusal(who, "rope_parameters and rope_scaling that differ", "one of them", "keep the one that is meant")
    rope: Any = said[0] if said else {}
    if not isinstance(rope, dict):
        raise refusal(who, f"rotary positions of {_show(rope)}", "a JSON object")
    found: dict[str, Any] = {str(key): value for key, value in rope.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    kinds = {str(found[key]) for key in ("rope_type", "type") if found.get(key) is not None} or {"default"}
    kind = next(iter(kinds))
    if len(kinds) > 1 or kind not in ROPE:
        got = f"rotary positions of kind {' and '.join(sorted(kinds))[:60]}"
        raise refusal(who, got, f"one of {', '.join(ROPE)}", REMEDY)
    theta = settings.get("rope_theta")
    if theta is not None and found.setdefault("rope_theta", theta) != theta:
        got = f"rope_theta {_show(theta)} and rotary positions with {_show(found['rope_theta'])}"
        raise refusal(who, got, "the same base twice", "keep the one that is meant")
    for key, value in found.items():
        if key in ("rope_type", "type", "rope_theta") or value is None or key in ROPE[kind]:
            continue
        if key in ROPE_NOTES.get(kind, ()) or key == "finetuned":
            continue
        if value == 1 and (key == "partial_rotary_factor" or (key == "factor" and kind == "default")):
            continue
        raise _unused(who, f"{key} of rotary positions ({kind})", value)
    # Only what this kind reads is handed on: the library would take the rest without a word.
    kept = {key: found[key] for key in ("rope_theta", *ROPE[kind]) if found.get(key) is not None}
    return {"rope_parameters": {"rope_type": kind, **kept}} if said or theta is not None else {}


def _list_ropes(settings: Mapping[str, Any]) -> list[Any]:
    return [settings[key] for key in ("rope_parameters", "rope_scaling") if settings.get(key)]


def _normalize(rope: Any, settings: Mapping[str, Any]) -> Any:
    """Rotary positions with their kind and base said, however they are written."""
    if not isinstance(rope, dict):
        return rope
    held: dict[str, Any] = {str(key): value for key, value in rope.items() if value is not None}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    kind = held.pop("type", "default")
    return {"rope_theta": settings.get("rope_theta"), "rope_type": kind} | held


def _rope_reads_it_not(length: object, settings: Mapping[str, Any]) -> bool:
    """Whether the length before positions were stretched, said beside them, is read by none or said among them, too."""
    ropes = [rope for rope in _list_ropes(settings) if isinstance(rope, dict)]
    kinds = {str(rope.get("rope_type") or rope.get("type") or "default") for rope in ropes}
    within = [rope.get("original_max_position_embeddings") for rope in ropes]
    return kinds <= set(ROPE_NOTES) or length in within


def _unused(who: str, key: str, value: object) -> SubjectError:
    return refusal(
        who, f"config.json with {key[:60]}: {_show(value)}", "only what the family's own modules compute", REMEDY
    )


def _show(value: object) -> str:
    """A JSON value, cut so that a whole file does not land in an error message."""
    try:
        said = json.dumps(value)
    except RecursionError:
        said = "a nest of lists"
    return said if len(said) <= 60 else said[:59] + "…"
