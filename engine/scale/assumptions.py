"""What the simulation takes for granted: one GPU, models of forty sizes, loading, mishaps, and a price.

Nothing here was measured; what a step takes was, in part (engine.costs.GPU). Each number is set once, so that a
measured one can take its place.
"""

from __future__ import annotations

import math

from engine.costs import Size

LOADING_BYTES_PER_S = 1.0e9
"""Weights read from a local disk, checked, and copied to the GPU; random ones are drawn about as fast."""

LOADING_S = 5.0
"""Before the first byte: configuration, tokenizer, modules."""

STARTING_S = 15.0
"""A process that imports torch and transformers and takes hold of its GPU."""

SPREAD_OF_ROWS, SPREAD_OF_ARMS = 0.6, 0.3
"""Standard deviations of the logarithm of what arms take over what the engine estimates: the part that the arms of a
row share, and each arm's own. The two make 0.67; 41 rows of the reference run, on a CPU, had 0.68."""

DEATHS_PER_GPU_HOUR = 0.02
"""Processes that die under their arm: each costs a part of one attempt, a new process and a new loading."""

PRICE_PER_GPU_HOUR = 2.5
"""US dollars, for a rented H100."""

SUBJECTS = 40
UNITS = 200
"""Prompts, each with a start seed of its own, of every row."""

VOCAB = 50257
LARGEST = 7.0e9
"""Weights of the largest subject."""

SMOLLM2 = Size(vocab=49152, d_model=576, blocks=30, block_weights=3538944, cached=384)


def shape_gpt2(blocks: int, d_model: int) -> Size:
    return Size(vocab=VOCAB, d_model=d_model, blocks=blocks, block_weights=12 * d_model**2, cached=2 * d_model)


GPT2 = {
    "gpt2": shape_gpt2(12, 768),
    "gpt2-medium": shape_gpt2(24, 1024),
    "gpt2-large": shape_gpt2(36, 1280),
    "gpt2-xl": shape_gpt2(48, 1600),
}


def list_sizes() -> dict[str, Size]:
    """The catalogue's five trained subjects, and more of GPT-2's shape at equal ratios of weights up to the largest."""
    own = {"smollm2-135m": SMOLLM2, **GPT2}
    more = SUBJECTS - len(own)
    low, high = math.log(GPT2["gpt2"].weights), math.log(LARGEST)
    grown = [shape_between(math.exp(low + (high - low) * k / more)) for k in range(1, more + 1)]
    return own | {f"{size.weights / 1e6:.0f}M": size for size in grown}


def shape_between(weights: float) -> Size:
    """The first shape, from gpt2's 12 blocks of 768 towards 32 of 4096 and on, with so many weights."""
    power = math.log(32 / 12) / math.log(4096 / 768)
    for d_model in range(768, 8192, 16):
        size = shape_gpt2(round(12 * (d_model / 768) ** power), d_model)
        if size.weights >= weights:
            return size
    raise ValueError(f"no shape with {weights:g} weights")


def loading_s(size: Size, dtype: str) -> float:
    """Seconds until a model of this size is ready on its GPU."""
    return LOADING_S + size.weights * (8 if dtype == "float64" else 4) / LOADING_BYTES_PER_S
