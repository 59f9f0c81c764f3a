"""Each entry of a config.json is computed with, known to change nothing, or a reason to refuse the model by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from engine.experiments.language.measure import continue_prompts
from engine.models import estimate_bytes, find_subject
from engine.models.config_file import DECODING
from engine.models.memory import count_bytes
from engine.tests.folders import change, load_logits, logits, refuse
from engine.tests.tiny_models import make_gpt2, make_llama, save

MODELS = {"gpt2": make_gpt2, "llama": make_llama}


@pytest.fixture(name="gpt2")
def provide_gpt2(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_gpt2(initializer_range=0.5))


@pytest.fixture(name="llama")
def provide_llama(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_llama(initializer_range=0.5))


OTHER_MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "attention_bias": False,
        "hidden_act": "relu",
        "rope_theta": 10000.0,
        "num_key_value_heads": 1,
        "layer_norm_eps": 0.1,
        "add_cross_attention": True,
        "n_special": 3,
    },
    "llama": {
        "activation_function": "relu",
        "layer_norm_epsilon": 0.1,
        "attention_multiplier": 0.5,
        "scale_attn_by_inverse_layer_idx": True,
        "rope_interleaved": True,
        "num_local_experts": 4,
        "no_rope_layers": [1, 0],
        "final_logit_softcapping": 30.0,
    },
}
EITHER: dict[str, Any] = {
    "sliding_window": 4,
    "attention_chunk_size": 2,
    "layer_types": ["full_attention", "sliding_attention"],
    "is_causal": False,
    "is_encoder_decoder": True,
    "logit_scale": 0.0625,
    "attn_logit_softcapping": 50.0,
    "residual_multiplier": 0.22,
    "embedding_multiplier": 12.0,
    "partial_rotary_factor": 0.5,
    "pruned_heads": {"0": [1]},
    "per_layer_config": {"0": {"layer_norm_epsilon": 0.1}},
    "use_qk_norm": True,
    "fusion_config": {"patch_embeddings": True},
    "auto_map": {"AutoModelForCausalLM": "someone/repo--code.Model"},
    "an_entry_of_tomorrow": 1,
}
CASES = [(family, key, value) for family in MODELS for key, value in (OTHER_MODELS[family] | EITHER).items()]


@pytest.mark.parametrize(("family", "key", "value"), CASES, ids=[f"{family}, {key}" for family, key, _ in CASES])
def test_an_entry_that_the_familys_modules_do_not_compute_is_refused_by_name(
    family: str, key: str, value: Any, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", MODELS[family]())
    change(folder / "config.json", **{key: value})
    refuse(folder, f"config.json with {key}: {json.dumps(value)}", "name a model without it")


@pytest.mark.parametrize("value", ["foo", 7, ["relu"]])
@pytest.mark.parametrize(("family", "key"), [("gpt2", "activation_function"), ("llama", "hidden_act")])
def test_an_activation_that_nobody_has_is_refused_by_name(family: str, key: str, value: Any, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", MODELS[family]())
    change(folder / "config.json", **{key: value})
    refuse(folder, f"config.json with {key}: {json.dumps(value)}", "name the one it was trained with")


HONOURED: dict[str, dict[str, dict[str, Any]]] = {
    "gpt2": {
        "another activation": {"activation_function": "relu"},
        "unscaled attention": {"scale_attn_weights": False},
        "attention scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
        "upcast attention": {"reorder_and_upcast_attn": True},
        "another epsilon": {"layer_norm_epsilon": 0.1},
    },
    "llama": {
        "another activation": {"hidden_act": "relu"},
        "another base": {"rope_theta": 100.0},
        "linear positions": {"rope_scaling": {"type": "linear", "factor": 4.0}},
        "dynamic positions": {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
        "Llama 3's positions": {
            "rope_theta": 10000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8,
            },
        },
        "yarn": {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 8,
            }
        },
        "another epsilon": {"rms_norm_eps": 0.1},
    },
}
HONOURED_CASES = [(family, name) for family, cases in HONOURED.items() for name in cases]


def load_by_library(folder: Path) -> PreTrainedModel:
    """The model as the library alone reads it, with its own attention."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.mark.parametrize(("family", "name"), HONOURED_CASES, ids=[", ".join(case) for case in HONOURED_CASES])
