"""From an arm to its result on tiny models: the method never sees the prompt, and results say what it found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from engine.arms.protocol import CONTROLLED, PAGE, Protocol
from engine.arms.settings import DescentSettings, Method, StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import DeclarationError
from engine.experiments.inputs import EmbeddedPrompts, embed_prompts, make_generator, plan_descent, prepare_batch
from engine.experiments.measure_arm import measure_arm
from engine.experiments.recovery import measure as recovery
from engine.experiments.recovery.arm import MarginArm, MarginResult, RecoveryArm, RecoveryResult
from engine.experiments.tuning.arm import TuningArm, TuningResult
from engine.experiments.tuning.measure import last_position
from engine.methods.descent import NeverStop, Problem, descend
from engine.methods.token_search import ObservedActivations
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.stacks import whole_output
from engine.tests.arms.test_golden import GoldenModels

UNITS = (Unit(prompt="a cat", seed=0), Unit(prompt="a b c d", seed=1), Unit(prompt="sun", seed=2))
OTHERS = (Unit(prompt="a dog", seed=0), Unit(prompt="d c b a", seed=1), Unit(prompt="sea", seed=2))
SETTINGS = DescentSettings(
    subject="llama", source="tiny", stack=Stack(blocks=2), protocol=CONTROLLED, iterations=8, optimizer="adam"
)
ARM = RecoveryArm(settings=SETTINGS, method=Method(), step=0.05, units=UNITS, batch=2)


def find(arm: RecoveryArm = ARM) -> RecoveryResult:
    result = measure_arm(arm, GoldenModels())
    assert isinstance(result, RecoveryResult)
    return result


@pytest.fixture(name="plain", scope="module")
def provide_plain() -> RecoveryResult:
    return find()


def text_of(ids: tuple[int | None, ...]) -> str:
    return "".join("?" if i is None else chr(i) for i in ids)


@pytest.mark.parametrize("subject", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("stack", "dtype"),
    [
        pytest.param(Stack(blocks=1), "float32", id="1b-float32"),
        pytest.param(Stack(blocks=1), "float64", id="1b-float64", marks=pytest.mark.slow),
        pytest.param(Stack(blocks=2, head=True), "float32", id="2b+h-float32", marks=pytest.mark.slow),
        pytest.param(Stack(blocks=2, head=True), "float64", id="2b+h-float64"),
    ],
)
def test_prompts_come_back_from_their_activations(subject: str, stack: Stack, dtype: str) -> None:
    settings = replace(SETTINGS, subject=subject, stack=stack, dtype=dtype)
    result = find(replace(ARM, settings=settings))
    assert [text_of(tuple(one.token for one in run.found)) for run in result.runs] == [u.prompt for u in UNITS]
    assert all(run.exact and run.determined for run in result.runs)
    assert result.vocab == 211
    assert len(result.noise) == len("a b c d")
    assert max(result.noise) <= result.epsilon < min(one.runner_up for run in result.runs for one in run.found)


def test_the_prompt_never_reaches_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found follows the activations that are shown, whatever the prompt is: those of others here."""
    models, real = GoldenModels(), recovery.show_to_method
    stack: Any = models.stack(SETTINGS)
    shown: list[ObservedActivations] = []

    def show_others(_: Any, embedded: EmbeddedPrompts, *, int8: bool) -> ObservedActivations:
        others = tuple(OTHERS[UNITS.index(unit)] for unit in embedded.units)
        shown.append(real(stack, embed_prompts(SETTINGS, others, models, stack), int8=int8))
        return shown[-1]

    monkeypatch.setattr(recovery, "show_to_method", show_others)
    misled = find()
    monkeypatch.setattr(recovery, "show_to_method", real)
    honest = find(replace(ARM, units=OTHERS))
    assert [run.prompt for run in misled.runs] == [unit.prompt for unit in UNITS]
    assert [run.found for run in misled.runs] == [run.found for run in honest.runs]
    assert [text_of(tuple(one.token for one in run.found)) for run in misled.runs] == [u.prompt for u in OTHERS]
    # And activations are all that is shown: no ids, no embeddings, no text.
    assert all(set(vars(seen)) == {"hidden", "lengths"} for seen in shown)


