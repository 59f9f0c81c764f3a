"""Stacks to invert, as functions of embeddings: the first k blocks of a transformer, or a fully connected net.

A transformer stack runs transformers' own forward pass on a shallow copy of the model (engine.models.decoder). Masks
and rotary positions stay transformers' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol as Interface
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from engine.arms.protocol import Positions
from engine.arms.stacks import SentenceNet, Stack, TokenNet
from engine.errors import InapplicableError, ShapeError, TooShallowError, explain
from engine.models.decoder import Decoder, find_blocks
from engine.models.families import find_context
from engine.models.first_input import find_rule
from engine.models.head import Head, read_head
from engine.models.products import quicken


class EmbeddingFunction(Interface):
    """A function from embeddings [runs, tokens, d_model] to outputs, with one row for each output position.

    head: the last linear map [outputs, width], without its bias. It is not part of `__call__`; None if there is none.
    """

    head: Tensor | None

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Output before the head: [runs, tokens, d_model] → [runs, rows, width]."""
        ...

    def positions(self, tokens: int) -> Tensor:
        """The vectors that are added to token embeddings: [tokens, d_model], zeros where none are."""
        ...

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        """Which output rows belong to prompts of these lengths: [runs] → [runs, rows] of bool."""
        ...


def whole_output(stack: EmbeddingFunction, embeddings: Tensor) -> Tensor:
    """The output behind the head: [runs, tokens, d_model] → [runs, rows, outputs].

    It lacks the head's bias, which changes no difference and no gradient.
    """
    before = stack(embeddings)
    return before if stack.head is None else before @ stack.head.T


def embedding_weight(model: PreTrainedModel) -> Tensor:
    """The token-embedding matrix W: [vocab, d_model]."""
    embeddings: Any = model.get_input_embeddings()
    return embeddings.weight