def test_an_entry_that_the_modules_read_is_computed_with(family: str, name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", MODELS[family](initializer_range=0.5))
    settings = json.loads((folder / "config.json").read_text())
    for key in ("rope_parameters", "rope_theta"):
        settings.pop(key, None)
    (folder / "config.json").write_text(json.dumps(settings))
    plain = load_logits(folder)
    change(folder / "config.json", **HONOURED[family][name])
    # Logits of some units out of two blocks of width 8, twice in float32 in another order.
    torch.testing.assert_close(load_logits(folder), logits(load_by_library(folder)), rtol=1e-5, atol=1e-5)
    same = name in ("upcast attention", "dynamic positions")  # roundings alone; and nothing within the context
    assert torch.allclose(load_logits(folder), plain, atol=1e-5) is same


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"rope_scaling": {"type": "mrope", "mrope_section": [1, 1]}}, "rotary positions of kind mrope"),
        ({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2.0}}, "of kind linear and yarn"),
        ({"rope_scaling": {"rope_type": "default", "factor": 2.0}}, "factor of rotary positions (default): 2.0"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "alpha": 3}}, "alpha of rotary positions (linear): 3"),
        ({"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}}, "rope_theta 5.0 and rotary positions with 6.0"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_parameters and rope_scaling that differ"),
        ({"rope_scaling": [1]}, "rotary positions of [1]"),
    ],
    ids=["another kind", "two kinds", "a factor of nothing", "an unknown part", "two bases", "said twice", "a list"],
)
def test_rotary_positions_that_would_be_read_in_part_are_refused(
    entries: dict[str, Any], words: str, llama: Path
) -> None:
    settings = json.loads((llama / "config.json").read_text())
    if "differ" not in words:
        settings.pop("rope_parameters")
    (llama / "config.json").write_text(json.dumps(settings | entries))
    refuse(llama, words)


@pytest.mark.parametrize(("alias", "name"), [("n_ctx", "n_positions"), ("num_hidden_layers", "n_layer")])
def test_a_size_of_gpt2_that_is_said_twice_must_be_one_number(alias: str, name: str, gpt2: Path) -> None:
    change(gpt2 / "config.json", **{alias: 8})
    refuse(gpt2, f"{name} {json.loads((gpt2 / 'config.json').read_text())[name]} and {alias} 8")
    change(gpt2 / "config.json", **{name: 8, alias: 8})
    assert getattr(find_subject(f"local:{gpt2}").config(), name) == 8


HARMLESS: dict[str, Any] = {
    "_name_or_path": "someone/another-model",
    "base_model_name_or_path": "/nowhere/at/all",
    "auto_map": {"AutoConfig": "someone/repo--code.Config"},
    "architectures": ["AnotherForCausalLM"],
    "transformers_version": "3.0.2",
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "id2label": {"0": "A", "1": "B", "2": "C"},
    "num_labels": 3,
    "problem_type": "regression",
    "output_past": True,
    "predict_special_tokens": True,
    "n_special": 0,
    "sliding_window": 16,
    "layer_types": ["full_attention", "full_attention"],
    "hidden_dropout_prob": 0.9,
    "sep_token_id": 3,
    "pretraining_tp": 2,
    "tie_encoder_decoder": False,
    "an_entry_of_tomorrow": None,
    "unsloth_version": "2024.9",
    "_num_labels": 1,
    "xla_device": None,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
    "trust_remote_code": True,
    "neftune_noise_alpha": 5,
    "rope_interleaved": False,
    "max_sequence_length": 64,
    "model_max_length": 2048,
    "author": "Somebody",
    "_comment": "a note",
    "vocab_size_or_config_json_file": 50257,
    "initializer_factor": 1.0,
    "quantization_config": {},
    "bias": False,
    "qkv_bias": False,
    "multi_query": False,
    "use_flash_attn": True,
}
CALLS: dict[str, Any] = {
    "return_dict": False,
    "use_return_dict": False,
    "use_cache": False,
    "output_attentions": True,
    "output_hidden_states": True,
    "torchscript": True,
    "torch_dtype": "float16",
    "dtype": "bfloat16",
    "_attn_implementation": "flash_attention_2",
    "attn_implementation": "flash_attention_2",
    "_attn_implementation_internal": "flex_attention",
    "gradient_checkpointing": True,
    "chunk_size_feed_forward": 1,
}
DECODED: dict[str, Any] = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "num_beams": 4,
    "min_length": 9,
    "suppress_tokens": [1, 2],
    "bad_words_ids": [[1]],
    "forced_eos_token_id": 5,
    "forced_bos_token_id": 7,
    "do_sample": True,
    "temperature": 9.0,
}
ACCEPTED = HARMLESS | CALLS | DECODED


