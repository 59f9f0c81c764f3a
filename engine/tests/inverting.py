"""A small inversion of the quick look, and a view that remembers what it is to show."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.commands.invert.options import InvertOptions
from engine.commands.invert.plan import plan_inversion
from engine.commands.invert.runner import InversionOutcome, Runner
from engine.commands.invert.view import ProgressStage, SummaryLine, Trajectory, View
from engine.experiments.inversion.arm import Snapshot
from engine.ledger import Ledger
from engine.running.executors.inline import Inline

PROMPT = "The sky is blue."


class RecordingView(View):
    """Remembers what it is to show."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.snapshots: list[Snapshot] = []
        self.sentences: list[str] = []
        self.stages: list[str] = []
        self.advances: list[int] = []
        self.trajectories: list[Trajectory] = []
        self.summary: list[SummaryLine] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def begin(self, stage: ProgressStage) -> None:
        self.stages.append(stage.label)

    def advance(self, iteration: int) -> None:
        self.advances.append(iteration)

    def show_prompt(self, trajectory: Trajectory) -> None:
        self.trajectories.append(trajectory)

    def show_snapshot(self, trajectory: Trajectory, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def show_summary(self, lines: Sequence[SummaryLine]) -> None:
        self.summary = list(lines)


def make_options(subject: str, folder: Path, **changes: Any) -> InvertOptions:
    plain = InvertOptions(
        prompt=PROMPT, subject=subject, protocol="controlled", iterations=60, ledger=folder / "ledger", device="cpu"
    )
    return replace(plain, **changes)


def run(options: InvertOptions, view: View | None = None) -> InversionOutcome:
    return Runner(plan_inversion(options), Ledger(options.ledger), view or RecordingView()).run()


def drive(drawing: Generator[Sequence[Arm], Sequence[Measurement], Any]) -> Any:
    """What a claim's procedure returns, measured by an executor that nobody watches."""
    executor = Inline()
    try:
        asked = next(drawing)
        while True:
            asked = drawing.send([executor.run(arm) for arm in asked])
    except StopIteration as end:
        return end.value
