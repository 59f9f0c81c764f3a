"""Arms and results of measurements on embedding matrices. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.arm import CHECK_STEPS, Arm, GpuCheck, GpuCheckTarget, Result
from engine.arms.costs import LOADING_BYTES, Cost, CostModel
from engine.arms.settings import ADDED_LATER
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class TokenFailure:
    """A token whose own embedding decodes to another token, the winner."""

    id: int
    text: str
    winner: int
    winner_text: str
    leverage: Number
    winner_leverage: Number


@dataclass(frozen=True, kw_only=True)
class RoundTripResult(Result):
    """Counts of ids, and the tokens that their own embedding does not decode to.

    tried: non-special ids whose text the tokenizer encodes back to that id. apart: the other non-special ids, which
    are reported but not counted. failures, failures_apart: the tokens of either group that do not come back.
    sentences: for each packaged sentence that the tokenizer takes, whether all of its tokens come back.
    """

    vocab: int
    tried: int
    apart: int
    special: int
    failures: tuple[TokenFailure, ...]
    failures_apart: tuple[TokenFailure, ...]
    sentences: tuple[bool, ...] = field(default=(), metadata=ADDED_LATER)
    kind: Literal["round trip"] = "round trip"


@dataclass(frozen=True, kw_only=True)
class PseudoInverseResult(Result):
    """How well two definitions of a pseudo-inverse agree.

    difference: ‖ridge limit − SVD‖ / ‖SVD‖ (Frobenius). tolerance: 10 · cond² · ε.
    excess_norm: largest ‖W⁺e‖ / ‖a‖ over other solutions a of the same equation; at most 1 if W⁺e is minimal.
    ridge: (α, difference) of some ridge solutions, the largest α first.
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
class VocabularyResult(Result):
    """English word frequencies over a vocabulary.

    words: number of tokens that begin a word and consist of letters. log_frequency, quartiles: mean and quartiles of
    their log₁₀ frequencies in English. floor: log₁₀ of the frequency that replaces any lower one.
    """

    vocab: int
    words: int
    log_frequency: Number
    floor: Number
    quartiles: tuple[Number, Number, Number]
    kind: Literal["vocabulary"] = "vocabulary"


@dataclass(frozen=True, kw_only=True)
class RoundTripArm(Arm):
    """Decode every row of the token-embedding matrix by the pseudo-inverse.

    sentences: also say of each packaged sentence whether all of its tokens come back.
    """

    tag: ClassVar[str] = "RoundTripArm"
    result: ClassVar[type[Result]] = RoundTripResult
    measured_by: ClassVar[str] = "engine.experiments.embedding.measure:measure_round_trip"
    subject: str
    source: str
    dtype: str = "float32"
    device: str = "cpu"
    sentences: bool = field(default=False, metadata=ADDED_LATER)
    kind: Literal["round trip"] = "round trip"

    def estimate_cost(self, costs: CostModel) -> Cost:
        size = costs.model
        return Cost(
            seconds=2 + size.vocab**2 * size.d_model / 2 / costs.machine.products_per_s,
            memory_bytes=4.0 * (size.weights + 4 * size.vocab * size.d_model) + LOADING_BYTES,
        )

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        arm = cls(subject=target.subject, source=target.source)
        return (GpuCheck(arm=arm, name="whole vocabulary", dtype="float32"),)


@dataclass(frozen=True, kw_only=True)
class PseudoInverseArm(Arm):
    """Compute a matrix's pseudo-inverse from the SVD and as a limit of ridge solutions, in float64.

    matrix: 'embedding', or a random matrix written as 'random:ROWSxCOLUMNS:rank=R:seed=K'.
    """

    tag: ClassVar[str] = "PseudoInverseArm"
    result: ClassVar[type[Result]] = PseudoInverseResult
    measured_by: ClassVar[str] = "engine.experiments.embedding.measure:measure_pseudo_inverse"
    subject: str
    source: str
    matrix: str
    device: str = "cpu"
    kind: Literal["pseudo-inverse"] = "pseudo-inverse"

    def estimate_cost(self, costs: CostModel) -> Cost:
        if costs.size is None or self.matrix != "embedding":
            return Cost(seconds=0.2, memory_bytes=3e8)
        size, entries = costs.size, costs.size.vocab * costs.size.d_model
        return Cost(
            seconds=2 + 20 * entries * size.d_model / costs.machine.products_per_s,
            memory_bytes=4.0 * size.weights + 8.0 * entries * 4,
        )

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        arm = cls(subject="none", source="none", matrix="random:400x80:rank=50:seed=1")
        return (GpuCheck(arm=arm, name="random matrix", dtype="float64", steps=CHECK_STEPS),)


@dataclass(frozen=True, kw_only=True)
class VocabularyArm(Arm):
    """Frequencies of a vocabulary's tokens as English words: the baseline of a random decoding."""

    tag: ClassVar[str] = "VocabularyArm"
    result: ClassVar[type[Result]] = VocabularyResult
    measured_by: ClassVar[str] = "engine.experiments.embedding.measure:measure_vocabulary"
    subject: str
    source: str
    device: str = "cpu"
    kind: Literal["vocabulary"] = "vocabulary"

    def estimate_cost(self, costs: CostModel) -> Cost:
        return Cost(seconds=2.0, memory_bytes=2e8)
