"""Procedures that compare how much continuations repeat themselves: by decoding, by size, and along training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.stacks import WHOLE
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.language.decoding import (
    ContinuedBy,
    Decoding,
    draw_continuations,
    estimate_difference,
    run_decodings,
)
from engine.experiments.sampling import draw_subject, explain_no_checkpoints, find_seeds
from engine.experiments.training.arm import TrainingArm, TrainingResult
from engine.models.trained import TrainedSubject
from engine.records import Table
from engine.statistics import Estimate

Difference = tuple[str, str, str]
"""The name of an estimate, and the decodings whose repetition it takes from each other: more, less."""


@dataclass(frozen=True, kw_only=True)
class CompareDecoding:
    """Continue each prompt greedily and by beam search, and compare how much the new tokens repeat themselves.

    Gives 'greedy − beam', and on the subject `larger` also 'base − xl': `smaller` minus `larger`, both greedy.
    Repetition is seq-rep-4 of Welleck et al. 2019 (arXiv 1908.04319): 1 − distinct 4-grams / 4-grams.
    batch: prompts that are continued together.
    """

    tag: ClassVar[str] = "CompareDecoding"
    new_tokens: int = 64
    beams: int = 5
    batch: int = 12
    smaller: str = "gpt2"
    larger: str = "gpt2-xl"

    def rounds(self, trial: Trial) -> Rounds:
        decodings = [("greedy", Decoding()), ("beam", Decoding(beams=self.beams))]
        if trial.subject.id == self.larger:
            decodings.append((self.smaller, Decoding(subject=self.smaller)))
        continued = yield from run_decodings(trial, decodings, new_tokens=self.new_tokens, batch=self.batch)
        differences = (("greedy − beam", "greedy", "beam"), ("base − xl", self.smaller, "greedy"))
        return Evidence(
            estimates=Evidence.named(*_compare(trial, continued, differences)),
            make_tables=lambda: draw_continuations(continued),
            settings=_describe(trial, self.new_tokens, self.batch, {"beams": str(self.beams)}),
            measurements=tuple(m for found in continued.values() for m in found.measurements),
        )


@dataclass(frozen=True, kw_only=True)
class CompareTraining:
    """Continue each prompt by models of several sizes and ages, and compare how much the new tokens repeat themselves.

    decodings: (name, decoding) in the order of the report. differences: estimates, each of two decodings; one whose
    decodings are not run on the subject is left out. The text that the models were trained on is measured beside.
    Repetition is seq-rep-4, as in CompareDecoding. batch: prompts that are continued together.
    """

    tag: ClassVar[str] = "CompareTraining"
    decodings: tuple[tuple[str, Decoding], ...]
    differences: tuple[Difference, ...]
    new_tokens: int = 64
    batch: int = 12

    def refuse(self, trial: Trial) -> str | None:
        """Why a trial's subject has no checkpoints; None if it has."""
        return explain_no_checkpoints(trial.subject)

    def rounds(self, trial: Trial) -> Rounds:
        continued = yield from run_decodings(trial, self.decodings, new_tokens=self.new_tokens, batch=self.batch)
        trainings = yield [
            TrainingArm.of(drawn, trial.device)
            for seed in (find_seeds(WHOLE, trial.subject) if continued and trial.count() else ())
            if isinstance(drawn := draw_subject(trial.subject, seed), TrainedSubject)
        ]
        texts = [m.result.text_repetition for m in trainings if isinstance(m.result, TrainingResult)]

        def tabulate() -> tuple[Table, ...]:
            text = Table(
                title="Repetition in the training text",
                columns=("text", "mean repetition"),
                rows=((f"windows of {self.new_tokens} tokens, kept from training", texts[0]),) if texts else (),
                note="The share of repeated 4-grams in the text that the models learned to continue.",
            )
            return (*draw_continuations(continued), *((text,) if texts else ()))

        return Evidence(
            estimates=Evidence.named(*_compare(trial, continued, self.differences)),
            make_tables=tabulate,
            settings=_describe(trial, self.new_tokens, self.batch, {}),
            measurements=(*(m for found in continued.values() for m in found.measurements), *trainings),
        )


def _compare(trial: Trial, continued: ContinuedBy, differences: Iterable[Difference]) -> list[Estimate]:
    """The differences whose decodings were run, unless no prompt was continued at this effort."""
    return [
        estimate_difference(trial, name, continued[more], continued[less])
        for name, more, less in differences
        if more in continued and less in continued and continued[more].runs
    ]


def _describe(trial: Trial, new_tokens: int, batch: int, more: dict[str, str]) -> dict[str, str]:
    words = {"new tokens": f"up to {new_tokens}", **more, "prompts together": str(batch)}
    return words | {"dtype": trial.dtype, "device": trial.device}
