"""Runs a plan's arms through the ledger, and shows in a view what is read from the descent on its way."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from engine.arms.arm import Arm
from engine.arms.costs import TOKENS
from engine.arms.measurement import Measurement
from engine.commands.invert.plan import InvertPlan
from engine.commands.invert.view import ProgressStage, Trajectory, View
from engine.experiments.inputs import Batch
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, Snapshot
from engine.experiments.inversion.measure import curve_points, read_run, read_snapshot, read_top
from engine.experiments.recovery.arm import RecoveryArm
from engine.experiments.recovery.searches import SearchRuns
from engine.experiments.tuning.arm import TuningArm, TuningResult
from engine.experiments.tuning.choose_step import StepChoice
from engine.ledger import Ledger
from engine.methods.descent import OBSERVE_EVERY, Observer, Trace
from engine.models.loaded import LoadedModels
from engine.running.costs import estimate_cost
from engine.running.executors.inline import Inline

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InversionOutcome:
    """A descent and its step size.

    measurement: None if the descent was stopped before its end; `run` then holds what it had reached.
    stored: whether the measurement came from the ledger. search: the recovery token by token; None if it was not run.
    """

    arm: InversionArm
    run: InversionRun
    tuned: StepChoice
    measurement: Measurement | None
    stored: bool = False
    search: SearchRuns | None = None


class Interrupted(Exception):
    """Ctrl-C. outcome: what the descent had reached; None if Ctrl-C came `before` anything was read from it."""

    def __init__(self, outcome: InversionOutcome | None, *, before: str) -> None:
        super().__init__(f"stopped before {before}" if outcome is None else "stopped")
        self.outcome, self.before = outcome, before


class Runner:
    """Runs a plan to its end."""

    def __init__(self, plan: InvertPlan, ledger: Ledger, view: View) -> None:
        self._plan, self._ledger, self._view = plan, ledger, view
        self._executor = Inline(self._observe, gpus=plan.devices.gpus)
        self._observer: _TrajectoryObserver | None = None
        self._round = 0
        self._pace = 1.0

    def run(self) -> InversionOutcome:
        """Tune if necessary, then measure. Raises Interrupted on Ctrl-C, and the experiment's errors."""
        tuned: StepChoice | None = None
        try:
            arm, chosen = self._drive(self._plan.rounds())
            tuned = chosen
            self._view.say(explain_step(chosen))
            measurement, stored = self._measure(arm)
        except KeyboardInterrupt:
            observer = self._observer
            if observer is None:
                raise Interrupted(None, before="the descent began") from None
            run = observer.read_part()
            outcome = None
            if run is not None and tuned is not None:
                observer.trajectory.show(run.snapshots[-1], self._view)
                outcome = InversionOutcome(arm=observer.arm, run=run, tuned=tuned, measurement=None)
            raise Interrupted(outcome, before=f"the first reading, at iteration {OBSERVE_EVERY}") from None
        result = measurement.result
        assert isinstance(result, InversionResult)
        (run,) = result.runs
        if self._observer is not None:
            trajectory = self._observer.trajectory
        else:  # a stored run
            trajectory = Trajectory(
                target=run.target,
                decoded_target=tuple(top[0] for top in run.target_top),
                slots=curve_points(self._plan.iterations),
                text=self._plan.text,
            )
            self._view.show_prompt(trajectory)
        # The end was reached after the last reading. The curve of a run that left early is shorter.
        trajectory.bound, trajectory.hit = run.bound, run.hit
        trajectory.curve = dict(zip(trajectory.slots, run.curve, strict=False))
        for snapshot in run.snapshots:
            trajectory.show(snapshot, self._view)
        return InversionOutcome(arm=arm, run=run, tuned=chosen, measurement=measurement, stored=stored)

    def search(self) -> SearchRuns:
        """Recover the prompt token by token. Raises KeyboardInterrupt on Ctrl-C, and the experiment's errors."""
        self._round = 0
        return self._drive(self._plan.search_rounds())

    def _drive(self, rounds: Generator[Sequence[Arm], Sequence[Measurement], T]) -> T:
        try:
            requested = next(rounds)
            while True:
                self._round += 1
                requested = rounds.send([self._measure(arm)[0] for arm in requested])
        except StopIteration as end:
            return end.value

    def _measure(self, arm: Arm) -> tuple[Measurement, bool]:
        """An arm's measurement, and whether it was stored. A new one is stored at once."""
        fresh = self._plan.options.fresh
        stored = None if fresh else self._ledger.get(arm)
        if stored is not None:
            return stored, True
        with self._ledger.lock_arm(arm):
            # Another process may have measured it while this one waited for the lock.
            stored = None if fresh else self._ledger.get(arm)
            if stored is not None:
                return stored, True
            if isinstance(arm, RecoveryArm):
                label = "recovering token by token, every candidate checked"
                # The cost model knows no prompt. About half of a search's time grows with its length.
                share = (1 + len(self._plan.ids) / TOKENS) / 2
                self._view.begin(ProgressStage(label=label, expected_s=share * self._expect(arm)))
            measurement = self._executor.run(arm)
            self._ledger.put(measurement)
            if isinstance(measurement.result, TuningResult):
                assert isinstance(arm, TuningArm)
                reached = replace(arm, horizon=max(1, measurement.result.read_to))
                self._pace = measurement.elapsed_s / estimate_cost(reached).seconds
            return measurement, False

    def _expect(self, arm: Arm) -> float:
        """Seconds that an arm will take: the cost model's, at the pace of the last tuning on this machine."""
        return self._pace * estimate_cost(arm).seconds

    def _observe(self, arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
        """Wrap the observer of a descent in one that reports to the view."""
        expected_s = self._expect(arm)
        if isinstance(arm, TuningArm):
            label = f"tuning η, round {self._round}: {len(arm.steps)} step sizes"
            # It ends once half of its prompts have hit.
            stage = ProgressStage(label=label, total=arm.horizon, expected_s=expected_s, may_end_early=True)
            self._view.begin(stage)
            return _ProgressObserver(observer, self._view)
        assert isinstance(arm, InversionArm)
        self._view.begin(ProgressStage(label="descending", total=arm.settings.iterations, expected_s=expected_s))
        self._observer = _TrajectoryObserver(observer, self._view, arm, batch, models, self._plan)
        return self._observer


def explain_step(tuned: StepChoice) -> str:
    """Which step size is used, and why."""
    chosen = f"step size η = {tuned.step:g}, {tuned.source}"
    if not tuned.measurements:
        return chosen
    chosen += f" over {len(tuned.outcomes)} step sizes"
    if math.isinf(tuned.median):
        return f"{chosen}: none hits on half of the tuning prompts, this one ends nearest"
    return f"{chosen}: half of the tuning prompts hit by iteration {tuned.median:g}"


class _ProgressObserver:
    """Reports how far a descent is."""

    def __init__(self, observer: Observer[Trace], view: View) -> None:
        self._observer, self._view = observer, view

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        self._view.advance(iteration)
        return self._observer.keep(trace, runs, iteration)


class _TrajectoryObserver(_ProgressObserver):
    """Also reads the distances and snapshots of a single run, only when the descent itself reads from the device."""

    def __init__(
        self,
        observer: Observer[Trace],
        view: View,
        arm: InversionArm,
        batch: Batch,
        models: LoadedModels,
        plan: InvertPlan,
    ) -> None:
        super().__init__(observer, view)
        self.arm, self._batch = arm, batch
        self._codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
        self._trace: Trace | None = None
        self._read_to = 0
        decoded = read_top(self._codec, batch.target[0] - batch.positions)
        self.trajectory = Trajectory(
            target=batch.ids[0],
            decoded_target=tuple(top[0] for top in decoded),
            slots=curve_points(arm.settings.iterations),
            text=plan.text,
        )
        view.show_prompt(self.trajectory)

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        self._trace, trajectory = trace, self.trajectory
        trajectory.bound = float(trace.bound[0])
        trajectory.extend(self._read_to, trace.distances[self._read_to : iteration + 1, 0].tolist())
        self._read_to = iteration + 1
        for n in sorted(trace.snapshots):
            if n <= iteration and n not in trajectory.shown:
                trajectory.show(read_snapshot(self._batch, trace, self._codec, 0, n), self._view)
        return super().keep(trace, runs, iteration)

    def read_part(self) -> InversionRun | None:
        """The run so far, its end as one more snapshot; None before the first reading."""
        trace = self._trace
        if trace is None:
            return None
        run = read_run(self.arm, self._batch, trace, self._codec, self.trajectory.slots, 0)
        end = Snapshot(
            iteration=run.ended_at,
            distance=run.final_distance,
            l2=run.final_l2,
            recovery=run.recovery,
            top=read_top(self._codec, trace.final[0] - self._batch.positions),
        )
        before = tuple(s for s in run.snapshots if s.iteration < run.ended_at)
        return replace(run, snapshots=(*before, end))
