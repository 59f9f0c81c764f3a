"""Whether recovery bears noise below half the margin and breaks above: rates of exact prompts, by size and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import StackSettings, Unit, describe
from engine.arms.stacks import Stack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.recovery.arm import NoiseArm, NoiseResult, NoiseRun
from engine.experiments.sampling import AssignedArm, Runs, assign_arms, collect
from engine.experiments.tables import Row, estimate_table, mean
from engine.records import Table
from engine.statistics import ONLY, Estimate, Look, geometric_ratio, proportion

HALF = 0.5
"""Noise in margins below which the nearest token cannot change. Source: the triangle inequality."""

LIMIT = 1e300
"""Stands for a rounding over a margin of zero, which has no logarithm; its inverse for no rounding at all."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One kind and size of noise. name: of its rate. words: kind and size in a table.

    right: whether the right token is the nearest [runs][positions].
    """

    name: str
    words: tuple[str, str]
    right: list[list[bool]]

    def rate(self, name: str, clusters: Sequence[int], look: Look = ONLY) -> Estimate:
        """Rate of exact prompts, clustered by model seed."""
        exact = [all(row) for row in self.right]
        return proportion(name, exact, clusters=clusters, counts="prompts", look=look)


@dataclass(frozen=True, kw_only=True)
class NoiseTolerance:
    """Add noise to the activations of prompts, and count the prompts whose every token is still the nearest.

    stacks: by name. noises: L² lengths of the noise, in margins of the position. bits: activations are rounded to so
    many, which is read as noise. first_tokens: of each prompt. For each stack it gives:
    'exact at C margins, STACK': rate of exact prompts under noise in a random direction;
    'exact at C margins toward the nearest, STACK': under noise toward the nearest other token, the worst direction;
    'exact at B bits, STACK'; and
    'largest rounding / margin, B bits, STACK': geometric mean over prompts of the largest at any position.
    """

    tag: ClassVar[str] = "NoiseTolerance"
    stacks: tuple[tuple[str, Stack], ...]
    noises: tuple[float, ...] = (0.45, 1.0, 2.0, 4.0)
    bits: tuple[int, ...] = (8, 6, 4)
    first_tokens: int = 5

    def rounds(self, trial: Trial) -> Rounds:
        def make(settings: StackSettings, units: tuple[Unit, ...]) -> NoiseArm:
            return NoiseArm(settings=settings, units=units, noises=self.noises, bits=self.bits)

        assigned: dict[str, list[AssignedArm[NoiseArm]]] = {
            name: assign_arms(trial, stack, make, first_tokens=self.first_tokens) for name, stack in self.stacks
        }
        answers = iter((yield [one.arm for arms in assigned.values() for one in arms]))
        found = {
            name: collect(arms, [next(answers) for _ in arms], NoiseResult) for name, arms in assigned.items() if arms
        }
        estimates = [estimate for name, runs in found.items() for estimate in self._estimate(trial, name, runs)]

        def draw_tables() -> tuple[Table, ...]:
            texts = {
                i: text
                for runs in found.values()
                for m in runs.measurements
                if isinstance(m.result, NoiseResult)
                for i, text in m.result.texts.items()
            }
            return (
                self._rate_table(found),
                self._rounding_table(found),
                estimate_table(estimates),
                position_table(found, self.bits, texts),
            )

        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=draw_tables if found else tuple,
            settings={
                f"{name}, {key}": value
                for name in found
                for key, value in self._describe(assigned[name][0].arm.settings).items()
            },
            measurements=tuple(m for runs in found.values() for m in runs.measurements),
        )

    def _describe(self, settings: StackSettings) -> dict[str, str]:
        words = {name: value for name, value in describe(settings).items() if name != "σ"}
        sizes = ", ".join(f"{noise:g}" for noise in self.noises)
        return words | {"noise": f"{sizes} margins", "tokens": f"the first {self.first_tokens}"}

    def _kinds(self, runs: Sequence[NoiseRun]) -> list[_Kind]:
        def compare(tokens: Sequence[tuple[int, ...]]) -> list[list[bool]]:
            pairs = zip(tokens, runs, strict=True)
            return [[a == b for a, b in zip(found, run.target, strict=True)] for found, run in pairs]

        kinds: list[_Kind] = []
        for k, noise in enumerate(self.noises):
            size, right = f"{noise:g} margins", compare([run.random[k] for run in runs])
            kinds.append(_Kind(name=f"exact at {size}", words=("random", size), right=right))
        for k, noise in enumerate(self.noises):
            size, right = f"{noise:g} margins", compare([run.toward[k] for run in runs])
            name = f"exact at {size} toward the nearest"
            kinds.append(_Kind(name=name, words=("toward the nearest", size), right=right))
        for k, bits in enumerate(self.bits):
            size, right = f"{bits} bits", compare([run.rounded[k] for run in runs])
            kinds.append(_Kind(name=f"exact at {size}", words=("rounding", size), right=right))
        return kinds

    def _estimate(self, trial: Trial, stack: str, found: Runs[NoiseRun]) -> list[Estimate]:
        runs, clusters, look = found.runs, found.clusters, trial.look
        rates = [kind.rate(f"{kind.name}, {stack}", clusters, look) for kind in self._kinds(runs)]
        for k, bits in enumerate(self.bits):
            name = f"largest rounding / margin, {bits} bits, {stack}"
            largest = [min(max(*run.rounding[k], 1 / LIMIT), LIMIT) for run in runs]
            rates.append(geometric_ratio(name, largest, [1.0] * len(runs), clusters=clusters, seed=0, look=look))
        return rates

    def _rate_table(self, found: Mapping[str, Runs[NoiseRun]]) -> Table:
        """Exact rate and share of positions that are right, by stack and noise."""
        rows: list[Row] = []
        for stack, one in found.items():
            for kind in self._kinds(one.runs):
                rate = kind.rate(kind.name, one.clusters)
                positions = mean([is_right for row in kind.right for is_right in row])
                rows.append((stack, *kind.words, rate.value, rate.low, rate.high, rate.n, positions))
        return Table(
            title="Exact prompts under noise",
            columns=("stack", "noise", "size", "exact rate", "low", "high", "prompts", "positions right"),
            rows=tuple(rows),
            note="A margin is the L² distance from a position's activations to those of the nearest other token of the "
            "whole vocabulary. Noise in a random direction and toward that token is a multiple of it at each position.",
        )

    def _rounding_table(self, found: Mapping[str, Runs[NoiseRun]]) -> Table:
        """Rounding read as noise: prompts that stay below half the margin everywhere, and the others."""
        rows: list[Row] = []
        for stack, one in found.items():
            for k, bits in enumerate(self.bits):
                largest = [max(run.rounding[k]) for run in one.runs]
                exact = [run.rounded[k] == run.target for run in one.runs]
                below = [is_exact for is_exact, most in zip(exact, largest, strict=True) if most < HALF]
                above = [is_exact for is_exact, most in zip(exact, largest, strict=True) if most >= HALF]
                rows.append((stack, bits, len(below), sum(below), len(above), sum(above), min(largest), max(largest)))
        return Table(
            title="Rounding read as noise",
            columns=(
                *("stack", "bits", "prompts below half a margin", "exact of these", "other prompts", "exact of those"),
                *("least rounding / margin", "largest rounding / margin"),
            ),
            rows=tuple(rows),
            note="Each position is rounded by its own largest number. A prompt counts by its position with the largest "
            "rounding, in margins. Below half of one, every token has to stay the nearest.",
        )


def position_table(found: Mapping[str, Runs[NoiseRun]], bits: tuple[int, ...], texts: dict[int, str]) -> Table:
    """The nearest other token at each position, its distance, and how long the rounding is in comparison."""
    rows: list[Row] = []
    for stack, one in found.items():
        for run, seed in zip(one.runs, one.clusters, strict=True):
            for t, token in enumerate(run.target):
                rows.append(
                    (
                        *(stack, seed, run.prompt, t, repr(texts[token]), repr(texts[run.runner_up[t]])),
                        *(run.margin[t], run.own_distance[t], *(row[t] for row in run.rounding)),
                    )
                )
    return Table(
        title="Margins by position",
        columns=(
            *("stack", "model seed", "prompt", "position", "token", "nearest other", "margin", "own distance"),
            *(f"rounding / margin, {n} bits" for n in bits),
        ),
        rows=tuple(rows),
        note="Distances are ‖h − h*‖₂ / ‖h*‖₂. The own token's is float noise.",
    )
