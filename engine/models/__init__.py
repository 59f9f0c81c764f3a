"""Language models: where they come from, and how they are checked, loaded and cut.

Importing this imports neither torch nor transformers.
"""

from engine.models.catalogue import CATALOGUE, find_subject
from engine.models.families import Attention
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import make_gpt2_tokenizer
from engine.models.untrained import draw_weights, estimate_bytes

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
