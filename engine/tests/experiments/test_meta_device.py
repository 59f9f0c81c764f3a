"""Every kind of descent also runs on torch's meta device, which holds shapes and no numbers.

A tensor made on another device is refused there, and so is any look at a number: a loop that passes makes
everything on the device of its model and never waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from engine.arms.protocol import CONTROLLED, PAGE, SCRIPT, Protocol
from engine.arms.settings import Decoder, DescentSettings, Method, Metric, Unit
from engine.arms.stacks import AnyStack, SentenceNet, Stack, TokenNet
from engine.experiments.gradients.measure import differentiate_loss
from engine.experiments.inputs import TOP, Batch, make_problem, plan_descent, prepare_batch
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.inversion.measure import predict_next_tokens
from engine.experiments.tuning.measure import repeat_for_steps
from engine.methods.activation_distance import ActivationDistance, measure_noise
from engine.methods.descent import OBSERVE_EVERY, DescentPlan, NeverStop, Problem, Trace, descend
from engine.methods.noisy_activations import decode_under_noise
from engine.methods.token_search import check_candidates, run_candidates, score_tokens
from engine.models.codec import Codec
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.tests.tiny import FAMILIES, make_tiny

UNITS = tuple(Unit(prompt=prompt, seed=seed) for seed, prompt in enumerate(("a cat", "a b c d", "sun")))
STEPS = (0.1, 0.2)
D_MODEL, TOKENS = 32, 7

STACKS: dict[str, AnyStack] = {
    "1 block": Stack(blocks=1),
    "3 blocks and head": Stack(blocks=3, head=True),
    "2 blocks, norm and head": Stack(blocks=2, head=True, final_norm=True),
    "wide net": SentenceNet(tokens=3),
    "narrow net": SentenceNet(tokens=3, narrow=True),
    "per-token net": TokenNet(),
}


class MetaModels(LoadedModels):
    """A tiny model without numbers; its codec is given a factor, since nothing can be factorized."""

    @lru_cache  # noqa: B019 - one of these objects a test
    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        return make_tiny(subject, dtype=getattr(torch, dtype)).to(device)  # pyright: ignore[reportArgumentType]

    def tokenizer(self, subject: str) -> Any:
        return lambda text, **_: SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def codec(self, subject: str, dtype: str, device: str) -> Codec:
        model: Any = self.model(subject, dtype, device)
        return Codec(model.get_input_embeddings().weight, torch.eye(D_MODEL, device=device))


def make_settings(family: str, stack: AnyStack, protocol: Protocol, metric: Metric = "l1") -> DescentSettings:
    return DescentSettings(
        subject=family,
        source="tiny",
        stack=stack,
        protocol=protocol,
        iterations=3,
        metric=metric,
        device="meta",
        first_tokens=3 if isinstance(stack, SentenceNet) else None,
    )


def expect_meta(tensors: Sequence[torch.Tensor | None]) -> None:
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_losss_gradient_is_found_where_nothing_can_be_read(stack: AnyStack) -> None:
    gradient = differentiate_loss(make_settings("gpt2", stack, PAGE), UNITS, MetaModels())
    expect_meta([gradient])
    assert gradient.shape == (len(UNITS), 3 if isinstance(stack, SentenceNet) else TOKENS, D_MODEL)


def run(settings: DescentSettings, *, tuning: bool) -> tuple[Batch, Trace, Codec]:
    """What measuring an arm does, up to where numbers are read."""
    models = MetaModels()
    stack = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    if tuning:
        batch, steps, _ = repeat_for_steps(batch, STEPS)
    else:
        steps = torch.full_like(batch.target[:, 0, 0], 0.1)
    problem = make_problem(settings, batch, steps, stack)
    trace = descend(stack, problem, plan_descent(settings, () if tuning else (0, 2)), NeverStop())
    return batch, trace, models.codec(settings.subject, settings.dtype, settings.device)


@pytest.mark.parametrize(
    ("family", "tuning"),
    [
        *[("gpt2", False), ("llama", True)],
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("gpt2", True), ("llama", False))),
    ],
    ids=lambda value: value if isinstance(value, str) else "tuning" if value else "inversion",
)
@pytest.mark.parametrize("protocol", [PAGE, SCRIPT, CONTROLLED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_descent_runs_where_nothing_can_be_read(
    family: str, stack: AnyStack, protocol: Protocol, tuning: bool
) -> None:
    batch, trace, codec = run(make_settings(family, stack, protocol), tuning=tuning)
    runs, tokens = len(UNITS) * (len(STEPS) if tuning else 1), 3 if isinstance(stack, SentenceNet) else TOKENS
    expect_meta([batch.target, batch.start, batch.lengths, batch.positions, batch.bound])
    assert (batch.bound is None) == (protocol is CONTROLLED)
    expect_meta([trace.distances, trace.ended_at, trace.bound, trace.final, *trace.snapshots.values()])
    expect_meta([trace.first_hits(), trace.diverged()])
    assert trace.distances.shape == (4, runs)
    decoded, top = codec.decode(trace.final - batch.positions), codec.top(trace.final - batch.positions, TOP)
    expect_meta([decoded, top])
    assert (decoded.shape, top.shape) == ((runs, tokens), (runs, tokens, TOP))


@pytest.mark.parametrize("protocol", [PAGE, CONTROLLED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_descent_behind_what_opens_a_text_runs_there_too(
    family: str, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MetaModels, "opening", lambda models, subject: (1, 2))
    _, trace, _ = run(make_settings(family, Stack(blocks=2, head=True), protocol), tuning=False)
    expect_meta([trace.distances, trace.final])
    assert trace.final.shape[1:] == (TOKENS, D_MODEL)


@pytest.mark.parametrize("protocol", [PAGE, CONTROLLED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_start_beside_the_target_and_a_probe_run_there_too(family: str, protocol: Protocol) -> None:
    settings = replace(make_settings(family, Stack(blocks=1, head=True), protocol), blend=(0.001, 0.999))
    batch, trace, codec = run(settings, tuning=False)
    probe = Stack(blocks=3, head=True, final_norm=True)
    arm = InversionArm(settings=settings, step=0.1, units=UNITS, read_at="N", batch=36, probe=probe)
    said = predict_next_tokens(arm, batch, trace, codec, MetaModels())
    expect_meta([said])
    assert said.shape == (len(UNITS), 5)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_descent_of_the_euclidean_distance_does_too(stack: AnyStack) -> None:
    _, trace, _ = run(make_settings("gpt2", stack, CONTROLLED, "l2"), tuning=False)
    expect_meta([trace.distances, trace.final])


@pytest.mark.parametrize("decoder", ["nearest", "pseudo-inverse"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_position_is_guessed_and_checked_there_too(family: str, decoder: Decoder) -> None:
    settings, models = replace(make_settings(family, Stack(blocks=2), CONTROLLED), optimizer="adam"), MetaModels()
    stack: Any = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    prefix = extend_prefix(stack, Prefix(), batch.target[:, :2]).select(torch.arange(3, device="meta"))
    here, seen = NextPosition(stack, prefix), stack(batch.target)
    lengths, steps = torch.ones(3, dtype=torch.long, device="meta"), torch.ones(3, device="meta")
    problem = Problem(output=seen[:, 2:3], start=batch.start[:, 2:3], lengths=lengths, steps=steps, bound=None)
    trace = descend(here, problem, plan_descent(settings), NeverStop())
    scores = score_tokens(codec, (trace.final - here.positions(1))[:, 0], Method(decoder=decoder))
    candidates = scores.topk(4, largest=False).indices
    distances = check_candidates(stack, codec, ActivationDistance(None), prefix, candidates, seen[:, 2])
    noise = measure_noise(stack, codec, torch.zeros(4, 3, dtype=torch.long, device="meta"), together=3)
    expect_meta([*prefix.keys, *prefix.values, trace.final, scores, candidates, distances, noise])
    assert (scores.shape, distances.shape, noise.shape) == ((3, codec.vocab), (3, 4), (4, 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_nearest_token_under_noise_is_found_there_too(family: str) -> None:
    settings, models = make_settings(family, Stack(blocks=2), CONTROLLED), MetaModels()
    stack: Any = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    prefix = extend_prefix(stack, Prefix(), batch.target[:1, :2])
    every = torch.arange(codec.vocab, device="meta")[None]
    outputs = torch.cat([part[0] for part in run_candidates(stack, codec, prefix, every)])
    hidden = stack(batch.target)[0, 2]
    sizes: Any = {"noises": (0.45, 1.0, 2.0), "bits": (8, 4)}
    found = decode_under_noise(outputs, hidden, torch.ones_like(hidden), token=7, equal_tokens=(8, 9), **sizes)
    expect_meta([outputs, *vars(found).values()])
    assert outputs.shape == (codec.vocab, D_MODEL)
    shapes = {name: tuple(tensor.shape) for name, tensor in vars(found).items()}
    single = dict.fromkeys(("margin", "runner_up", "own_distance"), ())
    assert shapes == {**single, "random": (3,), "toward": (3,), "rounded": (2,), "rounding": (2,)}


def test_a_tensor_on_another_device_would_be_noticed() -> None:
    settings, models = make_settings("gpt2", Stack(blocks=1), CONTROLLED), MetaModels()
    stack = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    elsewhere = replace(batch, start=torch.zeros(batch.start.shape))
    steps = torch.full_like(batch.target[:, 0, 0], 0.1)
    with pytest.raises(RuntimeError, match=r"device|copy out of meta"):
        descend(stack, make_problem(settings, elsewhere, steps, stack), plan_descent(settings), NeverStop())


def test_a_look_at_a_number_would_be_noticed() -> None:
    class Curious(NeverStop):
        def keep(self, trace: Trace, runs: torch.Tensor, iteration: int) -> torch.Tensor | None:
            return runs if bool(trace.diverged().any()) else None

    settings, models = make_settings("gpt2", Stack(blocks=1), CONTROLLED), MetaModels()
    stack = models.stack(settings)
    batch = prepare_batch(settings, UNITS, models, stack)
    problem: Problem = make_problem(settings, batch, torch.full_like(batch.target[:, 0, 0], 0.1), stack)
    plan: DescentPlan = plan_descent(replace(settings, iterations=OBSERVE_EVERY))
    with pytest.raises((RuntimeError, NotImplementedError)):
        descend(stack, problem, plan, Curious())
