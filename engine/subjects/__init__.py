"""Where models come from. Importing this imports neither torch nor transformers."""

from engine.subjects.base import Attention, Subject, Tier
from engine.subjects.catalogue import CATALOGUE, find_subject
from engine.subjects.tokenizers import make_gpt2_tokenizer
from engine.subjects.untrained import draw_weights, estimate_bytes

__all__ = [
    "CATALOGUE",
    "Attention",
    "Subject",
    "Tier",
    "draw_weights",
    "estimate_bytes",
    "find_subject",
    "make_gpt2_tokenizer",
]