ROPES: dict[str, dict[str, Any]] = {
    "said in both ways": {
        "rope_scaling": {"rope_type": "default", "rope_theta": 10000.0},
        "rope_parameters": {"rope_theta": 10000.0},
    },
    "a length before, unread": {"rope_scaling": {"type": "linear", "factor": 2, "original_max_position_embeddings": 8}},
    "a length before, beside": {"original_max_position_embeddings": 8},
    "a factor of one": {"rope_scaling": {"rope_type": "default", "factor": 1.0}},
    "stretched and finetuned": {"rope_scaling": {"type": "linear", "factor": 2, "finetuned": True}},
    "other libraries' names": {"n_layers": 2, "dim": 8, "layer_norm_eps": 1e-6},
}


@pytest.mark.parametrize("name", ROPES)
def test_notes_of_real_llamas_are_passed_over(name: str, llama: Path) -> None:
    change(llama / "config.json", **({"rope_parameters": None} | ROPES[name]))
    assert find_subject(f"local:{llama}").config().model_type == "llama"


def test_what_other_libraries_say_otherwise_is_refused(llama: Path) -> None:
    change(llama / "config.json", n_layers=3)
    refuse(llama, "n_layers: 3", "delete the entry if it is only a note")


def test_a_length_before_that_longrope_would_read_is_refused(llama: Path) -> None:
    factors = {"short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0], "original_max_position_embeddings": 8}
    entries = {"rope_scaling": {"type": "longrope", **factors}, "original_max_position_embeddings": 4}
    change(llama / "config.json", rope_parameters=None, **entries)
    refuse(llama, "original_max_position_embeddings: 4")


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("key", ACCEPTED)
def test_an_entry_that_is_a_callers_or_a_note_changes_nothing(family: str, key: str, tmp_path: Path) -> None:
    saved = MODELS[family]()
    folder = save(tmp_path / "model", saved)
    change(folder / "config.json", **{key: ACCEPTED[key]})
    subject = find_subject(f"local:{folder}")
    model = subject.model(torch.float32)
    assert model.dtype == torch.float32
    assert model.config._attn_implementation == "sdpa"  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(logits(model), logits(saved), rtol=1e-5, atol=1e-6)  # torch's own GELU
    assert count_bytes(subject, "float32") == estimate_bytes(saved.config)
    assert model.generation_config.to_dict() == GenerationConfig().to_dict()


def test_every_setting_for_decoding_that_the_library_knows_is_known_here() -> None:
    named = set(GenerationConfig._get_default_generation_params())  # pyright: ignore[reportPrivateUsage]
    assert named - {"use_cache"} <= DECODING


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_models_own_settings_for_decoding_change_no_continuation(name: str, beams: int, llama: Path) -> None:
    def decode() -> list[list[int]]:
        model = find_subject(f"local:{llama}").model(torch.float32)
        ids = torch.tensor([[1, 2, 3]])
        return continue_prompts(model, ids, torch.ones_like(ids), new_tokens=6, beams=beams, ends=()).tolist()

    plain = decode()
    if beams == 1:
        ids = torch.tensor([[1, 2, 3]])
        model = find_subject(f"local:{llama}").model(torch.float32)
        for _ in range(6):  # the likeliest token, one after the other
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
        assert plain == ids[:, 3:].tolist()
    first = plain[0][0]
    asked = DECODED | {"suppress_tokens": [first], "bad_words_ids": [[first]], "eos_token_id": None, "max_length": 4}
    change(llama / name, **asked)
    assert decode() == plain


@pytest.mark.parametrize("use", ["config", "weight_bytes", "untrained"])
def test_a_kept_flash_attention_stops_neither_the_configuration_nor_an_estimate(use: str, llama: Path) -> None:
    change(llama / "config.json", _attn_implementation="flash_attention_2", attn_implementation="flash_attention_2")
    subject = find_subject(f"local:{llama}")
    if use == "config":
        assert subject.config().num_hidden_layers == 2
    elif use == "weight_bytes":
        assert (subject.tier, count_bytes(subject, "float16")) == ("cpu", estimate_bytes(make_llama().config, 2))
    else:
        assert subject.untrained(1).model(torch.float32).dtype == torch.float32
