"""Runs a plan's arms through the ledger, and tells a view what the looks at a descent see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.commands.invert.outcome import Interrupted, InversionOutcome
from engine.commands.invert.plan import InvertPlan
from engine.commands.invert.token_view import Film
from engine.commands.invert.view import ProgressStage, View
from engine.experiments.inputs import Batch
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, Snapshot
from engine.experiments.inversion.measure import curve_points, read_run, read_snapshot, read_top
from engine.experiments.tuning.arm import TuningArm
from engine.experiments.tuning.procedure import StepChoice
from engine.ledger import Ledger
from engine.methods.descent import OBSERVE_EVERY, Observer, Trace
from engine.models.loaded import LoadedModels
from engine.running.costs import estimate_cost
from engine.running.executors.inline import Inline


class Runner:
    """Takes a plan to its end."""

    def __init__(self, plan: InvertPlan, ledger: Ledger, view: View) -> None:
        self._plan, self._ledger, self._view = plan, ledger, view
        self._executor = Inline(self._watch, gpus=plan.devices.gpus)
        self._look: _FilmLook | None = None
        self._round = 0

    def run(self) -> InversionOutcome:
        """Tune where it is needed, then measure. Raises Stopped on Ctrl-C, and the experiment's errors."""
        tuned: StepChoice | None = None
        try:
            arm, tuned = self._settle()
            measurement, stored = self._obtain(arm)
        except KeyboardInterrupt:
            before = f"the first look, at iteration {OBSERVE_EVERY}" if self._look else "the descent began"
            raise Interrupted(self._read_part(tuned), before=before) from None
        result = measurement.result
        assert isinstance(result, InversionResult)
        (run,) = result.runs
        self._show_rest(run)
        return InversionOutcome(arm=arm, run=run, tuned=tuned, measurement=measurement, stored=stored)

    def _settle(self) -> tuple[InversionArm, StepChoice]:
        """The arm to measure, once its step size is known."""
        rounds = self._plan.rounds()
        try:
            asked = next(rounds)
            while True:
                self._round += 1
                asked = rounds.send([self._obtain(arm)[0] for arm in asked])
        except StopIteration as end:
            arm, tuned = end.value
            self._view.say(explain_step(tuned))
            return arm, tuned

    def _obtain(self, arm: Arm) -> tuple[Measurement, bool]:
        """An arm's measurement, and whether it was stored already. What is measured now is stored at once."""
        stored = None if self._plan.wish.fresh else self._ledger.get(arm)
        if stored is not None:
            return stored, True
        with self._ledger.lock_arm(arm):
            # Another process may have measured it while this one waited.
            stored = None if self._plan.wish.fresh else self._ledger.get(arm)
            if stored is None:
                measurement = self._executor.run(arm)
                self._ledger.put(measurement)
                return measurement, False
        return stored, True

    def _watch(self, arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
        if isinstance(arm, TuningArm):
            label = f"tuning η, round {self._round}: {len(arm.steps)} step sizes"
            expected_s = estimate_cost(arm).seconds
            self._view.begin(ProgressStage(label=label, total=arm.horizon, expected_s=expected_s))
            return _ProgressLook(observer, self._view)
        assert isinstance(arm, InversionArm)
        expected_s = estimate_cost(arm).seconds
        self._view.begin(ProgressStage(label="descending", total=arm.settings.iterations, expected_s=expected_s))
        self._look = _FilmLook(arm, batch, models, observer, self._view, lambda token: self._plan.text(token))
        return self._look

    def _show_rest(self, run: InversionRun) -> None:
        """The frames that no look has shown: the last ones, or all of a stored run."""
        film = self._look.film if self._look else open_film(run, self._plan)
        if self._look is None:
            self._view.open(film)
        film.settle(run)
        for snapshot in run.snapshots:
            show_once(film, snapshot, self._view)

    def _read_part(self, tuned: StepChoice | None) -> InversionOutcome | None:
        if self._look is None or tuned is None:
            return None
        run = self._look.read_part()
        if run is None:
            return None
        show_once(self._look.film, run.snapshots[-1], self._view)
        return InversionOutcome(arm=self._look.arm, run=run, tuned=tuned, measurement=None)


def explain_step(tuned: StepChoice) -> str:
    """Which step size is used and why."""
    chosen = f"step size η = {tuned.step:g}, {tuned.source}"
    if not tuned.measurements:
        return chosen
    chosen += f" over {len(tuned.outcomes)} step sizes"
    if math.isinf(tuned.median):
        return f"{chosen}: none hits on half of the tuning prompts, this one ends nearest"
    return f"{chosen}: half of the tuning prompts hit by iteration {tuned.median:g}"


def open_film(run: InversionRun, plan: InvertPlan) -> Film:
    """A film of a run that is over."""
    return Film(
        target=run.target,
        given_back=tuple(top[0] for top in run.target_top),
        slots=curve_points(plan.iterations),
        text=lambda token: plan.text(token),
        bound=run.bound,
    )


def show_once(film: Film, snapshot: Snapshot, view: View) -> None:
    """Show a frame unless it was shown before."""
    if snapshot.iteration not in film.shown:
        film.shown.add(snapshot.iteration)
        view.show(film, snapshot)


class _ProgressLook:
    """Tells how far a descent is."""

    def __init__(self, observer: Observer[Trace], view: View) -> None:
        self._observer, self._view = observer, view

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        self._view.advance(iteration)
        return self._observer.keep(trace, runs, iteration)


class _FilmLook:
    """Reads a single run's distances and snapshots at each look. Nothing is read from the device between looks."""

    def __init__(
        self,
        arm: InversionArm,
        batch: Batch,
        models: LoadedModels,
        observer: Observer[Trace],
        view: View,
        text: Callable[[int], str],
    ) -> None:
        self.arm = arm
        settings = arm.settings
        self._codec = models.codec(settings.subject, settings.dtype, settings.device)
        self._posed, self._observer, self._view = batch, observer, view
        self._trace: Trace | None = None
        self._read_to = 0
        back = read_top(self._codec, batch.target[0] - batch.positions)
        self.film = Film(
            target=batch.ids[0],
            given_back=tuple(top[0] for top in back),
            slots=curve_points(settings.iterations),
            text=text,
        )
        view.open(self.film)

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        self._trace, film = trace, self.film
        film.bound = float(trace.bound[0])
        film.read(self._read_to, trace.distances[self._read_to : iteration + 1, 0].tolist())
        self._read_to = iteration + 1
        for n in sorted(trace.snapshots):
            if n <= iteration and n not in film.shown:
                show_once(film, read_snapshot(self._posed, trace, self._codec, 0, n), self._view)
        self._view.advance(iteration)
        return self._observer.keep(trace, runs, iteration)

    def read_part(self) -> InversionRun | None:
        """The run as far as it got, its end as one more snapshot; None before the first look."""
        trace = self._trace
        if trace is None:
            return None
        run = read_run(self.arm, self._posed, trace, self._codec, self.film.slots, 0)
        final = trace.final[0] - self._posed.positions
        end = Snapshot(
            iteration=run.ended_at,
            distance=run.final_distance,
            l2=run.final_l2,
            recovery=run.recovery,
            top=read_top(self._codec, final),
        )
        before = tuple(s for s in run.snapshots if s.iteration < run.ended_at)
        return replace(run, snapshots=(*before, end))
