"""Arms and results of recovery from activations, of margins to other tokens, and of noise. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.arm import CHECK_UNITS, Arm, GpuCheck, GpuCheckTarget, Result
from engine.arms.costs import TOKENS, Cost, CostModel, count_bytes
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import ADDED_LATER, DescentSettings, Method, Observed, StackSettings, Unit
from engine.arms.stacks import Stack, describe_stack
from engine.records import Number

GUESSES, CHECKS = 2, 1000
"""Guesses and checks assumed for each token where candidates are checked: most tokens need one and 32."""

LATER_STARTS = 4
"""Descents behind each guess after the first; the one that ends closest to the activations is taken."""


@dataclass(frozen=True, kw_only=True)
class TokenFound:
    """The result at one position of one prompt.

    token: None if no token of the vocabulary matched. same: number of other tokens with equal activations, among those
    checked; named: the first of them. checks: candidates that went through the stack. guesses: descents whose ends
    candidates were taken from. distance: of the token's activations from those observed; NaN without a check or a
    match. runner_up: the smallest distance of a checked candidate that did not match; infinite without one.
    """

    token: int | None
    same: int
    named: tuple[int, ...]
    checks: int
    guesses: int
    distance: Number
    runner_up: Number


@dataclass(frozen=True, kw_only=True)
class RecoveryRun:
    """One prompt, and what was found from its activations.

    found: by position, up to the first without a match. ceiling: share of positions whose own embedding the
    pseudo-inverse decodes back. equal_rows: positions whose token shares its row of W with another.
    """

    prompt: str
    seed: int
    target: tuple[int, ...]
    found: tuple[TokenFound, ...]
    ceiling: Number
    equal_rows: tuple[int, ...] = ()

    @property
    def recovery(self) -> float:
        """Share of positions at which the target was found, and no other token with equal activations."""
        pairs = zip(self.found, self.target, strict=False)
        return sum(one.token == i and not one.same for one, i in pairs) / len(self.target)

    @property
    def exact(self) -> bool:
        return self.recovery == 1.0

    @property
    def determined(self) -> bool:
        """Whether exactly one of the checked tokens matched at every position."""
        return len(self.found) == len(self.target) and all(f.token is not None and not f.same for f in self.found)


@dataclass(frozen=True, kw_only=True)
class RecoveryResult(Result):
    """Runs in the arm's order.

    noise: by position, the largest measured distance between activations of equal inputs. epsilon: the distance up to
    which activations count as equal. epsilons: the same by position where it differs; epsilon is then the largest.
    equal_rows: groups of tokens with equal rows of W. texts: the text of every token that a run names.
    """

    runs: tuple[RecoveryRun, ...]
    vocab: int
    noise: tuple[Number, ...]
    epsilon: Number
    epsilons: tuple[Number, ...] = field(default=(), metadata=ADDED_LATER)
    equal_rows: tuple[tuple[int, ...], ...]
    texts: dict[int, str]
    kind: Literal["recovery"] = "recovery"


@dataclass(frozen=True, kw_only=True)
class MarginRun:
    """One position of one prompt, compared with the whole vocabulary. Distances are an `ActivationDistance`'s.

    token, own_distance: the prompt's own token. runner_up: the other token with the nearest activations, without those
    of an equal row of W. same: number of other tokens within epsilon, including those of an equal row of W.
    """

    prompt: str
    seed: int
    position: int
    token: int
    own_distance: Number
    runner_up: int
    runner_up_distance: Number
    same: int


@dataclass(frozen=True, kw_only=True)
class MarginResult(Result):
    """Runs in the arm's order. vocab: tokens compared at each position. noise, epsilon, epsilons: as in a recovery."""

    runs: tuple[MarginRun, ...]
    vocab: int
    noise: tuple[Number, ...]
    epsilon: Number
    epsilons: tuple[Number, ...] = field(default=(), metadata=ADDED_LATER)
    texts: dict[int, str]
    kind: Literal["margin"] = "margin"

    def epsilon_at(self, position: int) -> float:
        return self.epsilons[position] if self.epsilons else self.epsilon


