"""Walks along vectors orthogonal to the gradient: how orthogonal these are, and what the output makes of the walk."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import SCRIPT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack, Stack, TokenNet
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.orthogonal_walk.arm import OrthogonalRun, OrthogonalWalkArm, OrthogonalWalkResult
from engine.experiments.sampling import DEEP, Runs, assign_arms, collect, run_together
from engine.experiments.tables import estimate_table
from engine.records import Table
from engine.statistics import Estimate, Look, geometric_ratio, median, paired_mean

Precision = Literal["float32", "float64"]
Walks = Mapping[str, Runs[OrthogonalRun]]

STEPS, STEP = 30, 0.01
"""The document's step, and the few dozen iterations after which it shows a walk."""

SCRIPT_STEPS: dict[Precision, tuple[int, float]] = {"float32": (15, 1.0), "float64": (1, 0.1)}
"""Number and length of the steps in the author's scripts."""

SPECTRA = 4
"""Runs of a walk whose singular values are kept one by one."""

SMALLEST = 2.0**-126
"""The least normal float32: stands for a relative product of zero, so that it has a logarithm."""


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalk:
    """Walks on one stack in one precision."""

    tag: ClassVar[str] = "OrthogonalWalk"
    stack: AnyStack
    dtype: Precision = "float32"
    vectors: Literal["broadcast", "per token"] = "broadcast"


NET = OrthogonalWalk(stack=TokenNet())
NET64 = OrthogonalWalk(stack=TokenNet(), dtype="float64")
ONE = OrthogonalWalk(stack=Stack(blocks=1))
ONE64 = OrthogonalWalk(stack=Stack(blocks=1), dtype="float64")
ALL = OrthogonalWalk(stack=Stack(blocks=DEEP))
ALL64 = OrthogonalWalk(stack=Stack(blocks=DEEP), dtype="float64")


def draw_walks(
    trial: Trial, walk: OrthogonalWalk
) -> Generator[Sequence[Arm], Sequence[Measurement], Runs[OrthogonalRun]]:
    """A walk from every unit."""
    steps, step = SCRIPT_STEPS[walk.dtype] if trial.protocol == SCRIPT else (STEPS, STEP)

    def make(settings: StackSettings, units: tuple[Unit, ...]) -> OrthogonalWalkArm:
        return OrthogonalWalkArm(settings=settings, units=units, steps=steps, step=step, vectors=walk.vectors)

    assigned = assign_arms(trial, walk.stack, make, dtype=walk.dtype)
    measurements = yield [dealt.arm for dealt in assigned]
    return collect(assigned, measurements, OrthogonalWalkResult)


@dataclass(frozen=True, kw_only=True)
class Orthogonality:
    """How far the last right-singular vector is from orthogonal to the gradient: net, one block, and the deep stack.

    Gives paired differences of log₁₀ |g·v| / (‖g‖‖v‖) at the start, in float32: 'log₁₀ relative, 1 block − net' and
    'log₁₀ relative, 12 blocks − 1 block'. 'worst relative, float64' is over all stacks, prompts and steps.
    'product, …' are medians of the largest |g·v| of a prompt's tokens: of each stack, and of the deep one in float64.
    """

    tag: ClassVar[str] = "Orthogonality"

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        named = {
            "net": NET,
            "1 block": ONE,
            "12 blocks": ALL,
            "net, float64": NET64,
            "1 block, float64": ONE64,
            "12 blocks, float64": ALL64,
        }
        drawn = yield from run_together(*(draw_walks(trial, walk) for walk in named.values()))
        walks = dict(zip(named, drawn, strict=True))
        products = ("net", "1 block", "12 blocks", "12 blocks, float64")
        estimates = [
            _contrast("log₁₀ relative, 1 block − net", walks["1 block"], walks["net"], trial.look),
            _contrast("log₁₀ relative, 12 blocks − 1 block", walks["12 blocks"], walks["1 block"], trial.look),
            _worst("worst relative, float64", [walks[name] for name in walks if name.endswith("float64")]),
            *(_median(f"product, {name}", walks[name], lambda run: run.product, trial.look) for name in products),
        ]
        return _gather(trial, walks, estimates)


@dataclass(frozen=True, kw_only=True)
class OrthogonalDrift:
    """How far the output moves for each unit that the input moves, d_o / d_i, along orthogonal walks.

    Gives the median 'd_o / d_i, …' of the net at the subject's d, at 10, 50 and 200, and of 12 blocks in float64;
    'P(d_o < d_i), d = 50 − d = 200', paired; and geometric means of the ratio of one broadcast vector to one for each
    token, 'broadcast / per token, …', of the net and of 12 blocks.
    """

    tag: ClassVar[str] = "OrthogonalDrift"
    sizes: tuple[int, ...] = (10, 50, 200)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        named = {
            "net": NET,
            "net, per token": OrthogonalWalk(stack=TokenNet(), vectors="per token"),
            **{f"net at d = {d}": OrthogonalWalk(stack=TokenNet(d_model=d)) for d in self.sizes},
            "12 blocks": ALL,
            "12 blocks, per token": OrthogonalWalk(stack=ALL.stack, vectors="per token"),
            "12 blocks, float64": ALL64,
        }
        drawn = yield from run_together(*(draw_walks(trial, walk) for walk in named.values()))
        walks = dict(zip(named, drawn, strict=True))
        medians = ("net", *(f"net at d = {d}" for d in self.sizes), "12 blocks, float64")
        estimates = [
            *(_median(f"d_o / d_i, {name}", walks[name], drift_of, trial.look) for name in medians),
            _closer("P(d_o < d_i), d = 50 − d = 200", walks["net at d = 50"], walks["net at d = 200"], trial.look),
            *(
                geometric_ratio(
                    f"broadcast / per token, {name}",
                    [_finite(drift_of(run)) for run in walks[name].runs],
                    [_finite(drift_of(run)) for run in walks[f"{name}, per token"].runs],
                    clusters=walks[name].clusters,
                    seed=0,
                    look=trial.look,
                )
                for name in ("net", "12 blocks")
            ),
        ]
        return _gather(trial, walks, estimates)


