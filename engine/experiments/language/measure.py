"""The model as its users run it: the next token after a prompt, after the prompt shifted, and continuations."""

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
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction
from engine.models.token_text import read_text, read_tokens

LEAST_PROMPT = 2
"""Tokens that a prompt has at least."""


def measure_next_tokens(arm: NextTokenArm, models: LoadedModels) -> NextTokenResult:
    """The likeliest tokens after each prompt, and the winner after each shift of its embeddings."""
    settings = whole_settings(arm)
    stack = models.stack(settings)
    embedded = embed_prompts(settings, arm.units, models, stack)
    logits = read_last(stack, embedded, embedded.target)
    shifted = shift_and_read(stack, embedded, sigma=arm.sigma, draws=arm.draws).tolist()
    best, top = logits.double().softmax(-1).topk(min(TOP, logits.shape[-1]))  # [units, TOP] both
    pairs = zip(arm.units, top.tolist(), best.tolist(), shifted, strict=True)
    rows = tuple(
        Continuation(
            prompt=unit.prompt,
            seed=unit.seed,
            top=tuple(ids),
            probabilities=tuple(chances),
            shifted=tuple(others),
        )
        for unit, ids, chances, others in pairs
    )
    named = {i for row in rows for i in (*row.top, *row.shifted)}
    return NextTokenResult(rows=rows, texts=read_tokens(models.tokenizer(arm.subject), named))


def whole_settings(arm: NextTokenArm | GenerationArm) -> StackSettings:
    """The whole model with its final norm and head, at true positions."""
    return StackSettings(
        subject=arm.subject, source=arm.source, stack=WHOLE, protocol=DIRECT, dtype=arm.dtype, device=arm.device
    )


@torch.no_grad()
def shift_and_read(stack: EmbeddingFunction, embedded: EmbeddedPrompts, *, sigma: float, draws: int) -> Tensor:
    """The token of the largest logit after e + N(0, σ²), for each unit and draw: [units, draws].

    Each unit draws from a generator of its own, so that its shifts are the same whatever stands beside it.
    Source: the document's shifted input (section 'Sentence Representation with Language Models').
    """
    sources = [make_generator("shift of a prompt", f"{unit.prompt}:{unit.seed}") for unit in embedded.units]
    said = [embedded.lengths.new_empty((len(embedded.units), 0))]
    for _ in range(draws):
        shifted = embedded.target + sigma * draw_rows(embedded, sources)
        said.append(read_last(stack, embedded, shifted).argmax(-1, keepdim=True))
    return torch.cat(said, dim=1)


@torch.no_grad()
def read_last(stack: EmbeddingFunction, embedded: EmbeddedPrompts, embeddings: Tensor) -> Tensor:
    """Logits after each prompt's own last token: [units, tokens, d_model] → [units, vocab].

    Raises SubjectError where one is not finite: the largest of them would be any.
    """
    hidden = stack(embeddings)
    last = hidden[torch.arange(len(hidden), device=hidden.device), embedded.lengths - 1]  # [units, d_model]
    assert stack.head is not None
    logits = last @ stack.head.T
    check_numbers(logits, embedded.settings, LOGITS)
    return logits


def measure_generation(arm: GenerationArm, models: LoadedModels) -> GenerationResult:
    """What follows each prompt by the library's own decoding, up to the end of text."""
    settings = whole_settings(arm)
    model, tokenizer = models.model(arm.subject, arm.dtype, arm.device), models.tokenizer(arm.subject)
    prompts = [encode(settings, unit.prompt, models) for unit in arm.units]
    room = _find_room(arm, context=int(model.config.max_position_embeddings))
    for unit, ids in zip(arm.units, prompts, strict=True):
        check_prompt(unit.prompt, ids, context=room, who=f"{arm.subject}, {arm.new_tokens} tokens to follow")
    ends = find_ends(model, tokenizer)
    _check_beams(arm, vocab=int(model.config.vocab_size), ends=len(ends))
    found: list[tuple[int, ...]] = []
    for first in range(0, len(prompts), arm.batch):
        ids, mask = pad_left(prompts[first : first + arm.batch], pad=ends[0] if ends else 0, device=arm.device)
        checked = CheckScores(settings)
        new = continue_prompts(model, ids, mask, new_tokens=arm.new_tokens, beams=arm.beams, ends=ends, look=checked)
        found += [cut_at_end(row, ends) for row in new.tolist()]
    return GenerationResult(
        prompts=tuple(unit.prompt for unit in arm.units),
        tokens=tuple(found),
        text=tuple(read_text(tokenizer, row) for row in found),
    )


def _find_room(arm: GenerationArm, *, context: int) -> int:
    """Tokens that a prompt may have. Raises TooShallowError for a context in which no prompt leaves room to go on."""
    least = LEAST_PROMPT + arm.new_tokens
    if context < least:
        got, expected = (
            f"a context of {context} tokens",
            f"at least {least}, for a prompt and {arm.new_tokens} to follow",
        )
        raise TooShallowError(explain(who=arm.subject, got=got, expected=expected, remedy="take a longer model"))
    return context - arm.new_tokens


def _check_beams(arm: GenerationArm, *, vocab: int, ends: int) -> None:
    """Raises SubjectError for a vocabulary in which beam search has no second choice that does not end the text."""
    least = max(2, 1 + ends)
    if arm.beams > 1 and vocab < least:
        got, expected = f"a vocabulary of {vocab}", f"at least {least} tokens for beam search"
        remedy = "take a model with a larger vocabulary"
        raise SubjectError(explain(who=arm.subject, got=got, expected=expected, remedy=remedy))


def find_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a text: those of the configuration and of the tokenizer; none where neither names one.

    One without a row in the embedding, as of a configuration's default, no text ends with.
    """
    named: Any = (model.config.eos_token_id, tokenizer.eos_token_id)
    each = [i for name in named for i in (name if isinstance(name, list) else [name])]
    return tuple(sorted({int(i) for i in each if i is not None and int(i) < int(model.config.vocab_size)}))


def pad_left(prompts: Sequence[Sequence[int]], *, pad: int, device: str) -> tuple[Tensor, Tensor]:
    """Prompts that end together, and which of their places are prompt: [prompts, tokens] both.

    The library counts positions from the mask, so that the padding moves none.
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
    look: LogitsProcessor | None = None,
) -> Tensor:
    """The library's decoding without sampling: the likeliest token at each step, or beam search.

    ids, mask: [prompts, tokens], padded on the left. look: sees the scores of every step.
    Returns the new ids, [prompts, up to new_tokens].
    """
    plain: Any = copy.copy(model)
    # What a model's own file asks for (a penalty on repetition, say) would change what is measured.
    plain.generation_config = GenerationConfig()
    how = GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=new_tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
    )
    looks = LogitsProcessorList([] if look is None else [look])
    return plain.generate(ids, attention_mask=mask, generation_config=how, logits_processor=looks)[:, ids.shape[1] :]


class CheckScores(LogitsProcessor):
    """Leaves the scores of a step as they are. Raises SubjectError where one is not finite."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        check_numbers(scores, self._settings, LOGITS)
        return scores


def cut_at_end(ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The ids before the first one that ends a text."""
    stop = next((place for place, i in enumerate(ids) if i in ends), len(ids))
    return tuple(ids[:stop])
