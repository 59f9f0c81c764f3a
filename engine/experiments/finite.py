"""Numbers that a model gave: what overflows gives no verdict."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.arms.settings import StackSettings
from engine.errors import SubjectError, explain

OUTPUTS = "its outputs for a prompt"
RANDOM_OUTPUTS = "its outputs for tokens of its vocabulary"
LOGITS = "its logits after a prompt"
GRADIENTS = "its outputs' gradients at a prompt"


def check_numbers(numbers: Tensor, settings: StackSettings, what: str) -> None:
    """Raises SubjectError for NaN or infinity: comparisons with it are all false, and would pass for findings.

    what: whose numbers they are. Weights are finite where a model is measured; a forward pass may overflow all the
    same, in a precision of a short range or by a setting of the model's. Where nothing can be read, nothing is looked
    at.
    """
    if numbers.device.type != "meta" and not bool(torch.isfinite(numbers).all()):
        raise SubjectError(explain_overflow(settings, what))


def explain_overflow(settings: StackSettings, what: str) -> str:
    """One line on numbers that are not finite, and what can be done."""
    remedy = "fix the model's config.json or its weights"
    return explain(
        who=settings.subject,
        got=f"NaN or infinity in {what} in {settings.dtype}",
        expected="finite numbers",
        remedy=f"take --dtype float32, or {remedy}" if settings.dtype == "float16" else remedy,
    )
