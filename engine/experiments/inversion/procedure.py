"""Inversions read in several ways: samples of descents, and the estimates that a claim makes of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.settings import describe
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.errors import DeclarationError, explain
from engine.experiments.embedding.arm import VocabularyArm
from engine.experiments.inversion.estimators import Estimator, HitRatio
from engine.experiments.inversion.samples import Sample, SampleRuns, run_sample, settings_of, subject_of
from engine.experiments.inversion.tables import (
    ceiling_table,
    companion_table,
    curve_table,
    estimate_table,
    film_table,
    frequency_table,
    hit_table,
    next_token_table,
    reading_table,
    recovery_table,
    run_table,
    tuning_table,
    vocabulary_table,
)
from engine.experiments.sampling import run_together
from engine.models.quantized import explain_dtype
from engine.records import Table


@dataclass(frozen=True, kw_only=True)
class Inversions:
    """Draw every sample, then make every estimate whose samples were run at this effort.

    samples: (name, sample) in the order of the report. vocabulary: show beside them how frequent, as words, the tokens
    of the subject's whole vocabulary are. Raises DeclarationError for an estimate of a sample that is not declared.
    """

    tag: ClassVar[str] = "Inversions"
    samples: tuple[tuple[str, Sample], ...]
    estimates: tuple[Estimator, ...]
    vocabulary: bool = False

    def __post_init__(self) -> None:
        names = {name for name, _ in self.samples}
        asked = {name for e in self.estimates for name in e.samples}
        asked |= {name for _, sample in self.samples for name in sample.depends_on}
        if asked - names:
            raise DeclarationError(
                explain(
                    who="Inversions",
                    got=f"the sample {sorted(asked - names)[0]!r}",
                    expected=f"one of {', '.join(sorted(names))}",
                    remedy="declare it among the samples",
                )
            )

    def refuse(self, trial: Trial) -> str | None:
        """Why a trial's dtype takes no int8 sample; None where it does, or there is none."""
        if trial.dtype == "float32" or all(sample.weights != "int8" for _, sample in self.samples):
            return None
        return explain_dtype(f"int8 weights of {trial.subject.id}", trial.dtype)

    def rounds(self, trial: Trial) -> Rounds:
        drawn = yield from self._draw(trial)
        words: Sequence[Measurement] = ()
        if self.vocabulary and drawn:
            words = yield [_vocabulary_arm(trial)]
        estimates = [e.estimate(drawn, trial.look) for e in self.estimates if all(name in drawn for name in e.samples)]
        ratios = [e for e in self.estimates if isinstance(e, HitRatio) and all(name in drawn for name in e.samples)]
        named = tuple(drawn.items())
        return Evidence(
            estimates=Evidence.named(*estimates),
            draw=lambda: _tables(named, estimates, ratios, words),
            settings={
                f"{name}, {key}": value
                for name, sample in named
                for key, value in settings_in_words(trial, sample).items()
            },
            measurements=(*(m for _, sample in named for m in sample.measurements), *words),
        )

    def _draw(self, trial: Trial) -> Generator[Sequence[Arm], Sequence[Measurement], dict[str, SampleRuns]]:
        """Samples by name in their declared order, those that depend on others after them."""
        waiting, drawn = dict(self.samples), dict[str, SampleRuns]()
        while waiting:
            ready = [name for name, sample in waiting.items() if not set(sample.depends_on) & set(waiting)]
            if not ready:
                raise DeclarationError(
                    explain(
                        who="Inversions",
                        got=f"samples that wait for each other: {', '.join(waiting)}",
                        expected="one that waits for none",
                        remedy="break the circle",
                    )
                )
            results = yield from run_together(*(run_sample(trial, waiting[name], drawn) for name in ready))
            drawn |= {name: found for name, found in zip(ready, results, strict=True) if found is not None}
            for name in ready:
                del waiting[name]
        return {name: drawn[name] for name, _ in self.samples if name in drawn}


def _vocabulary_arm(trial: Trial) -> VocabularyArm:
    return VocabularyArm(subject=trial.subject.id, source=trial.subject.fingerprint(), device=trial.device)


def _tables(
    named: tuple[tuple[str, SampleRuns], ...],
    estimates: Sequence[object],
    ratios: Sequence[HitRatio],
    words: Sequence[Measurement],
) -> tuple[Table, ...]:
    """The tables of a claim on inversions, empty ones left out."""
    tables = (
        estimate_table(estimates),
        companion_table([estimate for ratio in ratios for estimate in ratio.accompany(dict(named))]),
        *((vocabulary_table(words), frequency_table(named)) if words else ()),
        recovery_table(named),
        ceiling_table(named),
        next_token_table(named),
        film_table(named),
        hit_table(named),
        reading_table(named),
        run_table(named),
        curve_table(named),
        tuning_table(named),
    )
    return tuple(table for table in tables if table.rows)


def settings_in_words(trial: Trial, drawn: SampleRuns) -> dict[str, str]:
    """What was run, for the report."""
    sample = drawn.sample
    words = describe(settings_of(trial, sample, None, drawn.iterations))
    if sample.subject is not None:
        words = {"subject": subject_of(trial, sample).id} | words
    return words | {
        "η": f"{drawn.tuned.step:g}, {drawn.tuned.source}",
        "read at": "the hit" if sample.read_at == "hit" else "N",
        "weights": {"own": "the subject's", "random": "random", "int8": "the subject's in int8"}[sample.weights],
    }
