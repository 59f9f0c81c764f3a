"""Recover prompts from activations of a model that the caller holds, by the search of claims A01 to A04."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from engine.arms.protocol import CONTROLLED
from engine.arms.settings import Method
from engine.arms.stacks import Stack
from engine.errors import ShapeError, explain
from engine.experiments.inputs import make_generator
from engine.experiments.recovery.measure import NOISE_ROWS, draw_start_noise
from engine.methods.activation_distance import make_distance, measure_noise, read_activations, read_back
from engine.methods.descent import DescentPlan
from engine.methods.token_search import ObservedActivations, TokenMatch, TokenSearch, recover
from engine.models.admission import admit
from engine.models.codec import Codec, equal_tokens, find_equal_rows
from engine.models.first_input import find_rule, read_embeddings
from engine.models.head import read_head
from engine.models.stacks import BlockStack

WHO = "recover"

STEPS = tuple(2.0**k for k in (-6, -4, -2, 0))
"""Step sizes that are tried, as shares of the starts' standard deviation."""

TUNING_PROMPTS, TUNING_TOKENS = 12, 2
"""Random tokens on which they are tried."""

UNCHECKED = Method(verify=False)


@dataclass(frozen=True, kw_only=True)
class OwnSearch:
    """What was found: a row of matches for each prompt, and η of the descents.

    epsilons: by position, the distance up to which activations count as equal.
    """

    matches: tuple[tuple[TokenMatch, ...], ...]
    step: float
    epsilons: tuple[float, ...]


def search_own_model(
    model: PreTrainedModel, activations: Sequence[Tensor], stack: Stack, *, iterations: int, step: float | None
) -> OwnSearch:
    """The tokens behind activations, [tokens, width] for each prompt.

    step: of the descents; None tries several on random tokens. Raises SubjectError for a model that fails a check of
    engine.models.admission, ShapeError for activations that are no such stack's.
    """
    with _at_rest(model):
        admit(WHO, model)
        blocks = BlockStack(model, stack, "true")
        codec = Codec(read_embeddings(model), computed=find_rule(model).factor is None)
        observed = _observe(activations, codec, width=codec.d_model if blocks.head is None else len(blocks.head))
        if blocks.head is not None:
            head = read_head(model)
            head.require_linear(WHO)
            logits = observed.hidden if head.bias is None else observed.hidden - head.bias
            hidden = read_back(logits, blocks.head)
            observed = ObservedActivations(hidden=hidden, lengths=observed.lengths)
        distance, longest = make_distance(blocks.head, int8=False), observed.hidden.shape[1]
        drawn = torch.randint(codec.vocab, (NOISE_ROWS, longest), generator=make_generator("noise of activations", 0))
        ids = drawn.to(codec.weight.device)
        noise = measure_noise(blocks, codec, ids, together=len(observed.hidden), distance=distance)
        sizes = [int(n) for n in observed.lengths.tolist()]
        std = float((codec.weight.var() + blocks.positions(longest).var()).sqrt())
        search = TokenSearch(
            method=Method(),
            plan=DescentPlan(iterations=iterations, optimizer="adam", loss_scale=CONTROLLED.loss_scale),
            step=std * STEPS[0],
            mean=CONTROLLED.start_mean,
            std=std,
            draw=partial(draw_start_noise, tuple(range(len(sizes))), sizes, codec.d_model),
            distance=distance,
            epsilons=distance.epsilons(noise),
            equal_tokens=equal_tokens(find_equal_rows(codec.weight)),
        )
        search = replace(search, step=_choose_step(blocks, codec, search) if step is None else step)
        found = recover(blocks, codec, observed, search)
    return OwnSearch(matches=tuple(found), step=search.step, epsilons=tuple(search.epsilons))


def _observe(activations: Sequence[Tensor], codec: Codec, *, width: int) -> ObservedActivations:
    for number, rows in enumerate(activations):
        who = f"{WHO}, activations of prompt {number}"
        if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
            got, expected = f"the shape {list(rows.shape)}", f"[tokens, {width}], as this stack of this model puts out"
            raise ShapeError(explain(who=who, got=got, expected=expected, remedy="pass what its blocks gave"))
        if not bool(torch.isfinite(rows).all()):
            raise ShapeError(explain(who=who, got="NaN or infinity", expected="finite numbers", remedy="compute again"))
    weight = codec.weight
    hidden = pad_sequence([rows.detach().to(weight.device, weight.dtype) for rows in activations], batch_first=True)
    return ObservedActivations(
        hidden=hidden, lengths=torch.tensor([len(rows) for rows in activations], device=weight.device)
    )


def _choose_step(stack: BlockStack, codec: Codec, search: TokenSearch) -> float:
    """The step size that finds most of some random tokens unchecked; the smallest of equally good ones."""
    generator = make_generator("tuning of a search", 0)
    ids = torch.randint(codec.vocab, (TUNING_PROMPTS, TUNING_TOKENS), generator=generator).to(codec.weight.device)
    hidden = read_activations(stack, codec.embed(ids) + stack.positions(TUNING_TOKENS), int8=False)
    observed = ObservedActivations(hidden=hidden, lengths=torch.full((len(ids),), TUNING_TOKENS, device=ids.device))
    sizes = [TUNING_TOKENS] * TUNING_PROMPTS
    trial = replace(
        search,
        method=UNCHECKED,
        draw=partial(draw_start_noise, tuple(range(TUNING_PROMPTS)), sizes, codec.d_model),
    )
    found: dict[float, int] = {}
    for share in STEPS:
        rows = recover(stack, codec, observed, replace(trial, step=search.std * share))
        told = torch.tensor([[match.token for match in row] for row in rows], device=ids.device)
        found[share] = int((told == ids).sum())
    return search.std * max(STEPS, key=lambda share: (found[share], -share))


@contextmanager
def _at_rest(model: PreTrainedModel) -> Generator[None]:
    """The model without dropout and without gradients of its own. Afterwards it is as the caller had it."""
    training = {module for module in model.modules() if module.training}
    learning = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
