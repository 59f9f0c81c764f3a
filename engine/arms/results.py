"""Results: what came out of an arm, as plain numbers. A stopping reason is data, never an exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from engine.arms.settings import LATER
from engine.records import Number


class Stop(StrEnum):
    """Why a descent ended; each member reads on in a sentence."""

    HIT = "hit"
    CAP = "cap"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one iteration: distances and the five most activated tokens at each position."""

    iteration: int
    distance: Number
    l2: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NextTokens:
    """What a probe says next: after e, e₀, e_N, the tokens that e_N decodes to, and e shifted as far as e_N is."""

    target: int
    start: int
    final: int
    decoded: int
    shifted: int


@dataclass(frozen=True, kw_only=True)
class InversionRun:
    """One descent.

    hit: first iteration with a distance below the bound, None when there was none by `ended_at`.
    recovery, ceiling: share of positions decoded to the target from the result and from e itself.
    target_top: what e itself decodes to, the five most activated tokens at each position.
    """

    prompt: str
    seed: int
    target: tuple[int, ...]
    hit: int | None
    stop: Stop
    ended_at: int
    bound: Number
    start_distance: Number
    final_distance: Number
    final_l2: Number
    recovery: Number
    ceiling: Number
    snapshots: tuple[Snapshot, ...]
    curve: tuple[Number, ...]
    target_top: tuple[tuple[int, ...], ...] = ()
    next_tokens: NextTokens | None = None

    @property
    def exact(self) -> bool:
        return self.recovery == 1.0


@dataclass(frozen=True, kw_only=True)
class InversionResult:
    """All descents of an inversion arm, in its units' order; curves are read at `curve_at`."""

    runs: tuple[InversionRun, ...]
    curve_at: tuple[int, ...]
    texts: dict[int, str]
    kind: Literal["inversion"] = "inversion"


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
class RecoveryResult:
    """Runs in the arm's order.

    noise: the largest distance of equal inputs that was seen, by position. epsilon: that up to which activations
    count as equal; the largest of `epsilons`, by position, where they differ. equal_rows: tokens whose rows of W are
    the same.
    """

    runs: tuple[RecoveryRun, ...]
    vocab: int
    noise: tuple[Number, ...]
    epsilon: Number
    epsilons: tuple[Number, ...] = field(default=(), metadata=LATER)
    equal_rows: tuple[tuple[int, ...], ...]
    texts: dict[int, str]
    kind: Literal["recovery"] = "recovery"


@dataclass(frozen=True, kw_only=True)
class MarginRun:
    """One position of one prompt against the whole vocabulary; distances are a `Likeness`'s.

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
class MarginResult:
    """vocab: tokens that each position was held against. noise, epsilon, epsilons: as in a recovery."""

    runs: tuple[MarginRun, ...]
    vocab: int
    noise: tuple[Number, ...]
    epsilon: Number
    epsilons: tuple[Number, ...] = field(default=(), metadata=LATER)
    texts: dict[int, str]
    kind: Literal["margin"] = "margin"

    def epsilon_at(self, position: int) -> float:
        return self.epsilons[position] if self.epsilons else self.epsilon


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step size did on the tuning units by the iteration at which tuning stopped."""

    step: float
    hits: tuple[int | None, ...]
    diverged: tuple[bool, ...]
    median_distance: Number


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    outcomes: tuple[StepOutcome, ...]
    read_to: int
    kind: Literal["tuning"] = "tuning"


@dataclass(frozen=True, kw_only=True)
class TokenFailure:
    """A token that its own embedding does not decode to, and the token that won."""

    id: int
    text: str
    winner: int
    winner_text: str
    leverage: Number
    winner_leverage: Number


@dataclass(frozen=True, kw_only=True)
class RoundTripResult:
    """tried: ids whose own text encodes back to that id; `apart`: the other non-special ids."""

    vocab: int
    tried: int
    apart: int
    special: int
    failures: tuple[TokenFailure, ...]
    failures_apart: tuple[TokenFailure, ...]
    kind: Literal["round trip"] = "round trip"


