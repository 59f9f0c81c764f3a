"""Walks along vectors orthogonal to the gradient: how orthogonal these are, and how far the output moves."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from engine.statistics import Estimate, exact_value, geometric_ratio, median, paired_mean

Precision = Literal["float32", "float64"]
Walks = Mapping[str, Runs[OrthogonalRun]]

STEPS, STEP = 30, 0.01
"""Number and length of the steps: the document shows a walk after a few dozen of this length."""

SCRIPT_STEPS: dict[Precision, tuple[int, float]] = {"float32": (15, 1.0), "float64": (1, 0.1)}
"""Number and length of the steps in the author's scripts."""

SPECTRA = 4
"""Runs of each walk whose singular values are all listed."""

SMALLEST = 2.0**-126
"""The smallest normal float32. It stands for a relative product of zero, which has no logarithm."""


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalk:
    """Walks on one stack in one precision."""

    tag: ClassVar[str] = "OrthogonalWalk"
    stack: AnyStack
    dtype: Precision = "float32"
    vectors: Literal["broadcast", "per token"] = "broadcast"
    direction: Literal["last", "null", "random"] = "last"


NET = OrthogonalWalk(stack=TokenNet())
ONE = OrthogonalWalk(stack=Stack(blocks=1))
ALL = OrthogonalWalk(stack=Stack(blocks=DEEP))
DEEP_EXACT = replace(ALL, dtype="float64")
OTHER_DIRECTIONS: tuple[Literal["null", "random"], ...] = ("null", "random")
"""Beside the last right-singular vector, which lies almost along one coordinate: that inflates ratios in L¹."""


@dataclass(frozen=True, kw_only=True)
class Orthogonality:
    """How far the last right-singular vector is from orthogonal to the gradient: net, one block, and the deep stack.

    Estimates paired differences of log₁₀ |g·v| at the start, in float32: 'log₁₀ |g·v|, 1 block − net' and 'log₁₀ |g·v|,
    12 blocks − 1 block', and the same of |g·v| / (‖g‖‖v‖), whose size does not depend on that of g: 'log₁₀ relative, 1
    block − net' and 'log₁₀ relative, 12 blocks − 1 block'. 'worst relative, float64' is over all stacks, prompts and
    steps.
    'product, …' are medians of a prompt's largest |g·v| over tokens: of each stack, and of the deep one in float64.
    """

    tag: ClassVar[str] = "Orthogonality"

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        named = {"net": NET, "1 block": ONE, "12 blocks": ALL}
        exact = {f"{name}, float64": replace(walk, dtype="float64") for name, walk in named.items()}
        walks = yield from _run_walks(trial, named | exact)

        estimates: list[Estimate] = []
        for more, less in (("1 block", "net"), ("12 blocks", "1 block")):
            for word, read in (("|g·v|", lambda run: run.product), ("relative", lambda run: run.relative)):
                logs = [[math.log10(max(read(run), SMALLEST)) for run in walks[name].runs] for name in (more, less)]
                estimates.append(
                    paired_mean(
                        f"log₁₀ {word}, {more} − {less}",
                        [a - b for a, b in zip(*logs, strict=True)],
                        bounds=None,
                        clusters=list(zip(walks[more].clusters, walks[less].clusters, strict=True)),
                        seed=0,
                        look=trial.look,
                    )
                )

        # A product that is not finite is not orthogonal.
        found = [run.worst_relative for name in exact for run in walks[name].runs]
        worst = max(math.inf if math.isnan(value) else value for value in found)
        estimates.append(exact_value("worst relative, float64", worst, len(found), counts="walks"))

        for name in ("net", "1 block", "12 blocks", "12 blocks, float64"):
            products = [run.product for run in walks[name].runs]
            estimates.append(median(f"product, {name}", products, clusters=walks[name].clusters, look=trial.look))
        return _make_evidence(trial, walks, estimates)


