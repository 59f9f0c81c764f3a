"""Procedures on the pseudo-inverse of the embedding matrix: its round trip, and its two definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.embedding.arm import (
    PseudoInverseArm,
    PseudoInverseResult,
    RoundTripArm,
    RoundTripResult,
    TokenFailure,
)
from engine.models import Subject
from engine.records import Table
from engine.statistics import exact_share, exact_value, proportion

RANDOM_MATRICES = (
    "random:400x64:rank=64:seed=0",
    "random:2000x96:rank=96:seed=1",
    "random:400x64:rank=40:seed=2",
    "random:2000x96:rank=7:seed=3",
)
"""Of full rank and deficient: there WᵀW has no inverse, but W has a pseudo-inverse."""


FLOAT32_EPSILON = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """Decode the embedding of every token of the vocabulary. Gives 'share recovered', an exhaustive count.

    Counts the non-special ids whose own text the tokenizer encodes back to that id; the others have a table of their
    own. 'sentences recovered' is the share of the packaged sentences, a sample of all, of which no token is lost.
    """

    tag: ClassVar[str] = "RoundTrip"

    def rounds(self, trial: Trial) -> Rounds:
        versions = list_versions(trial)
        measurements = yield [
            RoundTripArm(subject=s.id, source=s.fingerprint(), dtype=trial.dtype, device=trial.device, sentences=True)
            for _, s in versions
        ]
        results = [m.result for m in measurements if isinstance(m.result, RoundTripResult)]
        tried = sum(r.tried for r in results)
        recovered = tried - sum(len(r.failures) for r in results)
        share = exact_share("share recovered", recovered, tried, counts="tokens")
        seeds = [seed for seed, _ in versions]
        whole = [(came_back, k) for k, r in enumerate(results) for came_back in r.sentences]
        sentences = proportion(
            "sentences recovered", [c for c, _ in whole], clusters=[k for _, k in whole], counts="sentences"
        )

        def draw_tables() -> tuple[Table, ...]:
            counts = Table(
                title="Ids counted",
                columns=(
                    *("model seed", "vocabulary", "tried", "not recovered"),
                    *("not counted", "of these not recovered", "special"),
                ),
                rows=tuple(
                    (seed, r.vocab, r.tried, len(r.failures), r.apart, len(r.failures_apart), r.special)
                    for seed, r in zip(seeds, results, strict=True)
                ),
                note="A row of W can lose only to a row of larger leverage: rows are sorted by falling leverage, and "
                "each is compared with those before it.",
            )
            return (
                counts,
                _failure_table("Tokens that do not come back", seeds, [r.failures for r in results]),
                _failure_table(
                    "Not counted: ids whose own text encodes to other ids", seeds, [r.failures_apart for r in results]
                ),
            )

        return Evidence(
            estimates=Evidence.named(share, *([sentences] if whole else [])),
            make_tables=draw_tables,
            settings={"scope": "exhaustive", "dtype": trial.dtype, "device": trial.device},
            measurements=tuple(measurements),
        )


def _failure_table(title: str, seeds: list[int | None], failures: list[tuple[TokenFailure, ...]]) -> Table:
    return Table(
        title=title,
        columns=("model seed", "id", "token", "decoded as id", "decoded as", "leverage", "leverage of the winner"),
        rows=tuple(
            (seed, f.id, f.text, f.winner, f.winner_text, f.leverage, f.winner_leverage)
            for seed, of_seed in zip(seeds, failures, strict=True)
            for f in of_seed
        ),
        kind="leverage",
    )


@dataclass(frozen=True, kw_only=True)
class CompareInverses:
    """Compare the two definitions of W⁺ on the subject's embeddings and on random matrices of known rank.

    Gives five estimates:
    - 'difference / tolerance, W' of the embedding matrix, and 'difference / tolerance, random' of the random matrices:
      the largest. The tolerance is each matrix's own: cond · ε, what rounding its entries to float32 does to its
      pseudo-inverse (Wedin 1973).
    - 'rank / d_model' of the embedding matrix: the smallest. Where the vocabulary is smaller than d_model, no rank
      exceeds it, and it takes the place of d_model.
    - 'random ranks found': 1 if every matrix has its expected rank, else 0.
    - 'norm / other solutions': the largest; at most 1 when W⁺e has the minimum norm.
    """

    tag: ClassVar[str] = "CompareInverses"

    def rounds(self, trial: Trial) -> Rounds:
        versions = list_versions(trial)
        arms = [
            PseudoInverseArm(subject=s.id, source=s.fingerprint(), matrix="embedding", device=trial.device)
            for _, s in versions
        ]
        arms += [
            PseudoInverseArm(subject="none", source="none", matrix=name, device=trial.device)
            for name in RANDOM_MATRICES
        ]
        measurements = yield arms
        results = [m.result for m in measurements if isinstance(m.result, PseudoInverseResult)]
        of_subject = results[: len(versions)]
        estimates = Evidence.named(
            *(
                exact_value(
                    f"difference / tolerance, {name}",
                    max(r.difference / find_tolerance(r) for r in group),
                    len(group),
                    counts="matrices",
                )
                for name, group in (("W", of_subject), ("random", results[len(versions) :]))
            ),
            exact_value(
                "rank / d_model",
                min(r.rank / min(r.rows, r.columns) for r in of_subject),
                len(versions),
                counts="matrices",
            ),
            exact_value(
                "random ranks found",
                min(float(r.rank == r.expected_rank) for r in results),
                len(results),
                counts="matrices",
            ),
            exact_value("norm / other solutions", max(r.excess_norm for r in results), len(results), counts="matrices"),
        )
        settings = {"dtype": "float64", "device": trial.device}
        vocab, d_model = of_subject[0].rows, of_subject[0].columns
        if vocab < d_model:
            settings = {"full rank": f"{vocab}, the vocabulary, which is smaller than d_model"} | settings

        def draw_tables() -> tuple[Table, ...]:
            names = [f"embedding, model seed {seed}" if seed is not None else "embedding" for seed, _ in versions]
            rows = tuple(
                (
                    *(name, r.rows, r.columns, r.rank, r.condition, r.difference, find_tolerance(r), r.excess_norm),
                    *(r.ridge[0][1], r.ridge[-1][1]),
                )
                for name, r in zip((*names, *RANDOM_MATRICES), results, strict=True)
            )
            table = Table(
                title="Two pseudo-inverses",
                columns=(
                    *("matrix", "rows", "columns", "rank", "cond", "difference", "tolerance"),
                    *("norm / other solutions", "difference of the largest α", "of the smallest α"),
                ),
                rows=rows,
                note="Single ridge solutions differ from the SVD's by the last two columns, their limit by the column "
                "'difference'.",
                kind="inverses",
            )
            return (table,)

        return Evidence(
            estimates=estimates, make_tables=draw_tables, settings=settings, measurements=tuple(measurements)
        )


def find_tolerance(result: PseudoInverseResult) -> float:
    """cond(W) · ε: the relative change of W⁺ by rounding W to float32, in which it is stored. Source: Wedin 1973."""
    return result.condition * FLOAT32_EPSILON


def list_versions(trial: Trial) -> list[tuple[int | None, Subject]]:
    """The subject without a model seed; of one that is drawn, its versions with theirs (one at smoke effort)."""
    if not trial.subject.drawn:
        return [(None, trial.subject)]
    seeds = trial.subject.seeds[:1] if trial.effort == "smoke" else trial.subject.seeds
    return [(seed, trial.subject.draw(seed)) for seed in seeds]
