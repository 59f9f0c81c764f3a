"""The pseudo-inverse of the embedding matrix: whether it gives tokens back, and whether two definitions agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.arms.measurement import Measurement
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.embedding.arm import (
    PseudoInverseArm,
    PseudoInverseResult,
    RoundTripArm,
    RoundTripResult,
    TokenFailure,
)
from engine.experiments.sampling import MODEL_SEEDS
from engine.models import Subject
from engine.records import Table
from engine.statistics import Estimate, exact_share

RANDOM_MATRICES = (
    "random:400x64:rank=64:seed=0",
    "random:2000x96:rank=96:seed=1",
    "random:400x64:rank=40:seed=2",
    "random:2000x96:rank=7:seed=3",
)
"""Full rank and deficient, so that the pseudo-inverse is tried where an inverse of WᵀW does not exist."""


def versions(trial: Trial) -> list[tuple[int | None, Subject]]:
    """The subject, or its four random drawings where it is untrained."""
    if trial.subject.trained or trial.subject.fixed_seed:
        return [(None, trial.subject)]
    seeds = MODEL_SEEDS[:1] if trial.effort == "smoke" else MODEL_SEEDS
    return [(seed, trial.subject.untrained(seed)) for seed in seeds]


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """Decode the embedding of every token of the vocabulary. Gives 'share recovered', an exhaustive count.

    Counted over the non-special ids whose own text the tokenizer encodes back to that id; the others are listed apart.
    """

    tag: ClassVar[str] = "RoundTrip"

    def rounds(self, trial: Trial) -> Rounds:
        drawn = versions(trial)
        measurements = yield [
            RoundTripArm(subject=s.id, source=s.fingerprint(), dtype=trial.dtype, device=trial.device) for _, s in drawn
        ]
        results = [m.result for m in measurements if isinstance(m.result, RoundTripResult)]
        tried = sum(r.tried for r in results)
        recovered = tried - sum(len(r.failures) for r in results)
        share = exact_share("share recovered", recovered, tried, counts="tokens")
        labels = [seed for seed, _ in drawn]
        return Evidence(
            estimates=Evidence.named(share),
            draw=lambda: (
                _count_table(labels, results),
                _failure_table("Tokens that do not come back", labels, [r.failures for r in results]),
                _failure_table(
                    "Apart: ids whose own text encodes to other ids",
                    labels,
                    [r.failures_apart for r in results],
                ),
            ),
            settings={"scope": "exhaustive", "dtype": trial.dtype, "device": trial.device},
            measurements=tuple(measurements),
        )


def _count_table(labels: list[int | None], results: list[RoundTripResult]) -> Table:
    return Table(
        title="Ids counted",
        columns=(
            "model seed",
            "vocabulary",
            "tried",
            "not recovered",
            "apart",
            "of these not recovered",
            "special",
        ),
        rows=tuple(
            (label, r.vocab, r.tried, len(r.failures), r.apart, len(r.failures_apart), r.special)
            for label, r in zip(labels, results, strict=True)
        ),
        note="Row i can only lose to a row of larger leverage: each is compared with those before it in that order.",
    )


def _failure_table(title: str, labels: list[int | None], failures: list[tuple[TokenFailure, ...]]) -> Table:
    return Table(
        title=title,
        columns=(
            "model seed",
            "id",
            "token",
            "decoded as id",
            "decoded as",
            "leverage",
            "leverage of the winner",
        ),
        rows=tuple(
            (label, f.id, f.text, f.winner, f.winner_text, f.leverage, f.winner_leverage)
            for label, some in zip(labels, failures, strict=True)
            for f in some
        ),
        kind="leverage",
    )


@dataclass(frozen=True, kw_only=True)
class CompareInverses:
    """The two definitions of W⁺ on the subject's embeddings and on random matrices of known rank.

    Gives 'difference / tolerance' (the worst), 'rank / d_model' of the embedding matrix (the least; by the vocabulary
    where that is smaller, which no rank exceeds), and 'norm / other solutions' (the worst: at most 1 when W⁺e has the
    minimum norm).
    """

    tag: ClassVar[str] = "CompareInverses"

    def rounds(self, trial: Trial) -> Rounds:
        drawn = versions(trial)
        arms = [
            PseudoInverseArm(subject=s.id, source=s.fingerprint(), matrix="embedding", device=trial.device)
            for _, s in drawn
        ]
        arms += [
            PseudoInverseArm(subject="none", source="none", matrix=name, device=trial.device)
            for name in RANDOM_MATRICES
        ]
        measurements = yield arms
        embeddings = [f"embedding, model seed {seed}" if seed is not None else "embedding" for seed, _ in drawn]
        named = list(zip((*embeddings, *RANDOM_MATRICES), measurements, strict=True))
        results = [_result(m) for m in measurements]
        worst = max(r.difference / r.tolerance for r in results)
        own = results[: len(drawn)]
        ranks = min(r.rank / min(r.rows, r.columns) for r in own)
        wide = own[0].rows < own[0].columns
        wider = {"full rank": f"{own[0].rows}, the vocabulary, which is smaller than d_model"} if wide else {}
        agreeing = min(float(r.rank == r.expected_rank) for r in results)
        norm = max(r.excess_norm for r in results)
        return Evidence(
            estimates=Evidence.named(
                _exact("difference / tolerance", worst, len(results)),
                _exact("rank / d_model", ranks, len(drawn)),
                _exact("random ranks found", agreeing, len(results)),
                _exact("norm / other solutions", norm, len(results)),
            ),
            draw=lambda: (_inverse_table([(name, _result(m)) for name, m in named]),),
            settings={**wider, "dtype": "float64", "device": trial.device},
            measurements=tuple(measurements),
        )


def _result(measurement: Measurement) -> PseudoInverseResult:
    assert isinstance(measurement.result, PseudoInverseResult)
    return measurement.result


def _exact(name: str, value: float, matrices: int) -> Estimate:
    return Estimate(
        name=name,
        value=value,
        low=value,
        high=value,
        n=matrices,
        counts="matrices",
        method="exact",
        scale="exact",
    )


def _inverse_table(named: list[tuple[str, PseudoInverseResult]]) -> Table:
    return Table(
        title="Two pseudo-inverses",
        columns=(
            "matrix",
            "rows",
            "columns",
            "rank",
            "cond",
            "difference",
            "tolerance",
            "norm / other solutions",
            "difference of the largest α",
            "of the smallest α",
        ),
        rows=tuple(
            (
                *(name, r.rows, r.columns, r.rank, r.condition, r.difference, r.tolerance, r.excess_norm),
                *(r.ridge[0][1], r.ridge[-1][1]),
            )
            for name, r in named
        ),
        note="Ridge solutions are still off by the last two columns; their limit by the column 'difference'.",
        kind="inverses",
    )
