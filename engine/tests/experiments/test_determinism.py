"""Equal arms give equal numbers in processes begun afresh; what another number of threads may change is rounding.

The processes are the pool's. The model is small and yet wide enough for two threads to share its products: with the
tiny ones of other tests, one thread does everything whatever it is told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import CONTROLLED, PAGE
from engine.arms.settings import DescentSettings, Method, StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.commands.gpu_check import bound_rounding, find_differences, read_numbers
from engine.experiments.clamped_walk.arm import ClampedWalkArm, WalkChoice
from engine.experiments.conditioning.arm import JacobianArm, LogitGradientArm
from engine.experiments.embedding.arm import PseudoInverseArm, RoundTripArm
from engine.experiments.gradients.arm import GradientArm
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.language.arm import GenerationArm, NextTokenArm
from engine.experiments.orthogonal_walk.arm import OrthogonalWalkArm
from engine.experiments.recovery.arm import MarginArm, NoiseArm, RecoveryArm
from engine.models import find_subject
from engine.running.executors.pool import Process
from engine.tests.tiny_models import make_gpt2, save

pytestmark = pytest.mark.slow

TIMES = 3
THREADS = (1, 2)
D_MODEL, VOCAB = 192, 2048
REAL = "smollm2-135m"
UNITS = tuple(Unit(prompt=prompt, seed=k) for k, prompt in enumerate(("The sky is blue.", "It rains.", "a cab")))


def make_arms(subject: str, source: str, real_source: str = "") -> dict[str, Arm]:
    """One of each kind that a claim may ask for. source, real_source: fingerprints of the subject and of REAL."""
    walked = StackSettings(subject=subject, source=source, stack=Stack(blocks=2), protocol=CONTROLLED)
    plain = DescentSettings(subject=subject, source=source, stack=Stack(blocks=2), protocol=CONTROLLED, iterations=15)
    head = replace(plain, stack=Stack(blocks=1, head=True), protocol=PAGE)
    net = replace(plain, stack=SentenceNet(tokens=3), first_tokens=3)
    whole = Stack(blocks=2, head=True, final_norm=True)
    seeking = replace(plain, iterations=10, optimizer="adam")
    choices = (WalkChoice(noise=0.1, step=0.5, outer=4), WalkChoice(noise=0.2, step=0.5, outer=4))
    real = replace(head, subject=REAL, source=real_source, iterations=3)
    model = {"subject": subject, "source": source}
    return {
        "inversion with head": InversionArm(settings=head, step=1e-4, units=UNITS, read_at="N", batch=36),
        "inversion with head, trained": InversionArm(settings=real, step=1e-4, units=UNITS, read_at="N", batch=36),
        "inversion without head": InversionArm(settings=plain, step=1e-3, units=UNITS, read_at="hit", batch=2),
        "wide net": InversionArm(settings=net, step=1e-3, units=UNITS, read_at="N", batch=36),
        "clamped walk": ClampedWalkArm(settings=walked, choices=choices, units=UNITS, inner=2, reads=(2,)),
        "orthogonal walk": OrthogonalWalkArm(settings=walked, units=UNITS, steps=5, step=0.1, vectors="per token"),
        "gradients": GradientArm(settings=walked, units=UNITS[2:]),
        "jacobian": JacobianArm(settings=walked, units=UNITS, first_block=2),
        "logit gradients": LogitGradientArm(settings=replace(walked, stack=whole), units=UNITS),
        "round trip": RoundTripArm(**model),
        "pseudo-inverse": PseudoInverseArm(**model, matrix="embedding"),
        "next tokens": NextTokenArm(**model, units=UNITS, draws=4),
        "recovery": RecoveryArm(settings=seeking, method=Method(), step=0.02, units=UNITS, batch=2),
        "margins": MarginArm(settings=walked, units=UNITS),
        "noise": NoiseArm(settings=walked, units=UNITS[:1], noises=(0.45, 2.0), bits=(8, 4)),
        "continuations": GenerationArm(**model, units=UNITS, new_tokens=4, beams=3, batch=2),
    }


SHORT_STEPS = 10


def make_short_arms(subject: str, source: str) -> dict[str, Arm]:
    """Float64 arms of a few steps, and float32 ones of a single step, before rounding has been amplified."""
    arms = make_arms(subject, source)
    found: dict[str, Arm] = {}
    for name in ("inversion with head", "inversion without head", "wide net"):
        arm = arms[name]
        assert isinstance(arm, InversionArm)
        exact = replace(arm.settings, iterations=SHORT_STEPS, dtype="float64")
        found[f"{name}, float64"] = replace(arm, settings=exact, read_at="N")
        found[f"{name}, float32, one step"] = replace(arm, settings=replace(arm.settings, iterations=1), read_at="N")
    walk = arms["clamped walk"]
    assert isinstance(walk, ClampedWalkArm)
    choices = (WalkChoice(noise=0.1, step=0.5, outer=SHORT_STEPS // 2),)
    exact_walk = replace(walk.settings, dtype="float64")
    found["clamped walk, float64"] = replace(walk, settings=exact_walk, choices=choices, inner=1, reads=())
    through = arms["orthogonal walk"]
    assert isinstance(through, OrthogonalWalkArm)
    exact_through = replace(through, settings=replace(through.settings, dtype="float64"))
    said, margins = arms["next tokens"], arms["margins"]
    assert isinstance(said, NextTokenArm)
    assert isinstance(margins, MarginArm)
    return found | {
        "orthogonal walk, float64": exact_through,
        "pseudo-inverse, float64": arms["pseudo-inverse"],
        "next tokens, float64": replace(said, dtype="float64"),
        "margins, float64": replace(margins, settings=replace(margins.settings, dtype="float64")),
    }


def measure_afresh(arms: dict[str, Arm], threads: int) -> dict[str, Measurement]:
    """Every arm in one process, begun for them as the pool begins it."""
    process = Process(threads)
    try:
        return {name: process.measure(arm) for name, arm in arms.items()}
    finally:
        process.end()


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_gpt2(n_embd=D_MODEL, n_head=4, n_positions=32, vocab_size=VOCAB, initializer_range=0.1)
    return f"local:{save(tmp_path_factory.mktemp('wide'), model)}"


@pytest.fixture(name="processes", scope="module", params=THREADS, ids=["one thread", "two threads"])
def provide_processes(request: pytest.FixtureRequest, subject: str) -> tuple[int, list[dict[str, Measurement]]]:
    """What each of a few processes of so many threads measured."""
    arms = make_arms(subject, find_subject(subject).fingerprint(), find_subject(REAL).fingerprint())
    return request.param, [measure_afresh(arms, request.param) for _ in range(TIMES)]


@pytest.mark.parametrize("name", make_arms("", ""))
def test_an_arm_gives_the_same_numbers_in_every_process(
    name: str, processes: tuple[int, list[dict[str, Measurement]]]
) -> None:
    threads, measured = processes
    assert len({process[name].content() for process in measured}) == 1
    assert [process[name].provenance.threads for process in measured] == [threads] * TIMES


@pytest.fixture(name="short", scope="module")
def provide_short(subject: str) -> list[dict[str, Any]]:
    """Results of the short arms, as JSON holds them, at each number of threads."""
    arms = make_short_arms(subject, find_subject(subject).fingerprint())
    measured = [measure_afresh(arms, threads) for threads in THREADS]
    return [{name: read_numbers(m) for name, m in process.items()} for process in measured]


@pytest.mark.parametrize("name", make_short_arms("", ""))
def test_another_number_of_threads_changes_no_more_than_rounding(name: str, short: list[dict[str, Any]]) -> None:
    dtype, steps = ("float32", 1) if "float32" in name else ("float64", SHORT_STEPS)
    tolerance = bound_rounding(dtype, steps=steps, blocks=2, longest=VOCAB)
    one, two = (process[name] for process in short)
    assert [words for share, words in find_differences(two, one) if share > tolerance] == []