def test_the_search_is_given_nothing_of_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms of equal seeds and lengths on different prompts are given the same search, noise included."""
    given: list[Any] = []

    def keep(stack: Any, codec: Any, seen: ObservedActivations, search: Any) -> list[Any]:
        given.append((search, seen))
        return [()] * len(seen.lengths)

    monkeypatch.setattr(recovery, "recover", keep)
    for units in (UNITS[:2], OTHERS[:2]):
        find(replace(ARM, units=units))
    (one, seen), (other, _) = given
    plain = [replace(search, draw=None, distance=None) for search in (one, other)]
    assert plain[0] == plain[1]
    assert vars(one.distance) == vars(other.distance)
    for unit, turn in ((0, 0), (1, 0), (0, 1), (1, 2)):
        assert torch.equal(one.draw(unit, turn), other.draw(unit, turn))
    assert one.draw(0, 1).shape == (4, int(seen.lengths[0]), 32)


def test_behind_a_head_only_the_logits_are_seen() -> None:
    """A change of the hidden states that no logit shows changes nothing that is observed."""
    models = GoldenModels()
    settings = replace(SETTINGS, stack=Stack(blocks=1, head=True), dtype="float64")
    stack: Any = models.stack(settings)
    embedded = embed_prompts(settings, UNITS, models, stack)
    logits = whole_output(stack, embedded.target)
    seen = recovery.show_to_method(stack, embedded, int8=False)
    torch.testing.assert_close(seen.hidden @ stack.head.T, logits, rtol=1e-7, atol=1e-9)
    hidden = stack.head.clone()
    hidden[:, 5] = 0  # a direction that no logit shows
    stack.head = hidden
    blind = recovery.show_to_method(stack, embedded, int8=False)
    assert float(blind.hidden[..., 5].abs().max()) < 1e-9


def test_the_first_start_is_that_of_the_units_descent_and_later_ones_are_others() -> None:
    draws = partial(recovery.draw_start_noise, (0, 7), [3, 2], 8)
    start = torch.randn((3, 8), generator=make_generator("start", 0))
    assert torch.equal(draws(0, 0), start[None])
    later = draws(0, 1)
    assert later.shape == (4, 3, 8)
    assert len({tuple(row.flatten().tolist()) for row in (*later, *draws(0, 2), start)}) == 9
    assert draws(1, 0).shape == (1, 2, 8)


def test_the_start_has_the_pages_spread_or_that_of_the_vocabulary() -> None:
    models = GoldenModels()
    codec = models.codec("llama", "float32", "cpu")
    none = torch.zeros(4, 32)
    assert recovery.start_std(replace(ARM, settings=replace(SETTINGS, protocol=PAGE)), codec, none) == 0.05
    assert recovery.start_std(ARM, codec, none) == pytest.approx(float(codec.weight.std()))
    some = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    both = float((codec.weight.var() + some.var()).sqrt())
    assert recovery.start_std(ARM, codec, some) == pytest.approx(both)


def test_eight_bits_give_the_prompts_back_within_half_a_step(plain: RecoveryResult) -> None:
    rounded = find(replace(ARM, observed="8 bits"))
    assert plain.epsilons == ()
    assert len(rounded.epsilons) == len(rounded.noise)
    assert all(0.5 < one <= rounded.epsilon < 0.51 for one in rounded.epsilons)
    assert [run.exact for run in rounded.runs] == [True] * 3
    assert all(0.1 < one.distance < 0.5 for run in rounded.runs for one in run.found)
    settings = StackSettings(subject="llama", source="tiny", stack=Stack(blocks=2), protocol=CONTROLLED)
    margins = measure_arm(MarginArm(settings=settings, units=UNITS, observed="8 bits"), GoldenModels())
    assert isinstance(margins, MarginResult)
    assert [run.same for run in margins.runs] == [0] * 3
    assert all(run.own_distance < margins.epsilon_at(run.position) < run.runner_up_distance for run in margins.runs)


def test_margins_are_those_of_every_token_by_hand() -> None:
    settings = StackSettings(subject="gpt2", source="tiny", stack=Stack(blocks=2), protocol=CONTROLLED, dtype="float64")
    models = GoldenModels()
    result = measure_arm(MarginArm(settings=settings, units=UNITS), models)
    assert isinstance(result, MarginResult)
    stack: Any = models.stack(settings)
    codec = models.codec("gpt2", "float64", "cpu")
    for run in result.runs:
        ids = torch.tensor([ord(letter) for letter in run.prompt])
        seen = stack(codec.embed(ids)[None] + stack.positions(len(ids)))[0, run.position]
        tried = ids[: run.position + 1].repeat(result.vocab, 1)
        tried[:, run.position] = torch.arange(result.vocab)
        outputs = stack(codec.embed(tried) + stack.positions(run.position + 1))[:, -1]
        away = (outputs - seen).norm(dim=-1) / seen.norm()
        assert run.token == int(ids[run.position]) == int(away.argmin())
        assert run.own_distance < 1e-12
        others = away.clone()
        others[run.token] = float("inf")
        assert run.runner_up == int(others.argmin())
        assert run.runner_up_distance == pytest.approx(float(others.min()), rel=1e-9)
        assert run.same == 0


def test_a_net_has_no_positions_to_recover_one_by_one() -> None:
    net = replace(SETTINGS, stack=SentenceNet(tokens=3), first_tokens=3)
    with pytest.raises(DeclarationError, match="got a fully connected net, expected transformer blocks"):
        measure_arm(replace(ARM, settings=net), GoldenModels())


def test_equal_arms_give_equal_results(plain: RecoveryResult) -> None:
    assert find() == plain


@pytest.mark.parametrize("protocol", [CONTROLLED, PAGE], ids=["controlled", "page"])
def test_a_token_is_tuned_alone_behind_the_others_as_they_are(protocol: Protocol) -> None:
    settings = replace(SETTINGS, protocol=protocol, first_tokens=3, dtype="float64", iterations=10)
    arm = TuningArm(settings=settings, steps=(0.01, 0.04), units=UNITS, horizon=10, batch=6, alone=True)
    models = GoldenModels()
    result = measure_arm(arm, models)
    assert isinstance(result, TuningResult)
    stack: Any = models.stack(settings)
    for outcome in result.outcomes:
        ends: list[float] = []
        for unit in UNITS:
            batch = prepare_batch(settings, (unit,), models, stack)
            here = NextPosition(stack, extend_prefix(stack, Prefix(), batch.target[:, :2]))
            problem = Problem(
                output=stack(batch.target)[:, 2:],
                start=batch.start[:, 2:],
                lengths=torch.ones(1, dtype=torch.long),
                steps=torch.tensor([outcome.step], dtype=torch.float64),
                bound=None,
            )
            ends.append(float(descend(here, problem, plan_descent(settings), NeverStop()).distances[10]))
        assert outcome.median_distance == pytest.approx(sorted(ends)[1], rel=1e-7)


def test_a_token_that_is_tuned_alone_has_a_bound_of_its_own() -> None:
    settings = replace(SETTINGS, protocol=PAGE, first_tokens=3, dtype="float64")
    arm = TuningArm(settings=settings, steps=(0.01,), units=UNITS, horizon=10, batch=3, alone=True)
    models = GoldenModels()
    stack: Any = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    last, prefix = last_position(arm, batch, stack)
    assert last.bound is not None
    assert batch.bound is not None
    assert (last.bound < batch.bound).all()
    assert (prefix.tokens, last.target.shape[1], last.sizes) == (2, 1, [1, 1, 1])