@dataclass(frozen=True, kw_only=True)
class PseudoInverseResult:
    """difference: ‖ridge limit − SVD‖ / ‖SVD‖ (Frobenius); tolerance: 10 · cond² · ε.

    excess_norm: largest of ‖W⁺e‖ / ‖a‖ over other solutions a of the same equation (≤ 1 when minimal).
    """

    rows: int
    columns: int
    rank: int
    expected_rank: int
    condition: Number
    difference: Number
    tolerance: Number
    excess_norm: Number
    ridge: tuple[tuple[Number, Number], ...]
    kind: Literal["pseudo-inverse"] = "pseudo-inverse"


@dataclass(frozen=True, kw_only=True)
class VocabularyResult:
    """words: tokens that begin a word and hold letters only. log_frequency: their mean log₁₀ frequency as English.

    floor: log₁₀ of the frequency that stands for any lower one. quartiles: of those tokens' log₁₀ frequencies.
    """

    vocab: int
    words: int
    log_frequency: Number
    floor: Number
    quartiles: tuple[Number, Number, Number]
    kind: Literal["vocabulary"] = "vocabulary"


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What follows a prompt: the five likeliest tokens with their probabilities, and the winner after each shift."""

    prompt: str
    seed: int
    top: tuple[int, ...]
    probabilities: tuple[Number, ...]
    shifted: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class NextTokenResult:
    rows: tuple[Continuation, ...]
    texts: dict[int, str]
    kind: Literal["next token"] = "next token"


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """tokens: the new ids of each unit, up to the end of text. text: the same, decoded."""

    prompts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    text: tuple[str, ...]
    kind: Literal["generation"] = "generation"


@dataclass(frozen=True, kw_only=True)
class GradientRun:
    """One prompt's gradients: largest |g|, and the largest difference of an element between two ways to get it."""

    prompt: str
    outputs: int
    largest: Number
    ones: Number
    individual: Number


@dataclass(frozen=True, kw_only=True)
class GradientResult:
    runs: tuple[GradientRun, ...]
    kind: Literal["gradient"] = "gradient"


@dataclass(frozen=True, kw_only=True)
class OrthogonalRun:
    """One orthogonal walk.

    product: largest |g·v| over tokens at the start; relative: the largest |g·v| / (‖g‖‖v‖) over tokens there.
    worst_relative: the same over all steps. input_distance, output_distance: ‖e − e_N‖₁ and ‖O(e) − O(e_N)‖₁.
    constrained: share of ‖ΔO‖₂² that lies along the one output direction that the walk holds still (their sum).
    free: share of output directions that it does not hold still.
    singular: singular values of the gradient at the start, largest first. decoded: tokens before and after, where the
    stack's inputs are embeddings.
    """

    prompt: str
    seed: int
    product: Number
    relative: Number
    worst_relative: Number
    input_distance: Number
    output_distance: Number
    constrained: Number
    free: Number
    singular: tuple[Number, ...]
    decoded: tuple[str, str] = ("", "")


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkResult:
    runs: tuple[OrthogonalRun, ...]
    kind: Literal["orthogonal walk"] = "orthogonal walk"


@dataclass(frozen=True, kw_only=True)
class WalkRead:
    """A clamped walk after so many outer steps.

    input_distance, output_distance: ‖e − e_n‖₁ and ‖O(e) − O(e_n)‖₁. top: the five most activated tokens at each
    position.
    """

    outer: int
    input_distance: Number
    output_distance: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class WalkRun:
    """One clamped walk under one choice of settings.

    size: ‖e‖₁. bound: m(σ). arrived: whether it reached the distance at which it was to stop.
    random_distance: ‖O(e) − O(e + δ)‖₁, the mean over random steps δ of the size ‖e − e_N‖₁ of the end.
    end: the walk where it stopped. reads: on the way.
    """

    choice: int
    prompt: str
    seed: int
    target: tuple[int, ...]
    size: Number
    bound: Number
    arrived: bool
    diverged: bool
    random_distance: Number
    ceiling: Number
    end: WalkRead
    reads: tuple[WalkRead, ...]


@dataclass(frozen=True, kw_only=True)
class ClampedWalkResult:
    """Runs by choice, then by unit."""

    runs: tuple[WalkRun, ...]
    texts: dict[int, str]
    kind: Literal["clamped walk"] = "clamped walk"


Result = (
    InversionResult
    | TuningResult
    | RecoveryResult
    | MarginResult
    | RoundTripResult
    | PseudoInverseResult
    | VocabularyResult
    | NextTokenResult
    | GenerationResult
    | GradientResult
    | OrthogonalWalkResult
    | ClampedWalkResult
)
