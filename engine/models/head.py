"""What a model's head makes of the last hidden state: a matrix, in some families with a factor, a bias or a soft cap.

The factor and the cap have no common name in the library, so they are read off the logits that it gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.errors import InapplicableError, explain
from engine.models.decoder import Decoder, find_blocks
from engine.models.subject import refusal

CAP = "final_logit_softcapping"
"""The entry of a configuration with the value that no logit exceeds, in Gemma's family and those made after it."""

TRIED = 8
"""Tokens on which the head is read off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """matrix: [vocab, d_model], times the family's factor. bias: [vocab]. cap: c of c·tanh(x / c); None for none."""

    matrix: Tensor
    bias: Tensor | None = None
    cap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """What the library's own head gives: [..., d_model] → [..., vocab]."""
        plain = hidden @ self.matrix.T
        return _bend(plain if self.bias is None else plain + self.bias, self.cap)

    def slopes(self, hidden: Tensor) -> Tensor | None:
        """Slope of each logit over what the matrix and the bias give: [..., d_model] → [..., vocab].

        None where the head is linear and every slope is 1.
        """
        return None if self.cap is None else 1 - (self.logits(hidden) / self.cap).square()

    def require_linear(self, who: str) -> None:
        """Raises InapplicableError for a soft cap: differences of hidden states do not give differences of logits."""
        if self.cap is not None:
            got = f"a head whose logits are bent to stay below {self.cap:g}"
            remedy = "ask for a claim without a head, or for another model"
            raise InapplicableError(explain(who=who, got=got, expected="a linear head", remedy=remedy))


def _bend(plain: Tensor, cap: float | None) -> Tensor:
    return plain if cap is None else cap * torch.tanh(plain / cap)


_HEADS: WeakKeyDictionary[PreTrainedModel, Head] = WeakKeyDictionary()


@torch.no_grad()
def read_head(model: PreTrainedModel) -> Head:
    """The head of a model. Raises SubjectError for one that is no matrix with a factor, a bias and a soft cap."""
    if model not in _HEADS:
        _HEADS[model] = _read(model)
    return _HEADS[model]


def _read(model: PreTrainedModel) -> Head:
    module: Any = model.get_output_embeddings()
    weight: Tensor = module.weight
    bias: Tensor | None = getattr(module, "bias", None)
    if weight.device.type == "meta":
        return Head(matrix=weight, bias=bias)  # there are no numbers to compare

    table: Any = model.get_input_embeddings()
    vocab, depth = len(table.weight), len(model.get_submodule(find_blocks(model)))  # pyright: ignore[reportArgumentType]
    ids = torch.randint(vocab, (1, TRIED), generator=torch.Generator().manual_seed(0)).to(table.weight.device)
    whole = Decoder(model, depth, final_norm=True, positions="true")
    inputs = whole.first_inputs(table(ids))
    # Compared in float64, so that the factor is not rounded twice.
    hidden, found = whole(inputs).to(weight.device).double(), whole.logits(inputs).to(weight.device).double()
    plain = Head(matrix=weight.double(), bias=None if bias is None else bias.double()).logits(hidden)

    value = getattr(model.config.get_text_config(decoder=True), CAP, None)
    cap = None if value is None else float(value)
    linear = found if cap is None else cap * torch.atanh((found / cap).clamp(-1 + 1e-12, 1 - 1e-12))
    # The factor by least squares; where there is none, the matrix stays the model's own.
    factor = float((linear * plain).sum() / plain.square().sum())
    rounding = min(1024 * torch.finfo(weight.dtype).eps, 0.1)
    # A head of zeros, or logits that overflow, tell of no factor.
    factor = 1.0 if not math.isfinite(factor) or abs(factor - 1) <= rounding else factor
    again = _bend(factor * plain, cap)
    if bool(((again - found).abs().max() > rounding * found.abs().max()).item()):
        got = f"a model of type {model.config.model_type} whose logits are no linear map of its last hidden state"
        raise refusal("head", got, "a matrix, with a factor, a bias or a soft cap", "ask for claims without a head")
    if factor == 1:
        return Head(matrix=weight, bias=bias, cap=cap)
    return Head(matrix=factor * weight, bias=None if bias is None else factor * bias, cap=cap)