@dataclass(frozen=True, kw_only=True)
class NoiseRun:
    """One prompt, and the token whose activations are nearest once noise is added, at each position.

    margin: L² distance of the nearest other token's activations, over the length of the prompt's own. runner_up: that
    token. own_distance: of the own token's activations, as margin. Tokens of an equal row of W are left out of both.
    random, toward: tokens found under noise in a random direction, and toward the runner-up: [noises][positions].
    rounded: tokens found where activations are rounded. rounding: L² length of what that changes, over the margin:
    [bits][positions].
    """

    prompt: str
    seed: int
    target: tuple[int, ...]
    margin: tuple[Number, ...]
    runner_up: tuple[int, ...]
    own_distance: tuple[Number, ...]
    random: tuple[tuple[int, ...], ...]
    toward: tuple[tuple[int, ...], ...]
    rounded: tuple[tuple[int, ...], ...]
    rounding: tuple[tuple[Number, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NoiseResult(Result):
    """Runs in the arm's order. vocab: tokens compared at each position. texts: of every token that a run names."""

    runs: tuple[NoiseRun, ...]
    vocab: int
    texts: dict[int, str]
    kind: Literal["noise"] = "noise"


@dataclass(frozen=True, kw_only=True)
class RecoveryArm(Arm):
    """Recover prompts from their activations alone, at every position behind the stack.

    step: η of every descent. batch: number of prompts in one search.
    Source: Nikolaou et al. 2025 (arXiv 2510.15511), for recovering one position after the other and checking
    candidates.
    """

    tag: ClassVar[str] = "RecoveryArm"
    result: ClassVar[type[Result]] = RecoveryResult
    measured_by: ClassVar[str] = "engine.experiments.recovery.measure:measure_recovery"
    settings: DescentSettings
    method: Method
    step: float
    units: tuple[Unit, ...]
    batch: int
    observed: Observed = "float"
    kind: Literal["recovery"] = "recovery"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Descents of all positions together or one after the other, second guesses included, and checks."""
        checks = self.method.verify
        steps, runs = (GUESSES if checks else 1) * self.settings.iterations, len(self.units)
        runs *= LATER_STARTS if checks else 1
        if not self.method.token_by_token:
            found = costs.count_steps(self.settings, steps, runs)
        else:
            found = costs.count_steps(self.settings, steps * TOKENS, -(-runs // TOKENS))
        return costs.count_checks(self.settings, CHECKS * TOKENS * len(self.units) if checks else 0, found)


@dataclass(frozen=True, kw_only=True)
class MarginArm(Arm):
    """Compare one position of each unit with every token of the vocabulary, behind the prompt's own tokens.

    Gives the distance of the nearest other token's activations, beside the noise of equal inputs.
    """

    tag: ClassVar[str] = "MarginArm"
    result: ClassVar[type[Result]] = MarginResult
    measured_by: ClassVar[str] = "engine.experiments.recovery.measure:measure_margins"
    settings: StackSettings
    units: tuple[Unit, ...]
    observed: Observed = "float"
    kind: Literal["margin"] = "margin"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """At one position of each unit, every token of the vocabulary is a candidate."""
        passes = costs.count_steps(self.settings, 1, len(self.units))
        return costs.count_checks(self.settings, len(self.units) * costs.model.vocab, passes)

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        stack = Stack(blocks=1)
        settings = StackSettings(subject=target.subject, source=target.source, stack=stack, protocol=CONTROLLED)
        arm = cls(settings=settings, units=CHECK_UNITS[:1])
        return (GpuCheck(arm=arm, name=describe_stack(stack), dtype="float32", blocks=1),)


@dataclass(frozen=True, kw_only=True)
class NoiseArm(Arm):
    """Add noise to the activations of prompts, and take the nearest of all tokens behind the prompt's own.

    noises: L² lengths of the noise at a position, in multiples of its own margin. bits: activations are rounded to so
    many bits, each position by its largest number.
    Source: Nikolaou et al. 2025 (arXiv 2510.15511), theorem 3.2.
    """

    tag: ClassVar[str] = "NoiseArm"
    result: ClassVar[type[Result]] = NoiseResult
    measured_by: ClassVar[str] = "engine.experiments.recovery.noise:measure_under_noise"
    settings: StackSettings
    units: tuple[Unit, ...]
    noises: tuple[float, ...]
    bits: tuple[int, ...]
    kind: Literal["noise"] = "noise"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """At every position of each unit, every token is a candidate, and the activations of all are kept at once."""
        size, positions = costs.model, len(self.units) * (self.settings.first_tokens or TOKENS)
        kept = 2 * count_bytes(self.settings.dtype) * size.vocab * size.d_model  # and their differences from a point
        passes = costs.count_steps(self.settings, 1, len(self.units), beside_bytes=kept)
        return costs.count_checks(self.settings, positions * size.vocab, passes)

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        stack = Stack(blocks=1)
        settings = StackSettings(
            subject=target.subject, source=target.source, stack=stack, protocol=CONTROLLED, first_tokens=2
        )
        arm = cls(settings=settings, units=CHECK_UNITS[:1], noises=(0.25, 1.0), bits=(8,))
        return (GpuCheck(arm=arm, name=describe_stack(stack), dtype="float32", blocks=1),)