@dataclass(frozen=True, kw_only=True)
class OrthogonalDrift:
    """How far the output moves relative to the input, d_o / d_i, along orthogonal walks.

    Estimates the median 'd_o / d_i, …' of the net at d = 10, 50, 200 and 768, GPT-2's, and of 12 blocks in float64, in
    L¹, and in L² as 'd_o / d_i in L², …'; 'P(d_o < d_i), d = 50 − d = 200', paired; and 'broadcast / per token, …' of
    the net and of 12 blocks: the geometric mean of d_o / d_i with one vector for all tokens over that with one for each
    token. Those are along the last right-singular vector. Along a vector drawn in the null space, and along a random
    one, there are 'd_o / d_i, STACK, null' and '…, random', in L¹ and L², and 'null / random, STACK', the geometric
    mean in L², which says what orthogonality buys.
    'recovery, …' and 'repetition, end − start, …' are of the text that the walks end in.
    """

    tag: ClassVar[str] = "OrthogonalDrift"
    sizes: tuple[int, ...] = (10, 50, 200, 768)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        sized = {f"net at d = {d}": OrthogonalWalk(stack=TokenNet(d_model=d)) for d in self.sizes}
        named = {
            "net": NET,
            "net, per token": replace(NET, vectors="per token"),
            **sized,
            "12 blocks": ALL,
            "12 blocks, per token": replace(ALL, vectors="per token"),
            "12 blocks, float64": DEEP_EXACT,
            **{
                f"{name}, {direction}": replace(walk, direction=direction)
                for name, walk in (("net", NET), ("12 blocks, float64", DEEP_EXACT))
                for direction in OTHER_DIRECTIONS
            },
        }
        walks = yield from _run_walks(trial, named)

        estimates: list[Estimate] = []
        drawn = [f"{name}, {d}" for name in ("net", "12 blocks, float64") for d in OTHER_DIRECTIONS]
        for name in ("net", *sized, "12 blocks, float64", *drawn):
            runs, clusters = walks[name].runs, walks[name].clusters
            for word, drifts in (("", [run.drift for run in runs]), (" in L²", [run.drift_l2 for run in runs])):
                estimates.append(median(f"d_o / d_i{word}, {name}", drifts, clusters=clusters, look=trial.look))
        for name in ("net", "12 blocks, float64"):
            null, random = walks[f"{name}, null"], walks[f"{name}, random"]
            estimates.append(
                geometric_ratio(
                    f"null / random, {name}",
                    [_clip(run.drift_l2) for run in null.runs],
                    [_clip(run.drift_l2) for run in random.runs],
                    clusters=null.clusters,
                    seed=0,
                    look=trial.look,
                )
            )
            read = [(run, seed) for run, seed in zip(walks[name].runs, walks[name].clusters, strict=True)]
            read = [(run, seed) for run, seed in read if not math.isnan(run.recovery)]
            seeds = [seed for _, seed in read]
            for word, bounds, values in (
                (f"recovery, {name}", (0, 1), [run.recovery for run, _ in read]),
                (f"repetition, end − start, {name}", (-1, 1), [run.repeated for run, _ in read]),
            ):
                estimates.append(
                    paired_mean(word, values, bounds=bounds, clusters=seeds, seed=0, counts="walks", look=trial.look)
                )

        small, large = walks["net at d = 50"], walks["net at d = 200"]
        estimates.append(
            paired_mean(
                "P(d_o < d_i), d = 50 − d = 200",
                [float(a.drift < 1) - float(b.drift < 1) for a, b in zip(small.runs, large.runs, strict=True)],
                bounds=(-1, 1),
                clusters=list(zip(small.clusters, large.clusters, strict=True)),
                seed=0,
                look=trial.look,
            )
        )

        for name in ("net", "12 blocks"):
            broadcast, per_token = (
                [_clip(run.drift) for run in walks[walk].runs] for walk in (name, f"{name}, per token")
            )
            estimates.append(
                geometric_ratio(
                    f"broadcast / per token, {name}",
                    broadcast,
                    per_token,
                    clusters=walks[name].clusters,
                    seed=0,
                    look=trial.look,
                )
            )
        return _make_evidence(trial, walks, estimates)


