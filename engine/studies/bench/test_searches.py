"""The full method beside a blind check of the vocabulary, on the same activations."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
import torch

from engine.arms.prompts import SHORT
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import DescentSettings, Method, Unit
from engine.arms.stacks import Stack
from engine.experiments.inputs import embed_prompts, make_generator
from engine.experiments.recovery.arm import RecoveryArm, RecoveryResult
from engine.experiments.recovery.measure import measure_recovery, show_to_method, transformer_stack
from engine.experiments.recovery.searches import ITERATIONS, SIGMA
from engine.methods.activation_distance import ActivationDistance
from engine.methods.token_search import check_candidates
from engine.models import find_subject
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.studies.bench.interleaved import median_ratio, time_interleaved

SUBJECT, STEP, ROUNDS, MIN_FEWER_CHECKS = "smollm2-135m", 2.0**-4, 5, 20.0
BATCH = 512
"""Candidates that the blind check checks at once."""


def make_arm() -> RecoveryArm:
    """One prompt behind one block, so that nothing is shared with other prompts."""
    settings = DescentSettings(
        subject=SUBJECT,
        source=find_subject(SUBJECT).fingerprint(),
        stack=Stack(blocks=1),
        protocol=CONTROLLED,
        sigma=SIGMA,
        iterations=ITERATIONS,
        optimizer="adam",
    )
    units = (Unit(prompt=SHORT[0], seed=0),)
    return RecoveryArm(settings=settings, method=Method(), step=STEP, units=units, batch=1)


def check_blindly(arm: RecoveryArm, models: LoadedModels, epsilon: float) -> tuple[list[int], int]:
    """The tokens found by checking the vocabulary in random order, and the number of candidates checked."""
    stack = transformer_stack(arm.settings, models)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    seen = show_to_method(stack, embed_prompts(arm.settings, arm.units, models, stack), int8=False)
    found, checks, prefix = list[int](), 0, Prefix()
    for t in range(int(seen.lengths[0])):
        order, matched = torch.randperm(codec.vocab, generator=make_generator("blind", t)), list[int]()
        for part in order.split(BATCH):
            distances = check_candidates(stack, codec, ActivationDistance(None), prefix, part[None], seen.hidden[:, t])
            matched = part[distances[0] <= epsilon].tolist()
            checks += len(part)
            if matched:
                break
        found += matched[:1]
        e = codec.embed(torch.tensor([[found[-1]]])) + stack.positions(t + 1)[t:]
        prefix = extend_prefix(stack, prefix, e)
    return found, checks


@pytest.mark.benchmark(group="searches: the full method's own time")
def test_the_full_method_beside_a_blind_check(benchmark: Any) -> None:
    arm, models = make_arm(), LoadedModels()
    result = measure_recovery(arm, models)
    assert isinstance(result, RecoveryResult)
    (run,) = result.runs
    blind, blind_checks = check_blindly(arm, models, result.epsilon)
    assert run.exact
    assert tuple(blind) == run.target
    variants = {
        "blind": lambda: check_blindly(arm, models, result.epsilon),
        "full": lambda: measure_recovery(arm, models),
    }
    seconds = time_interleaved(benchmark, variants, measured="full", rounds=ROUNDS)
    tokens = len(run.target)
    name = f"full method, one prompt of {tokens} tokens"
    benchmark.extra_info["measures"] = [
        {"title": f"{name}: seconds per token", "value": median(seconds["full"]) / tokens},
        {"title": f"{name}: times as fast as a blind check", "value": median_ratio(seconds["blind"], seconds["full"])},
        {
            "title": f"{name}: times fewer candidates than a blind check",
            "value": blind_checks / sum(found.checks for found in run.found),
            "at_least": MIN_FEWER_CHECKS,
        },
    ]