class BlockStack:
    """The first k blocks of a language model, causal and without dropout.

    positions: 'first' gives every token position 0, 'true' gives 0…n-1. The prompts of a batch are padded on the right.
    Causality keeps padding out of every earlier position, so no padding mask is needed.
    opening: tokens that every prompt is read behind, such as Gemma's <bos>. They belong to the function: neither its
    inputs nor its outputs have a position for them.
    Raises SubjectError for a model without a list of blocks, TooShallowError for more blocks than the model has,
    InapplicableError for position 0 in a model whose blocks know the distance between tokens, and for a head with a
    soft cap behind blocks alone.
    """

    def __init__(self, model: PreTrainedModel, stack: Stack, positions: Positions, opening: Sequence[int] = ()) -> None:
        if positions == "first" and not can_share_position(model):
            got = f"a model of type {model.config.model_type}, in which distances between tokens are part of attention"
            expected, remedy = "positions that can be equal", "take the controlled protocol (--protocol controlled)"
            raise InapplicableError(explain(who="position 0 for all", got=got, expected=expected, remedy=remedy))
        depth = len(model.get_submodule(find_blocks(model)))  # pyright: ignore[reportArgumentType]
        self._positions: Positions = positions
        count = count_blocks(stack, depth)
        self._decoder = Decoder(model, count, final_norm=stack.final_norm, positions=positions)
        self._weight = embedding_weight(model)
        self._context, self._positioned = find_context(model.config) - len(opening), find_rule(model).added
        self._opening = self._read_opening(model, opening)
        self.head: Tensor | None = None
        self._whole_head: Head | None = None
        if stack.head:
            found = read_head(model)
            if not stack.final_norm:
                found.require_linear(f"{model.config.model_type}, blocks and head")
            # If a model is spread over several GPUs, its head may lie on another one than its embeddings.
            at = self._weight.device
            bias = None if found.bias is None else found.bias.to(at)
            self._whole_head = Head(matrix=found.matrix.to(at), bias=bias, cap=found.cap)
            self.head = self._whole_head.matrix

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[runs, tokens, d_model] → hidden states [runs, tokens, d_model], before the head."""
        return self.run(embeddings, None)

    def run(self, embeddings: Tensor, cache: Cache | None) -> Tensor:
        """Hidden states of tokens that follow those in transformers' cache, which is extended by them.

        embeddings: [runs, new tokens, d_model], positions included. Returns [runs, new tokens, d_model].
        """
        width = embeddings.shape[2]
        if width != self._weight.shape[1]:
            raise ShapeError(
                f"stack: last axis is {width}, expected d_model={self._weight.shape[1]}; pass embeddings, not logits"
            )
        before = 0
        if self._opening is not None and (cache is None or not cache.get_seq_length()):
            before = self._opening.shape[1]
            embeddings = torch.cat([self._opening.expand(len(embeddings), -1, -1), embeddings], dim=1)
        # If the blocks are spread over several GPUs, the last one may be on another.
        return self._decoder(embeddings, cache).to(embeddings.device)[:, before:]

    def logits(self, hidden: Tensor) -> Tensor:
        """The library's own logits for hidden states before the head: [..., d_model] → [..., vocab].

        Only for a stack with a head.
        """
        assert self._whole_head is not None
        return self._whole_head.logits(hidden)

    def slopes(self, hidden: Tensor) -> Tensor | None:
        """Slope of each logit over hidden · headᵀ: [..., d_model] → [..., vocab]; None where every slope is 1.

        Only for a stack with a head.
        """
        assert self._whole_head is not None
        return self._whole_head.slopes(hidden)

    def positions(self, tokens: int) -> Tensor:
        """The learned positions of tokens, [tokens, d_model]; zeros where none are added.

        They are what the first block gets for embeddings of zero.
        """
        if tokens > self._context:
            raise ShapeError(f"stack: {tokens} tokens, expected at most the context of {self._context}; shorten it")
        if self._positions == "first":
            return self._offsets(1).expand(tokens, -1)
        before = 0 if self._opening is None else self._opening.shape[1]
        return self._offsets(before + tokens)[before:]

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        return torch.arange(tokens, device=lengths.device)[None] < lengths[:, None]

    @torch.no_grad()
    def _read_opening(self, model: PreTrainedModel, opening: Sequence[int]) -> Tensor | None:
        """What the first block gets for the opening, [1, tokens, d_model]; None if there is none."""
        if not opening:
            return None
        table: Any = model.get_input_embeddings()
        rows = table(torch.tensor([list(opening)], device=self._weight.device))
        if self._positions == "first":
            # Each by itself, so that learned positions are those of position 0, too.
            return self._decoder.first_inputs(rows.transpose(0, 1)).transpose(0, 1)
        return self._decoder.first_inputs(rows)

    def _offsets(self, tokens: int) -> Tensor:
        if not self._positioned:
            return torch.zeros_like(self._weight[:1]).expand(tokens, -1)
        nothing = torch.zeros(1, tokens, self._weight.shape[1], dtype=self._weight.dtype, device=self._weight.device)
        with torch.no_grad():
            return self._decoder.first_inputs(nothing)[0]


_SHARING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.no_grad()
def can_share_position(model: PreTrainedModel) -> bool:
    """Whether all tokens can have position 0: the order of earlier tokens then changes nothing behind one block."""
    if model not in _SHARING:
        weight = embedding_weight(model)
        if weight.device.type == "meta":
            return True  # it has no numbers to compare
        decoder = Decoder(model, 1, final_norm=False, positions="first")
        table: Any = model.get_input_embeddings()
        inputs = decoder.first_inputs(table(torch.arange(3, device=weight.device)[None] % len(weight)))
        first, swapped = (decoder(inputs[:, order])[0, -1] for order in ([0, 1, 2], [1, 0, 2]))
        rounding = min(1024 * torch.finfo(first.dtype).eps, 0.1) * first.abs().max()
        _SHARING[model] = bool((first - swapped).abs().max() <= rounding) or not bool(first.isfinite().all())
    return _SHARING[model]


def count_blocks(stack: Stack, depth: int) -> int:
    """The number of blocks of a stack in a model of this depth. Raises TooShallowError if it has fewer."""
    count = stack.count(depth)
    if not 1 <= count <= depth:
        got, expected = f"{count} blocks", f"1 to {depth}, the model's depth"
        raise TooShallowError(explain(who="stack", got=got, expected=expected, remedy="ask for fewer blocks"))
    return count


class FullyConnected:
    """A net over a whole sentence: flatten, linear, GELU, linear, with random weights from `net.seed`.

    The last linear map is the head. It has 4n·d outputs, or n·d if the net is narrow. Raises ShapeError for a sentence
    of another length. Source: the document's fully connected net.
    """

    def __init__(self, net: SentenceNet, d_model: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self._tokens, self._d_model = net.tokens, d_model
        size = net.tokens * d_model
        layers = _draw_layers(size, 4 * size, size if net.narrow else 4 * size, seed=net.seed)
        self.layers = nn.Sequential(*layers).requires_grad_(False).to(device=device, dtype=dtype)
        quicken(self.layers)
        first, self._activation, last = self.layers
        self._first: Any = first
        self.head: Tensor | None = last.weight  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[runs, tokens, d_model] → [runs, 1, hidden], before the last linear map."""
        if embeddings.shape[1:] != (self._tokens, self._d_model):
            raise ShapeError(
                f"net: got {list(embeddings.shape[1:])}, expected [tokens={self._tokens}, d_model={self._d_model}]; "
                "cut the prompt to the net's length"
            )
        return self._activation(self._first(embeddings.flatten(1)))[:, None]

    def positions(self, tokens: int) -> Tensor:
        weight: Tensor = self._first.weight
        return torch.zeros(tokens, self._d_model, dtype=weight.dtype, device=weight.device)

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        return torch.ones(len(lengths), 1, dtype=torch.bool, device=lengths.device)


class TokenWise:
    """A net applied to each token by itself: linear d → 4d, GELU, linear 4d → d, with random weights from `net.seed`.

    Source: the document's three-layer net (section 'Orthogonal Walk Representations').
    """

    def __init__(self, net: TokenNet, d_model: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.d_model = net.d_model or d_model
        self.head: Tensor | None = None
        layers = _draw_layers(self.d_model, 4 * self.d_model, self.d_model, seed=net.seed)
        self._net = nn.Sequential(*layers).requires_grad_(False).to(device=device, dtype=dtype)
        quicken(self._net)

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[runs, tokens, d] → [runs, tokens, d]."""
        if embeddings.shape[-1] != self.d_model:
            raise ShapeError(
                f"net: last axis is {embeddings.shape[-1]}, expected d={self.d_model}; feed it inputs of its own size"
            )
        return self._net(embeddings)

    def positions(self, tokens: int) -> Tensor:
        weight: Tensor = self._net[0].weight  # pyright: ignore[reportAssignmentType]
        return torch.zeros(tokens, self.d_model, dtype=weight.dtype, device=weight.device)

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        return torch.arange(tokens, device=lengths.device)[None] < lengths[:, None]


def _draw_layers(inputs: int, hidden: int, outputs: int, *, seed: int) -> tuple[nn.Module, ...]:
    """Linear, GELU, linear, with random weights by torch's own rule. The caller's random state is kept."""
    with torch.random.fork_rng(devices=[]):
        # Only the CPU's generator: torch.manual_seed would also seed those of the accelerators.
        torch.default_generator.manual_seed(seed)
        return nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs)