def _clip(drift: float) -> float:
    """A ratio needs numbers that are positive and finite."""
    return min(max(drift, sys.float_info.min), sys.float_info.max)


def _run_walks(
    trial: Trial, walks: Mapping[str, OrthogonalWalk]
) -> Generator[Sequence[Arm], Sequence[Measurement], Walks]:
    """Every walk from every unit, in one round."""
    tasks = [_run_walk(trial, walk) for walk in walks.values()]
    return dict(zip(walks, (yield from run_together(*tasks)), strict=True))


def _run_walk(
    trial: Trial, walk: OrthogonalWalk
) -> Generator[Sequence[Arm], Sequence[Measurement], Runs[OrthogonalRun]]:
    steps, step = SCRIPT_STEPS[walk.dtype] if trial.protocol == SCRIPT else (STEPS, STEP)

    def make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> OrthogonalWalkArm:
        return OrthogonalWalkArm(
            settings=settings,
            units=units,
            steps=steps,
            step=step,
            vectors=walk.vectors,
            direction=walk.direction,
            full=True,
        )

    assigned = assign_arms(trial, walk.stack, make_arm, dtype=walk.dtype)
    measurements = yield [each.arm for each in assigned]
    return collect(assigned, measurements, OrthogonalWalkResult)


def _make_evidence(trial: Trial, walks: Walks, estimates: Sequence[Estimate]) -> Evidence:
    steps = " / ".join(f"{n} of {step:g}" for n, step in SCRIPT_STEPS.values())
    return Evidence(
        estimates=Evidence.named(*estimates),
        make_tables=lambda: _tables(walks, estimates),
        settings={
            "steps": steps + " in float32 / float64" if trial.protocol == SCRIPT else f"{STEPS} of {STEP:g}",
            "positions": trial.protocol.positions,
            "device": trial.device,
        },
        measurements=tuple(m for runs in walks.values() for m in runs.measurements),
    )


def _tables(walks: Walks, estimates: Sequence[Estimate]) -> tuple[Table, ...]:
    named = [
        (name, run, seed) for name, runs in walks.items() for run, seed in zip(runs.runs, runs.clusters, strict=True)
    ]
    return (
        estimate_table(
            estimates,
            note="The document has products of about 1e-8 for the net, 1e-3 for one block, 1e-2 for the deep model, "
            "1e-17 in float64.",
        ),
        Table(
            title="Walks",
            columns=(
                *("walk", "model seed", "prompt", "|g·v|", "relative", "worst relative", "‖e − e_N‖₁", "‖ΔO‖₁"),
                *("d_o / d_i", "d_o / d_i in L²", "recovery", "share of ‖ΔO‖₂² held still", "free output directions"),
            ),
            rows=tuple(
                (
                    *(name, seed, run.prompt, run.product, run.relative, run.worst_relative, run.input_distance),
                    *(run.output_distance, run.drift, run.drift_l2, run.recovery, run.constrained, run.free),
                )
                for name, run, seed in named
            ),
            note="The walk holds the sum of the outputs still, in a per-token net that of each token. All other "
            "directions are free.",
            kind="orthogonal",
        ),
        # The condition of every first gradient, and all singular values of a few.
        Table(
            title="Singular values of the first gradient",
            columns=("walk", "prompt", "largest", "smallest", "largest / smallest"),
            rows=tuple(
                (name, run.prompt, big, small, big / small if small > 0 else math.inf)
                for name, run, _ in named
                for big, small in [(run.singular[0], run.singular[-1])]
            ),
        ),
        Table(
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
        ),
        Table(
            title="Decoded before and after",
            columns=("walk", "before", "after"),
            rows=tuple((name, *run.decoded) for name, run, _ in named if any(run.decoded)),
        ),
    )
