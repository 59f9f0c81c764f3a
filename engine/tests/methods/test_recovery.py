"""Prompts from activations: an injective stack gives them all back; what cannot be told apart is said to be so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from engine.arms.protocol import Positions
from engine.arms.settings import Decoder, Method, Optimizer
from engine.arms.stacks import Stack
from engine.methods import token_search as recovery
from engine.methods.activation_distance import ActivationDistance, measure_noise, read_activations
from engine.methods.descent import DescentPlan
from engine.methods.token_search import (
    FIRST_WINDOW,
    ObservedActivations,
    TokenMatch,
    TokenSearch,
    check,
    recover,
    score_tokens,
)
from engine.models.codec import Codec, equal_tokens, find_equal_rows
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.stacks import BlockStack
from engine.tests.tiny import FAMILIES, draw_ids, make_tiny

VOCAB, TOKENS = 211, 5
LENGTHS = (5, 3, 4)
FULL = Method()
TRUSTING = Method(verify=False)


class Case:
    """A tiny model, prompts of different lengths, and what a method is shown of them."""

    def __init__(self, model: PreTrainedModel, stack: BlockStack, ids: Tensor | None = None) -> None:
        self.stack, self.codec = stack, Codec(model.get_input_embeddings().weight)
        self.ids = draw_ids(len(LENGTHS), TOKENS) if ids is None else ids
        embeddings = self.codec.embed(self.ids) + stack.positions(TOKENS)
        self.seen = ObservedActivations(
            hidden=read_activations(stack, embeddings, int8=False), lengths=torch.tensor(LENGTHS)
        )
        noise = measure_noise(stack, self.codec, draw_ids(16, TOKENS, seed=9), together=len(LENGTHS))
        self.search = TokenSearch(
            method=FULL,
            plan=DescentPlan(iterations=60, optimizer="adam"),
            step=0.05,
            mean=0.0,
            std=float(self.codec.weight.std()),
            draw=draw,
            likeness=ActivationDistance(stack.head),
            epsilons=ActivationDistance(stack.head).limits(noise),
            equals=equal_tokens(find_equal_rows(self.codec.weight)),
        )

    def targets(self) -> list[list[int]]:
        return [row[:n] for row, n in zip(self.ids.tolist(), LENGTHS, strict=True)]

    def find(self, method: Method = FULL, **changes: object) -> list[tuple[TokenMatch, ...]]:
        return recover(self.stack, self.codec, self.seen, replace(self.search, method=method, **changes))  # pyright: ignore


def draw(unit: int, turn: int) -> Tensor:
    source = torch.Generator().manual_seed(100 * unit + turn)
    return torch.randn(1 if turn == 0 else 4, LENGTHS[unit], 32, generator=source)


def make_case(family: str = "llama", *, blocks: int = 1, head: bool = False) -> Case:
    model = make_tiny(family)
    return Case(model, BlockStack(model, Stack(blocks=blocks, head=head), "true"))


def tokens_of(found: list[tuple[TokenMatch, ...]]) -> list[list[int | None]]:
    return [[one.token for one in row] for row in found]


@pytest.mark.parametrize("head", [False, True], ids=["no head", "head"])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_injective_stack_gives_every_prompt_back(family: str, blocks: int, head: bool) -> None:
    case = make_case(family, blocks=blocks, head=head)
    found = case.find()
    assert tokens_of(found) == case.targets()
    every = [one for row in found for one in row]
    assert all(one.same == () for one in every)
    assert all(one.distance <= case.search.epsilons[0] < one.runner_up for one in every)
    assert all(FIRST_WINDOW <= one.checks <= VOCAB for one in every)


@pytest.mark.parametrize("decoder", ["nearest", "pseudo-inverse"])
@pytest.mark.parametrize("token_by_token", [False, True], ids=["jointly", "token by token"])
@pytest.mark.parametrize("optimizer", ["descent", "adam"])
def test_whatever_guesses_a_check_finds_the_prompt(
    optimizer: Optimizer, token_by_token: bool, decoder: Decoder
) -> None:
    case = make_case()
    method = Method(decoder=decoder, token_by_token=token_by_token)
    found = case.find(method, plan=DescentPlan(iterations=20, optimizer=optimizer), step=0.02)
    assert tokens_of(found) == case.targets()


def test_tokens_of_one_row_are_named_and_nothing_else_is() -> None:
    model = make_tiny("llama")
    weight = model.get_input_embeddings().weight
    ids = draw_ids(len(LENGTHS), TOKENS)
    equal = int(ids[0, 1])
    other = next(i for i in range(VOCAB) if i not in ids.flatten().tolist())
    weight.data[other] = weight.data[equal]
    case = Case(model, BlockStack(model, Stack(blocks=2), "true"), ids)
    assert find_equal_rows(case.codec.weight) == (tuple(sorted((equal, other))),)
    found = case.find()
    for row, target in zip(found, case.targets(), strict=True):
        for one, i in zip(row, target, strict=True):
            assert {one.token, *one.same} == ({equal, other} if i == equal else {i})


class Dropping(BlockStack):
    """A stack whose last block gives nothing at one position, whatever stands there."""

    DROPPED = 2

    def _run(self, embeddings: Tensor, cache: Cache | None) -> Tensor:
        first = cache.get_seq_length() if cache is not None else 0
        places = torch.arange(first, first + embeddings.shape[1])
        return super()._run(embeddings, cache) * (places != self.DROPPED)[:, None]


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_position_that_is_dropped_is_not_determined(blocks: int) -> None:
    """By its own activations. What later positions say of it is not asked: the token taken may be refuted there."""
    model = make_tiny("llama")
    case = Case(model, Dropping(model, Stack(blocks=blocks), "true"))
    for row, target in zip(case.find(), case.targets(), strict=True):
        assert [one.token for one in row[:2]] == target[:2]
        assert [one.same for one in row[:2]] == [(), ()]
        # Every candidate that was checked gives the same nothing.
        dropped, behind = row[Dropping.DROPPED], row[Dropping.DROPPED + 1 :]
        assert (dropped.checks, len(dropped.same)) == (FIRST_WINDOW, FIRST_WINDOW - 1)
        if dropped.token not in target:
            assert [(one.token, one.checks) for one in behind] in ([], [(None, VOCAB)])


def test_tokens_that_differ_where_the_stack_is_blind_are_alike_though_no_rows_are_equal() -> None:
    """No window need hold both: one among those checked is not one among all, and the whole vocabulary tells."""
    model = make_tiny("llama")
    weight = model.get_input_embeddings().weight
    ids = draw_ids(len(LENGTHS), TOKENS)
    token, other = int(ids[0, 1]), next(i for i in range(VOCAB) if i not in ids.flatten().tolist())
    drawn = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(3))
    blind = drawn / drawn.norm()
    weight.data[other] = weight.data[token] + 50 * blind
    case = Case(model, Blind(model, Stack(blocks=1), "true", blind), ids)
    assert find_equal_rows(case.codec.weight) == ()
    (found, *_) = case.find()
    assert (found[1].token, found[1].same) == (token, ())
    assert found[1].checks < VOCAB
    every = torch.arange(VOCAB)[None]
    prefix = extend_prefix(case.stack, Prefix(), case.codec.embed(ids[:1, :1]))
    away = check(case.stack, case.codec, case.search.likeness, prefix, every, case.seen.hidden[:1, 1])[0]
    assert sorted((away <= case.search.epsilons[1]).nonzero().flatten().tolist()) == sorted((token, other))


class Blind(BlockStack):
    """A stack that does not see one direction of its input."""

    def __init__(self, model: PreTrainedModel, stack: Stack, positions: Positions, direction: Tensor) -> None:
        super().__init__(model, stack, positions)
        self._direction = direction

    def _run(self, embeddings: Tensor, cache: Cache | None) -> Tensor:
        seen = embeddings - (embeddings @ self._direction)[..., None] * self._direction
        return super()._run(seen, cache)


def test_a_poor_guess_costs_wider_windows_and_no_candidate_is_checked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    case, tried = make_case(), dict[tuple[int, ...], int]()
    real = check

    def counting(*args: object) -> Tensor:
        prefix, candidates = args[3], args[4]
        assert isinstance(prefix, Prefix)
        assert isinstance(candidates, Tensor)
        for unit, row in enumerate(candidates.tolist()):
            assert len(set(row)) == len(row)
            tried[prefix.tokens, len(row), unit, *row] = len(row)
        return real(*args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(recovery, "check", counting)
    far = case.find(plan=DescentPlan(iterations=1), step=1e-9)  # a guess is its start
    assert tokens_of(far) == case.targets()
    checks = sorted({one.checks for row in far for one in row})
    assert set(checks) <= {32, 160, VOCAB}
    assert VOCAB in checks
    assert sum(tried.values()) == sum(one.checks for row in far for one in row)


def test_what_no_token_gives_is_not_found_and_ends_the_prompt() -> None:
    case = make_case()
    spoilt = case.seen.hidden.clone()
    spoilt[0, 1] *= 1.01
    case.seen = ObservedActivations(hidden=spoilt, lengths=case.seen.lengths)
    found = case.find()
    assert [one.token for one in found[0]] == [case.targets()[0][0], None]
    assert found[0][1].checks == VOCAB
    assert found[0][1].runner_up == pytest.approx(0.01 / 1.01, rel=1e-2)
    assert tokens_of(found)[1:] == case.targets()[1:]


@pytest.mark.parametrize("token_by_token", [False, True], ids=["jointly", "token by token"])
def test_without_a_check_the_first_choice_is_taken(token_by_token: bool) -> None:
    case = make_case()
    found = case.find(replace(TRUSTING, token_by_token=token_by_token))
    assert [len(row) for row in found] == list(LENGTHS)
    assert {(one.checks, one.guesses) for row in found for one in row} == {(0, 1)}
    far = case.find(replace(TRUSTING, token_by_token=token_by_token), plan=DescentPlan(iterations=1), step=1e-9)
    start = draw(0, 0)[0, 0] * case.search.std
    assert far[0][0].token == int((case.codec.weight - start).norm(dim=1).argmin())


def test_a_prompt_is_sought_as_if_it_stood_alone() -> None:
    case = make_case(blocks=2)
    together = case.find()
    alone = Case(make_tiny("llama"), case.stack)
    alone.seen = ObservedActivations(hidden=case.seen.hidden[:1], lengths=case.seen.lengths[:1])
    (found,) = recover(case.stack, case.codec, alone.seen, case.search)
    assert [(one.token, one.checks, one.guesses) for one in found] == [
        (one.token, one.checks, one.guesses) for one in together[0]
    ]


def test_decoders_score_by_their_own_distance() -> None:
    codec = make_case().codec
    guess = torch.randn(2, 32, generator=torch.Generator().manual_seed(5))
    nearest = score_tokens(codec, guess, FULL).argsort(-1)
    assert torch.equal(nearest, torch.cdist(guess, codec.weight).argsort(-1))
    inverse = score_tokens(codec, guess, replace(FULL, decoder="pseudo-inverse")).argmin(-1)
    assert torch.equal(inverse, codec.decode(guess))
    for broken in (float("nan"), float("inf"), 1e38):
        assert torch.isfinite(score_tokens(codec, guess * broken, FULL)).all()


def test_candidates_are_checked_within_the_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("gpt2", blocks=2)
    e = case.codec.embed(case.ids) + case.stack.positions(TOKENS)
    prefix = extend_prefix(case.stack, Prefix(), e[:, :2])
    every = torch.arange(VOCAB).expand(len(LENGTHS), -1)
    likeness, hidden = ActivationDistance(None), case.seen.hidden[:, 2]
    whole = check(case.stack, case.codec, likeness, prefix, every, hidden)
    assert whole.argmin(1).tolist() == case.ids[:, 2].tolist()
    monkeypatch.setattr(recovery, "CHECK_BYTES", 40_000)
    parts = check(case.stack, case.codec, likeness, prefix, every, hidden)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
