"""Measurements on the whole model: next tokens after prompts and after shifted prompts, and continuations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from engine.arms.prompts import check_prompt
from engine.arms.protocol import DIRECT
from engine.arms.settings import StackSettings
from engine.arms.stacks import WHOLE
from engine.errors import SubjectError, TooShallowError, explain
from engine.experiments.inputs import (
    LOGITS,
    TOP,
    EmbeddedPrompts,
    check_numbers,
    draw_rows,
    embed_prompts,
    encode,
    make_generator,
)
from engine.experiments.language.arm import Continuation, GenerationArm, GenerationResult, NextTokenArm, NextTokenResult
from engine.models.families import find_context
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack
from engine.models.token_text import read_text, read_tokens

SHORTEST_PROMPT = 2
"""Tokens that every prompt has at least."""


def measure_next_tokens(arm: NextTokenArm, models: LoadedModels) -> NextTokenResult:
    """The likeliest tokens after each prompt, and the likeliest one after each shift of its embeddings."""
    settings = whole_settings(arm)
    stack = models.probe(settings, WHOLE)
    embedded = embed_prompts(settings, arm.units, models, stack)
    logits = read_last(stack, embedded, embedded.target)
    shifted = shift_and_read(stack, embedded, sigma=arm.sigma, draws=arm.draws).tolist()
    probabilities, top = logits.double().softmax(-1).topk(min(TOP, logits.shape[-1]))  # [units, TOP] both
    rows = tuple(
        Continuation(
            prompt=unit.prompt,
            seed=unit.seed,
            top=tuple(top_ids),
            probabilities=tuple(top_probabilities),
            shifted=tuple(winners),
        )
        for unit, top_ids, top_probabilities, winners in zip(
            arm.units, top.tolist(), probabilities.tolist(), shifted, strict=True
        )
    )
    named = {i for row in rows for i in (*row.top, *row.shifted)}
    return NextTokenResult(rows=rows, texts=read_tokens(models.tokenizer(arm.subject), named))


def whole_settings(arm: NextTokenArm | GenerationArm) -> StackSettings:
    """The whole model with its final norm and head, at true positions."""
    return StackSettings(
        subject=arm.subject, source=arm.source, stack=WHOLE, protocol=DIRECT, dtype=arm.dtype, device=arm.device
    )


@torch.no_grad()
def shift_and_read(stack: BlockStack, embedded: EmbeddedPrompts, *, sigma: float, draws: int) -> Tensor:
    """The token of the largest logit after e + N(0, σ²), for each unit and draw: [units, draws].

    Each unit has its own generator, so its shifts do not depend on the other units of the batch.
    Source: the document's shifted input (section 'Sentence Representation with Language Models').
    """
    generators = [make_generator("shift of a prompt", f"{unit.prompt}:{unit.seed}") for unit in embedded.units]
    winners = [embedded.lengths.new_empty((len(embedded.units), 0))]
    for _ in range(draws):
        shifted = embedded.target + sigma * draw_rows(embedded, generators)
        winners.append(read_last(stack, embedded, shifted).argmax(-1, keepdim=True))
    return torch.cat(winners, dim=1)


@torch.no_grad()
def read_last(stack: BlockStack, embedded: EmbeddedPrompts, embeddings: Tensor) -> Tensor:
    """Logits after each prompt's own last token: [units, tokens, d_model] → [units, vocab].

    Raises SubjectError for logits that are not finite: their largest would mean nothing.
    """
    hidden = stack(embeddings)
    last = hidden[torch.arange(len(hidden), device=hidden.device), embedded.lengths - 1]  # [units, d_model]
    logits = stack.logits(last)
    check_numbers(logits, embedded.settings, LOGITS)
    return logits


def measure_generation(arm: GenerationArm, models: LoadedModels) -> GenerationResult:
    """Continue each prompt by the library's own decoding, up to the end of text.

    Raises TooShallowError for a context in which no prompt leaves room for the new tokens, and SubjectError for a
    vocabulary that is too small for beam search.
    """
    settings = whole_settings(arm)
    model, tokenizer = models.model(arm.subject, arm.dtype, arm.device), models.tokenizer(arm.subject)
    prompts = [encode(settings, unit.prompt, models) for unit in arm.units]

    opening = models.opening(arm.subject)
    context, shortest = find_context(model.config) - len(opening), SHORTEST_PROMPT + arm.new_tokens
    if context < shortest:
        got = f"a context of {context} tokens"
        expected = f"at least {shortest}, for a prompt and {arm.new_tokens} to follow"
        raise TooShallowError(explain(who=arm.subject, got=got, expected=expected, remedy="take a longer model"))
    for unit, ids in zip(arm.units, prompts, strict=True):
        who = f"{arm.subject}, {arm.new_tokens} tokens to follow"
        check_prompt(unit.prompt, ids, context=context - arm.new_tokens, who=who)

    # Each beam needs a second choice that does not end the text.
    ends = find_ends(model, tokenizer)
    vocab, smallest = int(model.config.get_text_config(decoder=True).vocab_size), max(2, 1 + len(ends))
    if arm.beams > 1 and vocab < smallest:
        got, expected = f"a vocabulary of {vocab}", f"at least {smallest} tokens for beam search"
        remedy = "take a model with a larger vocabulary"
        raise SubjectError(explain(who=arm.subject, got=got, expected=expected, remedy=remedy))

    continuations: list[tuple[int, ...]] = []
    for first in range(0, len(prompts), arm.batch):
        together = [(*opening, *ids) for ids in prompts[first : first + arm.batch]]
        ids, mask = pad_left(together, pad=ends[0] if ends else 0, device=arm.device)
        new = continue_prompts(
            model, ids, mask, new_tokens=arm.new_tokens, beams=arm.beams, ends=ends, processor=CheckScores(settings)
        )
        continuations += [cut_at_end(row, ends) for row in new.tolist()]
    return GenerationResult(
        prompts=tuple(unit.prompt for unit in arm.units),
        tokens=tuple(continuations),
        text=tuple(read_text(tokenizer, row) for row in continuations),
    )


def find_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a text, from the model's configuration and from the tokenizer, in rising order; possibly none.

    Ids without a row in the embedding are left out: a configuration's default may be one, and no text ends with it.
    """
    named: Any = (model.config.eos_token_id, tokenizer.eos_token_id)
    each = [i for name in named for i in (name if isinstance(name, list) else [name])]
    vocab = int(model.config.get_text_config(decoder=True).vocab_size)
    return tuple(sorted({int(i) for i in each if i is not None and int(i) < vocab}))


