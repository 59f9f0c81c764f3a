"""The engine's inversions beside the most literal reading of the catalogue: one prompt, one seed, no batching.

The literal side knows nothing of the engine's stacks, distances or loop: it calls a model's blocks one after the
other, makes all logits, and decodes with torch's own pseudo-inverse. It shares the noise and the tokenizer alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.arms.protocol import CONTROLLED, PAGE, SCRIPT, Protocol
from engine.arms.settings import DescentSettings, Metric, Unit
from engine.arms.stacks import Stack, TokenNet
from engine.experiments.inputs import make_generator
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, NextTokens
from engine.experiments.measure_arm import measure_arm
from engine.methods.distances import DistanceToTarget
from engine.models import find_subject
from engine.models.loaded import LoadedModels
from engine.models.subject import use_torch_parts
from engine.tests.tiny_models import make_gpt2, make_llama, save

STEPS, TRAJECTORY = 1e-8, 1e-9
"""Relative, in float64: of thirty steps, and of a gradient at one and the same point. Thirty steps of sums of some
thousand terms keep ten of sixteen digits; a single gradient keeps thirteen."""

UNITS = (Unit(prompt="The sky", seed=0), Unit(prompt="A cat sleeps", seed=1))
N = 30


@pytest.fixture(name="subject", scope="module", params=["gpt2", "llama"])
def provide_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_gpt2(initializer_range=0.3) if request.param == "gpt2" else make_llama(initializer_range=0.3)
    return f"local:{save(tmp_path_factory.mktemp(request.param), model)}"


@dataclass(frozen=True, kw_only=True)
class Literal:
    """One prompt on one model, by hand. ids: [n]."""

    model: Any
    ids: list[int]
    settings: DescentSettings

    @property
    def weight(self) -> Tensor:
        return self.model.get_input_embeddings().weight.detach()

    def positions(self, *, true: bool) -> Tensor:
        n = len(self.ids)
        if self.model.config.model_type != "gpt2" or isinstance(self.settings.stack, TokenNet):
            return torch.zeros(n, self.weight.shape[1], dtype=self.weight.dtype)
        learned = self.model.transformer.wpe.weight.detach()
        return learned[:n] if true else learned[:1].expand(n, -1)

    def target(self) -> Tensor:
        return self.weight[self.ids] + self.positions(true=self.settings.protocol.positions == "true")

    def run_blocks(self, e: Tensor, stack: Stack, *, true: bool) -> Tensor:
        """The first blocks by hand, causal, with the head where there is one: [n, d] → [n, outputs]."""
        n, x = len(e), e[None]
        mask = torch.full((n, n), float("-inf"), dtype=e.dtype).triu(1)[None, None]
        assert isinstance(stack.blocks, int)
        if self.model.config.model_type == "gpt2":
            for block in self.model.transformer.h[: stack.blocks]:
                x = block(x, attention_mask=mask)
            x = self.model.transformer.ln_f(x) if stack.final_norm else x
        else:
            at = torch.arange(n)[None] if true else torch.zeros(1, n, dtype=torch.long)
            rotary = self.model.model.rotary_emb(x, at)
            for block in self.model.model.layers[: stack.blocks]:
                x = block(x, attention_mask=mask, position_embeddings=rotary)
            x = self.model.model.norm(x) if stack.final_norm else x
        return (self.model.lm_head(x) if stack.head else x)[0]

    def output(self, e: Tensor) -> Tensor:
        stack = self.settings.stack
        if isinstance(stack, TokenNet):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stack.seed)
                d = e.shape[1]
                net = torch.nn.Sequential(torch.nn.Linear(d, 4 * d), torch.nn.GELU(), torch.nn.Linear(4 * d, d))
            return net.to(e.dtype).requires_grad_(False)(e)
        assert isinstance(stack, Stack)
        return self.run_blocks(e, stack, true=self.settings.protocol.positions == "true")

    def start(self, unit: Unit) -> Tensor:
        e, protocol = self.target(), self.settings.protocol
        std = e.std() if protocol.start_std is None else protocol.start_std
        noise = torch.randn(e.shape, generator=make_generator("start", unit.seed)).to(e.dtype)
        s, t = self.settings.blend
        return s * (protocol.start_mean + std * noise) + t * e

    def distance(self, e: Tensor, metric: Metric) -> Tensor:
        difference = self.output(e) - self.output(self.target()).detach()
        return difference.abs().sum() if metric == "l1" else difference.square().sum().sqrt()

    def gradient(self, e: Tensor) -> Tensor:
        e = e.detach().requires_grad_(True)
        return torch.autograd.grad(self.distance(e, self.settings.metric), e)[0]

    def descend(self, unit: Unit, step: float, until: float = 0.0) -> tuple[list[Tensor], list[float]]:
        """Every e_n, and its L¹ distance, up to the first below a part of that at the start."""
        e, total = self.start(unit), self.settings.iterations
        points, distances = [e], [float(self.distance(e, "l1"))]
        for n in range(total):
            rate = step * (1 - 0.9 * n / total) * self.settings.protocol.loss_scale
            e = (e - rate * self.gradient(e)).detach()
            points.append(e)
            distances.append(float(self.distance(e, "l1")))
            if distances[-1] < until * distances[0]:
                break
        return points, distances

    def decode(self, e: Tensor, k: int = 1) -> Tensor:
        plain = e - self.positions(true=self.settings.protocol.positions == "true")
        return (plain @ torch.linalg.pinv(self.weight)).topk(k, dim=-1).indices


def pose(subject: str, unit: Unit, settings: DescentSettings) -> Literal:
    found = find_subject(subject)
    model = found.model(getattr(torch, settings.dtype))
    return Literal(model=model, ids=found.tokenizer()(unit.prompt).input_ids, settings=settings)


def make_settings(subject: str, **changes: Any) -> DescentSettings:
    source = find_subject(subject).fingerprint()
    plain = DescentSettings(
        subject=subject, source=source, stack=Stack(blocks=1), protocol=CONTROLLED, iterations=N, dtype="float64"
    )
    return replace(plain, **changes)


HEAD = Stack(blocks=1, head=True)
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "page, head": ({"protocol": PAGE, "stack": HEAD}, 1e-4),
    "script, no head": ({"protocol": SCRIPT}, 0.01),
    "controlled, 2 blocks": ({"stack": Stack(blocks=2)}, 0.01),
    "controlled, head, L²": ({"stack": HEAD, "metric": "l2"}, 0.01),
    "controlled, beside the target": ({"stack": HEAD, "blend": (0.001, 0.999)}, 1e-5),
    "controlled, noise and target": ({"stack": HEAD, "blend": (1.0, 1.0)}, 1e-4),
    "page, per-token net": ({"protocol": PAGE, "stack": TokenNet(seed=3)}, 0.01),
}


def run_engine(settings: DescentSettings, step: float, probe: Stack | None = None) -> tuple[InversionRun, ...]:
    arm = InversionArm(
        settings=settings, step=step, units=UNITS, read_at="N", batch=36, snapshots=(0, 10, N), probe=probe
    )
    result = measure_arm(arm, LoadedModels())
    assert isinstance(result, InversionResult)
    return result.runs


@pytest.mark.parametrize(("changes", "step"), CASES.values(), ids=CASES)
def test_thirty_steps_equal_the_literal_ones(subject: str, changes: dict[str, Any], step: float) -> None:
    settings = make_settings(subject, **changes)
    for unit, run in zip(UNITS, run_engine(settings, step), strict=True):
        literal = pose(subject, unit, settings)
        points, distances = literal.descend(unit, step)
        assert run.start_distance == pytest.approx(distances[0], rel=STEPS)
        assert run.final_distance == pytest.approx(distances[N], rel=STEPS)
        assert run.final_l2 == pytest.approx(float((points[N] - literal.target()).norm()), rel=STEPS)
        for snapshot in run.snapshots:
            assert snapshot.distance == pytest.approx(distances[snapshot.iteration], rel=STEPS)
            assert [list(top) for top in snapshot.top] == literal.decode(points[snapshot.iteration], 5).tolist()
        assert [list(top) for top in run.target_top] == literal.decode(literal.target(), 5).tolist()
        right = literal.decode(points[N])[:, 0] == torch.tensor(literal.ids)
        assert run.recovery == float(right.double().mean())


@pytest.mark.parametrize(("changes", "step"), CASES.values(), ids=CASES)
def test_gradients_agree_along_one_trajectory(subject: str, changes: dict[str, Any], step: float) -> None:
    settings = make_settings(subject, **changes)
    literal, stack = pose(subject, UNITS[0], settings), LoadedModels().stack(settings)
    target, n = literal.target()[None], len(literal.ids)
    distance = DistanceToTarget(stack(target).detach(), torch.ones(1, n, dtype=torch.bool), stack.head)
    for point in literal.descend(UNITS[0], step)[0][::5]:
        e = point[None].clone().requires_grad_(True)
        (ours,) = torch.autograd.grad(distance.measure(settings.metric, stack(e)).sum(), e)
        theirs = literal.gradient(point)
        assert float((ours[0] - theirs).norm()) <= TRAJECTORY * float(theirs.norm())


@pytest.mark.parametrize("protocol", [PAGE, CONTROLLED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("probe", [HEAD, Stack(blocks=2, head=True, final_norm=True)], ids=["own stack", "whole model"])
def test_the_probes_next_tokens_are_the_literal_ones(subject: str, probe: Stack, protocol: Protocol) -> None:
    settings = make_settings(subject, protocol=protocol, stack=HEAD)
    true = probe.final_norm or protocol.positions == "true"
    for unit, run in zip(UNITS, run_engine(settings, 1e-4, probe), strict=True):
        literal = pose(subject, unit, settings)
        points, _ = literal.descend(unit, 1e-4)
        own = literal.positions(true=protocol.positions == "true")
        target, final = literal.target(), points[N]
        noise = torch.randn(
            target.shape, generator=make_generator("equal shift", f"{unit.prompt}:{unit.seed}")
        ).double()
        shifted = target + noise * (final - target).norm() / noise.norm()
        decoded = literal.weight[literal.decode(final)[:, 0]] + own

        def say(e: Tensor) -> int:
            placed = e - own + literal.positions(true=true)  # noqa: B023 - called in this round alone
            return int(literal.run_blocks(placed, probe, true=true)[-1].argmax())  # noqa: B023 - as above

        assert run.next_tokens == NextTokens(
            target=say(target), start=say(points[0]), final=say(final), decoded=say(decoded), shifted=say(shifted)
        )


@pytest.mark.parametrize("subject", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)], indirect=True)
def test_median_hits_of_36_units_agree_in_float32(subject: str) -> None:
    # Hit for hit a batch and single runs part: descent on the L¹ distance amplifies rounding.
    prompts = ("The sky", "A cat sleeps", "sun and sea", "ab ab ab")
    units = tuple(Unit(prompt=prompts[i % 4], seed=i) for i in range(36))
    settings = make_settings(subject, iterations=150, dtype="float32")
    result = measure_arm(
        InversionArm(settings=settings, step=0.02, units=units, read_at="hit", batch=36), LoadedModels()
    )
    assert isinstance(result, InversionResult)
    ours = [150 if run.hit is None else run.hit for run in result.runs]
    theirs: list[int] = []
    for unit in units:
        distances = pose(subject, unit, settings).descend(unit, 0.02, until=0.3)[1]
        theirs.append(len(distances) - 1)
    assert 5 < median(theirs) < 150, theirs
    assert median(ours) == pytest.approx(median(theirs), rel=0.1)


def test_gpt2s_gelu_is_one_operation_and_the_same_function() -> None:
    model = make_gpt2()
    spelled_out: Any = model.transformer.h[0].mlp.act
    ours: Any = use_torch_parts(model).transformer.h[0].mlp.act
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    assert type(ours) is not type(spelled_out)
    torch.testing.assert_close(ours(x), spelled_out(x), rtol=1e-13, atol=1e-15)


def test_a_llama_norm_in_float64_keeps_float64s_digits() -> None:
    model = use_torch_parts(make_llama(initializer_range=0.3).double()).requires_grad_(False)
    norm: Any = model.model.layers[0].input_layernorm
    x = torch.randn(4, 8, generator=make_generator("norm", 1), dtype=torch.float64)
    exact = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    # Some twenty operations of 1e-16 each; float32 inside would leave 1e-7.
    assert float((norm(x) - exact).abs().max()) <= 1e-14
