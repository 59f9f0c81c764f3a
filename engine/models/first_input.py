"""What a model's first block gets for a token: the vectors that a codec decodes, where a library changes embeddings.

Most families hand rows of W to their first block as they are, or add learned positions. Some scale them (Gemma by √d),
some put a norm behind them (BLOOM). A codec then holds what the first block gets, so that stack and codec agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.models.decoder import Decoder
from engine.models.subject import refusal

SAMPLE = 8
"""Tokens from which the rule is read."""

ROWS = 4096
"""Tokens whose vectors are made at a time."""


@dataclass(frozen=True, kw_only=True)
class FirstInput:
    """The rule by which a model makes its first block's input of embeddings.

    factor: of the embeddings, to which positions are added; None if they pass a norm or the like, and no positions.
    """

    factor: float | None

    @property
    def added(self) -> bool:
        """Whether what is there for embeddings of zero is added to all others."""
        return self.factor is not None


@torch.no_grad()
def find_rule(model: PreTrainedModel) -> FirstInput:
    """The rule, read off the library's own pass.

    Raises SubjectError where positions pass a norm together with the embeddings.
    """
    table: Any = model.get_input_embeddings()
    if table.weight.device.type == "meta":
        return FirstInput(factor=1.0)  # it has no numbers to compare
    vocab = len(table.weight)
    rows = table(torch.linspace(0, vocab - 1, min(SAMPLE, vocab), device=table.weight.device).long())
    decoder = Decoder(model, 1, final_norm=False, positions="true")
    first = decoder.first_inputs(rows[:, None])[:, 0]
    nothing = decoder.first_inputs(torch.zeros_like(rows[None, :2]))[0]
    if torch.equal(first, rows + nothing[0]):
        return FirstInput(factor=1.0)
    factor = float(((first - nothing[0]) * rows).sum() / rows.square().sum())
    rounding = 64 * torch.finfo(first.dtype).eps * first.abs().max()
    if (first - (factor * rows + nothing[0])).abs().max() <= rounding:
        return FirstInput(factor=factor)
    if torch.equal(nothing[0], nothing[-1]):
        return FirstInput(factor=None)
    got = f"a model of type {model.config.model_type} whose positions pass a norm with its embeddings"
    raise refusal("codec", got, "positions that are added", "name another model")


@torch.no_grad()
def read_embeddings(model: PreTrainedModel) -> Tensor:
    """What the first block gets for each token, without what its position adds: [vocab, d_model].

    It is W itself, and no copy, where the library changes nothing.
    """
    rule = find_rule(model)
    table: Any = model.get_input_embeddings()
    weight: Tensor = table.weight
    if rule.factor == 1.0 and (weight.device.type == "meta" or torch.equal(table(_first_ids(weight)), weight[:SAMPLE])):
        return weight
    decoder = Decoder(model, 1, final_norm=False, positions="true")
    parts: list[Tensor] = []
    for ids in torch.arange(len(weight), device=weight.device).split(ROWS):
        rows = table(ids)
        parts.append(decoder.first_inputs(rows[:, None])[:, 0] if rule.factor is None else rule.factor * rows)
    return torch.cat(parts)


def _first_ids(weight: Tensor) -> Tensor:
    return torch.arange(min(SAMPLE, len(weight)), device=weight.device)
