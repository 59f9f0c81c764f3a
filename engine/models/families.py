"""Families of models that are supported, by name alone: neither torch nor transformers is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engine.models.refusals import refusal

if TYPE_CHECKING:
    pass


FAMILIES = {"gpt2": "GPT-2", "llama": "Llama"}
"""By the `model_type` of transformers and the `general.architecture` of GGUF."""


def check_family(who: str, model_type: object) -> str:
    """The family's key. Raises SubjectError that names the supported families."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        families = " or ".join(f"{name} ({key})" for key, name in FAMILIES.items())
        remedy = "name a model of one of them (smollm2-135m is one), or add the family as CONTRIBUTING.md says"
        raise refusal(who, f"a model of family {model_type!r}", f"one of {families}", remedy)
    return model_type


Attention = Literal["sdpa", "eager"]
