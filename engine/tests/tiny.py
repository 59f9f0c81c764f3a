"""Tiny random models for tests: each supported family, built in a moment."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

FAMILIES = ("gpt2", "llama")


def make_tiny(
    family: str, *, attention: str = "sdpa", dtype: torch.dtype = torch.float32, seed: int = 0
) -> PreTrainedModel:
    """A model of 3 blocks, 32 dimensions and 211 tokens, with weights large enough for attention to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "gpt2":
            model: PreTrainedModel = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=211,
                    n_embd=32,
                    n_layer=3,
                    n_head=4,
                    n_positions=64,
                    initializer_range=0.2,
                    bos_token_id=0,
                    eos_token_id=0,
                    attn_implementation=attention,
                )
            )
        else:
            assert family == "llama", f"add a tiny {family} here"
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=211,
                    hidden_size=32,
                    intermediate_size=48,
                    num_hidden_layers=3,
                    num_attention_heads=4,
                    num_key_value_heads=2,
                    max_position_embeddings=64,
                    tie_word_embeddings=True,
                    initializer_range=0.2,
                    attn_implementation=attention,
                )
            )
    return model.to(dtype).eval().requires_grad_(False)


def draw_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random ids of the tiny vocabulary."""
    return torch.randint(211, shape, generator=torch.Generator().manual_seed(seed))
