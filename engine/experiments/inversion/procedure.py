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
from engine.experiments.inversion.estimators import Estimator, HitRatio, estimate_over_choices
from engine.experiments.inversion.samples import Sample, SampleRuns, run_sample, settings_of, subject_of
from engine.experiments.inversion.tables import (
    ceiling_table,
    checkpoint_table,
    choice_table,
    curve_table,
    decoded_table,
    frequency_table,
    hit_table,
    next_token_table,
    progress_table,
    repetition_table,
    run_table,
    vocabulary_table,
)
from engine.experiments.sampling import explain_no_checkpoints, run_together
from engine.experiments.tables import estimate_table, tuning_table
from engine.models.quantized import explain_dtype
from engine.records import Table


@dataclass(frozen=True, kw_only=True)
class Inversions:
    """Run every sample, then make every estimate whose samples were run at this effort.

    samples: (name, sample) in the order of the report. vocabulary: also show how frequent, as words, the tokens of the
    subject's whole vocabulary are. Raises DeclarationError for an estimate of a sample that is not declared.

    From here to a number: run_sample (samples.py) makes arms, measure_inversion (measure.py) takes an arm to its runs
    by engine.methods.descent, and an estimator (estimators.py) takes runs to an estimate. The tables (tables.py) that
    have a kind are drawn by the drawing of that kind in engine.report.charts.registry.
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
        """Why samples cannot run in a trial: no int8 in its dtype, no checkpoints of its subject; None if they can."""
        if any(sample.checkpoint is not None for _, sample in self.samples):
            refused = explain_no_checkpoints(trial.subject)
            if refused is not None:
                return refused
        if trial.dtype == "float32" or all(sample.weights != "int8" for _, sample in self.samples):
            return None
        return explain_dtype(f"int8 weights of {trial.subject.id}", trial.dtype)

    def rounds(self, trial: Trial) -> Rounds:
        samples = yield from self._run_samples(trial)
        words: Sequence[Measurement] = ()
        if self.vocabulary and samples:
            subject = trial.subject
            words = yield [VocabularyArm(subject=subject.id, source=subject.fingerprint(), device=trial.device)]
        # A sample may be left out at this effort for its cost, and with it every estimate that needs it.
        made = [estimator for estimator in self.estimates if all(name in samples for name in estimator.samples)]
        estimates = [estimate_over_choices(estimator, samples, trial.look) for estimator in made]

        # Called once, for the last look at the claim.
        def tabulate() -> tuple[Table, ...]:
            ratios = [estimator for estimator in made if isinstance(estimator, HitRatio)]
            tables = (
                estimate_table(estimates),
                choice_table(made, samples),
                estimate_table(
                    [companion for ratio in ratios for companion in ratio.estimate_companions(samples)],
                    title="Companions of the ratio",
                    note="They decide nothing: a model of the iterations, and their means up to the shared cap.",
                ),
                *((vocabulary_table(words), frequency_table(samples)) if words else ()),
                checkpoint_table(samples),
                progress_table(samples),
                ceiling_table(samples),
                next_token_table(samples),
                decoded_table(samples),
                hit_table(samples),
                repetition_table(samples),
                run_table(samples),
                curve_table(samples),
                tuning_table(
                    ((name, sample.tuned) for name, sample in samples.items()),
                    note="Tuned for the hit, it stops as soon as one step size has hit on half of its units; tuned for "
                    "the distance, it runs to N. Best: in this share of 2,000 resamples of the tuning units.",
                ),
            )
            return tuple(table for table in tables if table.rows)

        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=tabulate,
            settings={
                f"{name}, {key}": value
                for name, sample in samples.items()
                for key, value in _describe_sample(trial, sample).items()
            },
            measurements=(
                *(m for sample in samples.values() for one in (sample, *sample.others) for m in one.measurements),
                *words,
            ),
        )

    def _run_samples(self, trial: Trial) -> Generator[Sequence[Arm], Sequence[Measurement], dict[str, SampleRuns]]:
        """Samples by name in their declared order; each runs after those that it depends on."""
        waiting, done = dict(self.samples), dict[str, SampleRuns]()
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
            # Those that wait for none run side by side, so that one round of arms is as large as it can be.
            results = yield from run_together(*(run_sample(trial, waiting[name], done) for name in ready))
            done |= {name: found for name, found in zip(ready, results, strict=True) if found is not None}
            for name in ready:
                del waiting[name]
        return {name: done[name] for name, _ in self.samples if name in done}


def _describe_sample(trial: Trial, runs: SampleRuns) -> dict[str, str]:
    """What was run, for the report."""
    sample = runs.sample
    words = describe(settings_of(trial, sample, None, runs.iterations))
    if sample.subject is not None or sample.checkpoint is not None:
        words = {"subject": subject_of(trial, sample).id} | words
    return words | {
        "η": _describe_step(runs),
        "read at": "the hit" if sample.read_at == "hit" else "N",
        "weights": {"own": "the subject's", "random": "random", "int8": "the subject's in int8"}[sample.weights],
    }


def _describe_step(runs: SampleRuns) -> str:
    """The step size, where it comes from, and those that could as well have been chosen."""
    tuned = runs.tuned
    words = f"{tuned.step:g}, {tuned.source}"
    if not tuned.outcomes:
        return words
    words += " for the earliest hit" if tuned.target == "hit" else " for the least distance at N"
    others = ", ".join(f"{step:g}" for step in tuned.others)
    return f"{words}; {others} could as well be the best, and are in the intervals" if others else words