def drift_of(run: OrthogonalRun) -> float:
    """d_o / d_i; infinite where the walk left what numbers can hold."""
    ratio = run.output_distance / run.input_distance if run.input_distance > 0 else math.nan
    return math.inf if math.isnan(ratio) else ratio


def _finite(ratio: float) -> float:
    return min(max(ratio, sys.float_info.min), sys.float_info.max)


def _contrast(name: str, more: Runs[OrthogonalRun], less: Runs[OrthogonalRun], look: Look) -> Estimate:
    pairs = zip(more.runs, less.runs, strict=True)
    differences = [_log(a.relative) - _log(b.relative) for a, b in pairs]
    clusters = list(zip(more.clusters, less.clusters, strict=True))
    return paired_mean(name, differences, bounds=None, clusters=clusters, seed=0, look=look)


def _log(relative: float) -> float:
    return math.log10(max(relative, SMALLEST))


def _closer(name: str, more: Runs[OrthogonalRun], less: Runs[OrthogonalRun], look: Look) -> Estimate:
    below = [float(drift_of(a) < 1) - float(drift_of(b) < 1) for a, b in zip(more.runs, less.runs, strict=True)]
    clusters = list(zip(more.clusters, less.clusters, strict=True))
    return paired_mean(name, below, bounds=(-1, 1), clusters=clusters, seed=0, look=look)


def _worst(name: str, several: Sequence[Runs[OrthogonalRun]]) -> Estimate:
    found = [run.worst_relative for runs in several for run in runs.runs]
    # What is not finite is not orthogonal.
    worst = max(math.inf if math.isnan(value) else value for value in found)
    return Estimate(
        name=name, value=worst, low=worst, high=worst, n=len(found), counts="walks", method="exact", scale="exact"
    )


def _median(name: str, runs: Runs[OrthogonalRun], value: Callable[[OrthogonalRun], float], look: Look) -> Estimate:
    return median(name, [value(run) for run in runs.runs], clusters=runs.clusters, look=look)


def _gather(trial: Trial, walks: Walks, estimates: Sequence[Estimate]) -> Evidence:
    steps = " / ".join(f"{n} of {step:g}" for n, step in SCRIPT_STEPS.values())
    return Evidence(
        estimates=Evidence.named(*estimates),
        draw=lambda: (
            estimate_table(
                estimates,
                note="The document has products of about 1e-8 for the net, 1e-3 for one block, 1e-2 for the deep "
                "model, 1e-17 in float64.",
            ),
            _walk_table(walks),
            *_singular_tables(walks),
            _decoded_table(walks),
        ),
        settings={
            "steps": steps + " in float32 / float64" if trial.protocol == SCRIPT else f"{STEPS} of {STEP:g}",
            "positions": trial.protocol.positions,
            "device": trial.device,
        },
        measurements=tuple(m for runs in walks.values() for m in runs.measurements),
    )


def _walk_table(walks: Walks) -> Table:
    return Table(
        title="Walks",
        columns=(
            *("walk", "model seed", "prompt", "|g·v|", "relative", "worst relative", "‖e − e_N‖₁", "‖ΔO‖₁"),
            *("d_o / d_i", "share of ‖ΔO‖₂² held still", "free output directions"),
        ),
        rows=tuple(
            (
                *(name, seed, run.prompt, run.product, run.relative, run.worst_relative, run.input_distance),
                *(run.output_distance, drift_of(run), run.constrained, run.free),
            )
            for name, runs in walks.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="What the walk holds still is the sum of the outputs, in a per-token net that of each token; every other "
        "direction is free.",
        kind="orthogonal",
    )


def _singular_tables(walks: Walks) -> tuple[Table, Table]:
    """The condition of every first gradient, and all singular values of a few."""
    ends = Table(
        title="Singular values of the first gradient",
        columns=("walk", "prompt", "largest", "smallest", "largest / smallest"),
        rows=tuple(
            (name, run.prompt, big, small, big / small if small > 0 else math.inf)
            for name, runs in walks.items()
            for run in runs.runs
            for big, small in [(run.singular[0], run.singular[-1])]
        ),
    )
    spectra = Table(
        title="All singular values of a few first gradients",
        columns=("walk", "run", "index", "singular value"),
        rows=tuple(
            (name, number, index, value)
            for name, runs in walks.items()
            for number, run in enumerate(runs.runs[:SPECTRA], 1)
            for index, value in enumerate(run.singular, 1)
        ),
        note=f"The first {SPECTRA} units of each walk.",
        kind="singular",
    )
    return ends, spectra


def _decoded_table(walks: Walks) -> Table:
    return Table(
        title="Decoded before and after",
        columns=("walk", "before", "after"),
        rows=tuple((name, *run.decoded) for name, runs in walks.items() for run in runs.runs if any(run.decoded)),
    )
