"""From an arm to its numbers: the same each time, from one start in every precision, whatever else is in the batch."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.arms.arm import Arm
from engine.arms.protocol import CONTROLLED, PAGE, SCRIPT
from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import PromptError, SubjectError
from engine.experiments.conditioning.arm import JacobianArm, LogitGradientArm
from engine.experiments.embedding.arm import PseudoInverseArm, RoundTripArm, VocabularyArm
from engine.experiments.embedding.measure import special_ids
from engine.experiments.inputs import make_generator, prepare_batch
from engine.experiments.inversion.arm import InversionArm, InversionResult, Stop
from engine.experiments.inversion.measure import curve_points
from engine.experiments.measure_arm import measure_arm
from engine.experiments.recovery.arm import NoiseArm
from engine.experiments.tuning.arm import TuningArm, TuningResult
from engine.models import find_subject
from engine.models.loaded import LoadedModels
from engine.running.costs import group_of
from engine.running.executors.inline import Inline
from engine.tests.tiny_models import make_gpt2, make_llama, save

SKY, CAT, SUN = Unit(prompt="The sky", seed=0), Unit(prompt="A cat sleeps", seed=1), Unit(prompt="sun", seed=2)


@pytest.fixture(name="subject", scope="module", params=["gpt2", "llama"])
def provide_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_gpt2(initializer_range=0.3) if request.param == "gpt2" else make_llama(initializer_range=0.3)
    return f"local:{save(tmp_path_factory.mktemp(request.param), model)}"


def make_settings(subject: str, **changes: Any) -> DescentSettings:
    source = find_subject(subject).fingerprint()
    plain = DescentSettings(
        subject=subject, source=source, stack=Stack(blocks=1), protocol=CONTROLLED, iterations=60, dtype="float64"
    )
    return replace(plain, **changes)


def plain_settings(settings: DescentSettings, stack: Stack | None = None) -> StackSettings:
    """The same settings without a descent, and with another stack."""
    shared = {field.name: getattr(settings, field.name) for field in fields(StackSettings)}
    return StackSettings(**{**shared, **({} if stack is None else {"stack": stack})})


def make_arms(subject: str) -> dict[str, Arm]:
    """An arm of every kind, all small."""
    settings = make_settings(subject)
    head = make_settings(subject, stack=Stack(blocks=2, head=True), protocol=PAGE, dtype="float32")
    net = make_settings(subject, stack=SentenceNet(tokens=3, narrow=True), first_tokens=3)
    noisy = StackSettings(
        subject=subject,
        source=settings.source,
        stack=Stack(blocks=2),
        protocol=CONTROLLED,
        dtype="float64",
        first_tokens=3,
    )
    units = (SKY, CAT, SUN)
    return {
        "inversion": InversionArm(settings=settings, step=0.01, units=units, read_at="N", batch=2, snapshots=(0, 20)),
        "head": InversionArm(settings=head, step=0.002, units=units, read_at="hit", batch=36),
        "net": InversionArm(settings=net, step=0.01, units=units, read_at="N", batch=36),
        "tuning": TuningArm(settings=settings, steps=(0.005, 0.01, 0.02), units=units, horizon=60, batch=9),
        "noise": NoiseArm(settings=noisy, units=units, noises=(0.45, 2.0), bits=(8, 4)),
        "round trip": RoundTripArm(subject=subject, source=settings.source),
        "embedding": PseudoInverseArm(subject=subject, source=settings.source, matrix="embedding"),
        "random": PseudoInverseArm(subject="none", source="none", matrix="random:40x8:rank=5:seed=2"),
        "jacobian": JacobianArm(settings=plain_settings(settings), units=units[:2], first_block=1),
        "logit gradient": LogitGradientArm(
            settings=plain_settings(settings, Stack(blocks=2, head=True, final_norm=True)), units=units
        ),
    }


def contents(subject: str) -> list[str]:
    """Digests of what every arm gives, by an executor of its own."""
    executor = Inline()
    return [executor.run(arm).content() for arm in make_arms(subject).values()]


@pytest.fixture(name="first", scope="module")
def provide_contents(subject: str) -> list[str]:
    return contents(subject)


def test_equal_arms_give_equal_measurements_twice_and_leave_the_global_random_state_alone(
    subject: str, first: list[str]
) -> None:
    before = torch.get_rng_state()
    assert contents(subject) == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("subject", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)], indirect=True)
def test_equal_arms_give_equal_measurements_in_a_fresh_process_with_another_random_state(
    subject: str, first: list[str]
) -> None:
    code = (
        "import random, numpy, torch; random.seed(7); numpy.random.seed(7); torch.manual_seed(7);"
        f"from engine.tests.experiments.test_experiments import contents; print(contents({subject!r}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(first)


def start_of(subject: str, units: tuple[Unit, ...], **changes: Any) -> torch.Tensor:
    settings, models = make_settings(subject, **changes), LoadedModels()
    return prepare_batch(settings, units, models, models.stack(settings)).start


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_the_start_is_the_same_noise_in_every_dtype(subject: str, dtype: str) -> None:
    # The script's start has mean 0 and std 1: it is the noise itself, rounded to the dtype.
    single = start_of(subject, (SKY, CAT), protocol=SCRIPT, dtype="float32")
    other = start_of(subject, (SKY, CAT), protocol=SCRIPT, dtype=dtype)
    assert other.dtype is getattr(torch, dtype)
    assert torch.equal(other, single.to(other.dtype))


def test_a_units_start_depends_on_its_seed_and_not_on_its_neighbours(subject: str) -> None:
    alone = start_of(subject, (SKY,))[0]
    among = start_of(subject, (CAT, SKY, SUN))[1]
    assert torch.equal(among[: len(alone)], alone)
    assert not among[len(alone) :].any()
    assert not torch.equal(start_of(subject, (replace(SKY, seed=9),))[0], alone)


def test_the_start_has_the_protocols_mean_and_spread(subject: str) -> None:
    models, units = LoadedModels(), tuple(Unit(prompt="A cat sleeps", seed=seed) for seed in range(200))
    for protocol in (PAGE, SCRIPT, CONTROLLED):
        settings = make_settings(subject, protocol=protocol)
        batch = prepare_batch(settings, units, models, models.stack(settings))
        std = protocol.start_std or float(batch.target[0].std())
        # 200 starts of 12 tokens of 8 numbers: the mean's standard error is std / √19200, five of them are allowed.
        assert float(batch.start.mean()) == pytest.approx(protocol.start_mean, abs=5 * std / 19200**0.5)
        assert float(batch.start.std()) == pytest.approx(std, rel=5 / (2 * 19200) ** 0.5)


def test_purposes_and_seeds_draw_apart() -> None:
    drawn = {
        tuple(torch.randn(3, generator=make_generator(purpose, seed)).tolist())
        for purpose in ("start", "shift", "norm")
        for seed in (0, 1, "1 ")
    }
    assert len(drawn) == 9


def test_the_shift_bound_is_the_mean_distance_of_shifted_embeddings(subject: str) -> None:
    settings, models = (
        make_settings(subject, protocol=PAGE, stack=Stack(blocks=1, head=True), sigma=0.1),
        LoadedModels(),
    )
    stack = models.stack(settings)
    batch = prepare_batch(settings, (SKY,), models, stack)
    assert batch.bound is not None

    def logits(e: torch.Tensor) -> torch.Tensor:
        assert stack.head is not None
        return stack(e) @ stack.head.T

    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        shifts = 0.1 * torch.randn((2000, *batch.target.shape[1:]), generator=source, dtype=torch.float64)
        apart = (logits(batch.target + shifts) - logits(batch.target)).abs().sum((1, 2))
    # The bound is a mean of 16 draws, ours of 2000: five standard errors of the former.
    assert float(batch.bound[0]) == pytest.approx(float(apart.mean()), abs=5 * float(apart.std()) / 4)


def test_runs_come_back_in_their_units_order_whatever_the_batch(subject: str) -> None:
    arm = make_arms(subject)["inversion"]
    assert isinstance(arm, InversionArm)
    results = [measure_arm(replace(arm, batch=batch), LoadedModels()) for batch in (1, 2, 36)]
    for result in results:
        assert isinstance(result, InversionResult)
        assert [(run.prompt, run.seed) for run in result.runs] == [(u.prompt, u.seed) for u in arm.units]
    single, pair, together = (
        [run.curve for run in result.runs] for result in results if isinstance(result, InversionResult)
    )
    for other in (pair, together):
        for curve, expected in zip(other, single, strict=True):
            # Another batch may sum in another order: 60 steps of float64 rounding.
            assert curve == pytest.approx(expected, rel=1e-9)


def test_a_result_reads_the_descent_that_it_had(subject: str) -> None:
    models = LoadedModels()
    weight = models.model(subject, "float64", "cpu").get_input_embeddings().weight
    result = measure_arm(make_arms(subject)["inversion"], models)
    assert isinstance(result, InversionResult)
    assert result.curve_at == curve_points(60)
    for run in result.runs:
        assert run.stop in {Stop.HIT, Stop.CAP}
        assert (run.hit is not None) == (run.stop is Stop.HIT)
        assert run.ended_at == 60
        assert run.curve[0] == run.start_distance
        assert run.curve[-1] == run.final_distance
        assert run.bound == pytest.approx(0.3 * run.start_distance)
        target = weight[list(run.target)]
        decoded = torch.linalg.lstsq(weight.T, target.T, driver="gelsd").solution.argmax(0)
        assert run.ceiling == float((decoded == torch.tensor(run.target)).double().mean())
        assert [s.iteration for s in run.snapshots] == [0, 20]
        assert run.snapshots[0].distance == run.start_distance
        assert all(len(s.top) == len(run.target) and len(s.top[0]) == 5 for s in run.snapshots)
        # The library's tokenizer is byte-level: the texts of the target's ids spell the prompt.
        assert "".join(result.texts[i] for i in run.target) == run.prompt


@pytest.mark.parametrize("k", [0, 1, 2], ids=["smallest step", "middle step", "largest step"])
def test_tuning_sees_the_hits_of_plain_descents_up_to_where_it_stopped(subject: str, k: int) -> None:
    tuning = make_arms(subject)["tuning"]
    assert isinstance(tuning, TuningArm)
    tuned = measure_arm(tuning, LoadedModels())
    plain = InversionArm(settings=tuning.settings, step=tuning.steps[k], units=tuning.units, read_at="N", batch=36)
    result = measure_arm(plain, LoadedModels())
    assert isinstance(tuned, TuningResult)
    assert isinstance(result, InversionResult)
    expected = tuple(r.hit if r.hit is not None and r.hit <= tuned.read_to else None for r in result.runs)
    assert tuned.outcomes[k].hits == expected
    assert tuned.outcomes[k].step == tuning.steps[k]


@pytest.mark.parametrize("k", [0, 1, 2])
def test_tuning_for_the_distance_runs_plain_descents_to_their_end(subject: str, k: int) -> None:
    tuning = make_arms(subject)["tuning"]
    assert isinstance(tuning, TuningArm)
    tuning = replace(tuning, target="distance", steps=(0.005, 0.01, 1e308))
    tuned = measure_arm(tuning, LoadedModels())
    plain = InversionArm(settings=tuning.settings, step=tuning.steps[k], units=tuning.units, read_at="N", batch=36)
    result = measure_arm(plain, LoadedModels())
    assert isinstance(tuned, TuningResult)
    assert isinstance(result, InversionResult)
    assert tuned.read_to == tuning.settings.iterations
    lost = [run.stop is Stop.DIVERGED for run in result.runs]
    assert list(tuned.outcomes[k].diverged) == lost == [k == 2] * 3
    expected = [math.inf if run.stop is Stop.DIVERGED else run.final_distance / run.bound for run in result.runs]
    assert list(tuned.outcomes[k].distances) == pytest.approx(expected)
    assert tuned.outcomes[k].hits == tuple(run.hit for run in result.runs)


def test_a_step_far_too_large_diverges_as_data(subject: str) -> None:
    arm = make_arms(subject)["inversion"]
    assert isinstance(arm, InversionArm)
    result = measure_arm(replace(arm, step=1e308, units=(SKY,)), LoadedModels())
    assert isinstance(result, InversionResult)
    assert result.runs[0].stop is Stop.DIVERGED
    assert result.runs[0].hit is None
    assert result.runs[0].recovery < 1


def test_only_the_first_tokens_are_used_when_a_net_asks_for_them(subject: str) -> None:
    result = measure_arm(make_arms(subject)["net"], LoadedModels())
    assert isinstance(result, InversionResult)
    assert [len(run.target) for run in result.runs] == [3, 3, 3]


@pytest.mark.parametrize(
    ("prompt", "first_tokens", "message"),
    [
        ("ab", 3, "got 1 token.*expected at least 3"),
        ("a cat sleeps in the sun", None, "expected at most 16"),
        ("  ", None, "an empty prompt"),
    ],
    ids=["too short", "past the context", "blank"],
)
def test_a_prompt_that_does_not_fit_is_one_line(
    subject: str, prompt: str, first_tokens: int | None, message: str
) -> None:
    settings = make_settings(subject, first_tokens=first_tokens)
    arm = InversionArm(settings=settings, step=0.1, units=(Unit(prompt=prompt, seed=0),), read_at="N", batch=1)
    with pytest.raises(PromptError, match=message):
        measure_arm(arm, LoadedModels())


@pytest.mark.parametrize("iterations", [1, 2, 60, 1000, 10_000])
def test_a_curve_is_kept_at_the_start_the_end_and_in_between(iterations: int) -> None:
    at = curve_points(iterations)
    assert (at[0], at[-1]) == (0, iterations)
    assert list(at) == sorted(set(at))
    assert len(at) <= 50


@pytest.mark.parametrize("subject", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)], indirect=True)
def test_a_shelf_keeps_what_is_in_use_and_loads_it_once(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models, loads = LoadedModels(), list[str]()
    kind = type(find_subject(subject))
    load = kind.model

    def count(self: Any, *arguments: Any) -> Any:
        loads.append(self.id)
        return load(self, *arguments)

    monkeypatch.setattr(kind, "model", count)
    for arm in sorted(make_arms(subject).values(), key=group_of):
        models.evict_unused(arm)
        measure_arm(arm, models)
    assert len(loads) == 2  # once in float64, once in float32
    assert models.codec(subject, "float64", "cpu").weight.dtype is torch.float64


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    model = make_gpt2()
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    subject = f"local:{save(tmp_path, model)}"
    with pytest.raises(
        Exception, match=r"got NaN or infinity in transformer\.h\.1\.mlp\.c_fc\.weight, expected finite"
    ):
        measure_arm(make_arms(subject)["inversion"], LoadedModels())


def test_a_vocabulary_without_a_word_is_one_line(subject: str) -> None:
    # The tiny models' tokens are single bytes, none of which begins a word.
    with pytest.raises(SubjectError, match="got 258 tokens, none of them a word, expected"):
        measure_arm(VocabularyArm(subject=subject, source=""), LoadedModels())


def test_every_id_that_the_tokenizer_marks_as_special_is_special() -> None:
    tokenizer = find_subject("smollm2-135m").tokenizer()
    # The first 17 ids of this vocabulary are control tokens, of which the library names only three.
    assert len(set(tokenizer.all_special_ids)) == 3
    assert special_ids(tokenizer, 49152) == set(range(17))
    assert special_ids(tokenizer, 5) == set(range(5))
