"""Prompts sought from activations, and how far other tokens' lie: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.arm import PROBE_UNITS, Arm, Probe, ProbeTarget, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import ADDED_LATER, DescentSettings, Method, Observed, StackSettings, Unit
from engine.arms.stacks import Stack, describe_stack
from engine.records import Number

GUESSES, CHECKS = 2, 1000
"""Guesses and checked candidates of a token that is sought until it is found: most need one and 32."""

LATER_STARTS = 4
"""Starts behind each guess after the first; the one that comes closest to the activations is taken."""


@dataclass(frozen=True, kw_only=True)
class TokenFound:
    """What a method found at one position.

    token: None where nothing in the vocabulary matched. same: how many other tokens have equal activations, as far as
    was checked; named: the first of them. checks: candidates that went through the stack. guesses: ends of descents
    that they were nearest to. distance: of the token's activations from those seen; NaN where none was confirmed.
    runner_up: the least of a checked candidate that did not match; infinite where there was none.
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
    """One prompt sought from its activations.

    found: position by position, as far as the method came. ceiling: share of positions whose own embedding the
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
        """Share of positions at which the target was found and nothing else was."""
        pairs = zip(self.found, self.target, strict=False)
        return sum(one.token == i and not one.same for one, i in pairs) / len(self.target)

    @property
    def exact(self) -> bool:
        return self.recovery == 1.0

    @property
    def determined(self) -> bool:
        """Whether at every position one token matched, and no other of those that were checked."""
        return len(self.found) == len(self.target) and all(f.token is not None and not f.same for f in self.found)


@dataclass(frozen=True, kw_only=True)
class RecoveryResult(Result):
    """Runs in the arm's order.

    noise: the largest distance of equal inputs that was seen, by position. epsilon: that up to which activations
    count as equal; the largest of `epsilons`, by position, where they differ. equal_rows: tokens whose rows of W are
    the same.
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
    """One position of one prompt against the whole vocabulary; distances are an `ActivationDistance`'s.

    own: the prompt's token. runner_up: the other token whose activations are nearest, equal rows of W left out.
    same: other tokens within epsilon, equal rows of W included.
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
    """vocab: tokens that each position was held against. noise, epsilon, epsilons: as in a recovery."""

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
class RecoveryArm(Arm):
    """Prompts sought from their activations alone, at every position behind the stack.

    batch: prompts that are sought together.
    Source: Nikolaou et al. 2025 (arXiv 2510.15511) for the order of positions and the check of candidates.
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
        """Descents of all positions together or one after the other, some of them again, and candidates' checks."""
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
    """One position of each unit held against the whole vocabulary, behind the prompt's own tokens.

    How far the activations of every other token lie from those of the prompt's, beside the noise of equal inputs.
    """

    tag: ClassVar[str] = "MarginArm"
    result: ClassVar[type[Result]] = MarginResult
    measured_by: ClassVar[str] = "engine.experiments.recovery.measure:measure_margins"
    settings: StackSettings
    units: tuple[Unit, ...]
    observed: Observed = "float"
    kind: Literal["margin"] = "margin"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """The whole vocabulary is a candidate of one position of each unit."""
        beside = costs.count_steps(self.settings, 1, len(self.units))
        return costs.count_checks(self.settings, len(self.units) * costs.model.vocab, beside)

    @classmethod
    def list_probes(cls, target: ProbeTarget) -> Iterable[Probe]:
        stack = Stack(blocks=1)
        settings = StackSettings(subject=target.subject, source=target.source, stack=stack, protocol=CONTROLLED)
        arm = cls(settings=settings, units=PROBE_UNITS[:1])
        return (Probe(arm=arm, name=describe_stack(stack), dtype="float32", blocks=1),)
