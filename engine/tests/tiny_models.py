"""Small models on disk for tests: random weights in each format that a subject can be read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
"""The 256 characters that stand for bytes."""

TOKENS = [*ALPHABET, "ab", "<|endoftext|>"]
"""A vocabulary with one merge."""


def make_gpt2(**changes: Any) -> GPT2LMHeadModel:
    """Two blocks of d_model 8, 258 tokens."""
    sizes = {"vocab_size": len(TOKENS), "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    return _draw(GPT2LMHeadModel, GPT2Config(**{**sizes, "bos_token_id": 257, "eos_token_id": 257, **changes}))


def make_llama(**changes: Any) -> LlamaForCausalLM:
    """Two blocks of d_model 8, two heads that share a key head, 258 tokens, tied head."""
    sizes = {"vocab_size": len(TOKENS), "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16}
    return _draw(LlamaForCausalLM, LlamaConfig(**{**sizes, **heads, "tie_word_embeddings": True, **changes}))


def _draw(kind: type[Any], config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return kind(config).eval()


def save(folder: Path, model: PreTrainedModel, *, tokenizer: bool = True) -> Path:
    """The model in transformers' format, with a tokenizer unless told otherwise."""
    model.save_pretrained(folder)
    if tokenizer:
        vocab = {text: index for index, text in enumerate(TOKENS)}
        GPT2Tokenizer(vocab=vocab, merges=[("a", "b")]).save_pretrained(folder)
    return folder


def write_gguf(
    path: Path,
    model: Any,
    *,
    architecture: str | None = None,
    fields: Mapping[str, Any] | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """A model of either family as an unquantized GGUF file with a tokenizer.

    architecture: renames its family. fields, tensors: what else it says and holds; a field of None is left out.
    """
    config: Any = model.config
    writer = gguf.GGUFWriter(path, architecture or config.model_type)
    llama = config.model_type == "llama"
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size if llama else 4 * config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if llama:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(10000.0)
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(257)
    said = writer.kv_data[0]
    for name, value in (fields or {}).items():
        said.pop(name, None)
        if value is not None:
            writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    own = _llama_tensors(model) if llama else _gpt2_tensors(model)
    for name, tensor in {**own, **(tensors or {})}.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _llama_tensors(model: Any) -> dict[str, torch.Tensor]:
    inner: Any = model.model
    config: Any = model.config
    found: dict[str, torch.Tensor] = {
        "token_embd.weight": inner.embed_tokens.weight,
        "output_norm.weight": inner.norm.weight,
    }
    for index, block in enumerate(inner.layers):
        attention, mlp, stem = block.self_attn, block.mlp, f"blk.{index}"
        found |= {
            f"{stem}.attn_norm.weight": block.input_layernorm.weight,
            f"{stem}.attn_q.weight": _interleave(attention.q_proj.weight, config.num_attention_heads),
            f"{stem}.attn_k.weight": _interleave(attention.k_proj.weight, config.num_key_value_heads),
            f"{stem}.attn_v.weight": attention.v_proj.weight,
            f"{stem}.attn_output.weight": attention.o_proj.weight,
            f"{stem}.ffn_norm.weight": block.post_attention_layernorm.weight,
            f"{stem}.ffn_gate.weight": mlp.gate_proj.weight,
            f"{stem}.ffn_up.weight": mlp.up_proj.weight,
            f"{stem}.ffn_down.weight": mlp.down_proj.weight,
        }
    return found


def _gpt2_tensors(model: Any) -> dict[str, torch.Tensor]:
    inner: Any = model.transformer
    found: dict[str, torch.Tensor] = {"token_embd.weight": inner.wte.weight, "position_embd.weight": inner.wpe.weight}
    modules: dict[str, Any] = {"output_norm": inner.ln_f}
    for index, block in enumerate(inner.h):
        attention, mlp, stem = block.attn, block.mlp, f"blk.{index}"
        modules |= {f"{stem}.attn_norm": block.ln_1, f"{stem}.ffn_norm": block.ln_2}
        modules |= {f"{stem}.attn_qkv": attention.c_attn, f"{stem}.attn_output": attention.c_proj}
        modules |= {f"{stem}.ffn_up": mlp.c_fc, f"{stem}.ffn_down": mlp.c_proj}
    for name, module in modules.items():
        # transformers keeps these matrices as inputs × outputs, GGUF as outputs × inputs; vectors are unaffected.
        found |= {f"{name}.weight": module.weight.t(), f"{name}.bias": module.bias}
    return found


def _interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows as GGUF orders them: a rotary pair side by side, where transformers keeps the halves apart."""
    half = weight.shape[0] // heads // 2
    return torch.cat([torch.stack([h[i], h[i + half]]) for h in weight.chunk(heads) for i in range(half)])