def pad_left(prompts: Sequence[Sequence[int]], *, pad: int, device: str) -> tuple[Tensor, Tensor]:
    """Ids of prompts padded on the left, and the mask of what is not padding: [prompts, tokens] both.

    The library counts positions from the mask, so the padding shifts none.
    """
    longest = max(map(len, prompts))
    gaps = [longest - len(ids) for ids in prompts]
    ids = [[pad] * gap + list(own) for gap, own in zip(gaps, prompts, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in gaps]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@torch.no_grad()
def continue_prompts(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    *,
    new_tokens: int,
    beams: int,
    ends: tuple[int, ...],
    processor: LogitsProcessor | None = None,
) -> Tensor:
    """The library's decoding without sampling: the likeliest token at each step, or beam search.

    ids, mask: [prompts, tokens], padded on the left. processor: is given the scores of every step.
    Returns the new ids, [prompts, up to new_tokens].
    """
    plain: Any = copy.copy(model)
    # A model's own generation settings, such as a penalty on repetition, would change what is measured.
    plain.generation_config = GenerationConfig()
    config = GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=new_tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
    )
    processors = LogitsProcessorList([] if processor is None else [processor])
    return plain.generate(ids, attention_mask=mask, generation_config=config, logits_processor=processors)[
        :, ids.shape[1] :
    ]


class CheckScores(LogitsProcessor):
    """Passes a step's scores on unchanged. Raises SubjectError if one is not finite."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        check_numbers(scores, self._settings, LOGITS)
        return scores


def cut_at_end(ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The ids before the first that ends a text."""
    stop = next((place for place, i in enumerate(ids) if i in ends), len(ids))
    return tuple(ids[:stop])
