"""What descents give back: exact rates, hit rates, and paired differences of recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.effort import Units
from engine.measurement import InversionRun
from engine.procedures.base import Evidence, Rounds, Trial, in_step
from engine.procedures.hits import hit_table, run_table, settings_in_words, tuning_table
from engine.procedures.samples import Drawn, Sample, draw
from engine.records import Table
from engine.statistics import Estimate, paired_mean, proportion

Named = tuple[tuple[str, Drawn], ...]


@dataclass(frozen=True, kw_only=True)
class ExactRate:
    """Share of units recovered exactly at each sample's N, and of units that hit by then.

    samples: name → sample, all read at N. Gives 'exact rate (name)' and 'hit rate (name)' for each.
    Exact rates are over units whose ceiling is 1: no descent recovers a token that the codec itself cannot give back.
    """

    samples: tuple[tuple[str, Sample], ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        drawn = yield from in_step(*(draw(trial, sample) for _, sample in self.samples))
        named = tuple(zip((name for name, _ in self.samples), drawn, strict=True))
        estimates = [e for name, d in named for e in (exact_rate(name, d), hit_rate(name, d))]
        return gather(trial, named, estimates)


@dataclass(frozen=True, kw_only=True)
class ExactBelow:
    """Exact rates of a lesser arm, and whether they lie below a better one's.

    Gives 'exact rate (name)' for every lesser sample and 'better − lesser' for the first, paired by unit over units
    whose ceiling is 1 in both. The longer sample has units of its own, and below full effort it is run only on the
    subjects that are small enough for it.
    """

    better: tuple[str, Sample]
    lesser: tuple[str, Sample]
    longer: tuple[str, Sample]
    longer_units: Units
    longer_at_standard: tuple[str, ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        tasks = [draw(trial, self.better[1]), draw(trial, self.lesser[1])]
        names = [self.better[0], self.lesser[0]]
        longer = replace(trial, units=self.longer_units)
        affordable = trial.effort == "full" or trial.subject.id in self.longer_at_standard
        if affordable and longer.count():
            tasks.append(draw(longer, self.longer[1]))
            names.append(self.longer[0])
        drawn = yield from in_step(*tasks)
        named = tuple(zip(names, drawn, strict=True))
        estimates = [exact_rate(name, d) for name, d in named[1:]]
        estimates.append(_paired(f"{names[0]} − {names[1]}", named[0][1], named[1][1], _is_exact))
        return gather(trial, named, estimates)


@dataclass(frozen=True, kw_only=True)
class CompareRecovery:
    """Recovery of one sample minus that of another at equal N, paired by prompt and start. Gives 'difference'."""

    more: tuple[str, Sample]
    less: tuple[str, Sample]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        drawn = yield from in_step(draw(trial, self.more[1]), draw(trial, self.less[1]))
        named = ((self.more[0], drawn[0]), (self.less[0], drawn[1]))
        return gather(trial, named, [_paired("difference", drawn[0], drawn[1], lambda run: run.recovery)])


def _is_exact(run: InversionRun) -> float:
    return float(run.exact)


def _paired(name: str, more: Drawn, less: Drawn, value: Callable[[InversionRun], float]) -> Estimate:
    pairs = [
        (value(a) - value(b), seeds)
        for a, b, seeds in zip(more.runs, less.runs, zip(more.clusters, less.clusters, strict=True), strict=True)
        if a.ceiling == 1 and b.ceiling == 1
    ]
    return paired_mean(name, [d for d, _ in pairs], bounds=(-1, 1), clusters=[c for _, c in pairs], seed=0)


def judged(drawn: Drawn) -> Drawn:
    """The units whose ceiling is 1."""
    return drawn.where([run.ceiling == 1 for run in drawn.runs])


def exact_rate(name: str, drawn: Drawn) -> Estimate:
    units = judged(drawn)
    return proportion(f"exact rate ({name})", [run.exact for run in units.runs], clusters=units.clusters)


def hit_rate(name: str, drawn: Drawn) -> Estimate:
    return proportion(f"hit rate ({name})", [run.hit is not None for run in drawn.runs], clusters=drawn.clusters)


def gather(trial: Trial, named: Named, estimates: Sequence[Estimate]) -> Evidence:
    """Evidence with the tables that a recovery claim shows."""
    return Evidence(
        estimates=Evidence.named(*estimates),
        tables=(
            recovery_table(named),
            *((apart,) if (apart := ceiling_table(named)).rows else ()),
            film_table(named),
            hit_table(named),
            run_table(named),
            tuning_table(named),
        ),
        settings={
            f"{name}, {key}": value for name, drawn in named for key, value in settings_in_words(trial, drawn).items()
        },
        measurements=tuple(m for _, drawn in named for m in drawn.measurements),
    )


def recovery_table(named: Named) -> Table:
    """Mean recovery and exact rate by iteration, over units whose ceiling is 1."""
    rows: list[tuple[str | int | float | None, ...]] = []
    for name, drawn in named:
        runs = judged(drawn).runs
        for n in drawn.sample.snapshots:
            at = [s for run in runs for s in run.snapshots if s.iteration == n]
            if at:
                rows.append((name, n, _mean([s.recovery for s in at]), _mean([s.recovery == 1 for s in at]), len(at)))
        if runs:
            final = [run.recovery for run in runs]
            rows.append((name, drawn.sample.iterations, _mean(final), _mean([r == 1 for r in final]), len(runs)))
    return Table(
        title="Recovery by iteration",
        columns=("arm", "iteration", "mean recovery", "exact rate", "n"),
        rows=tuple(rows),
    )


def ceiling_table(named: Named) -> Table:
    """Units that no descent can recover, because the codec does not give their own embedding back."""
    return Table(
        title="Units apart: their ceiling is below 1",
        columns=("arm", "prompt", "ceiling", "recovery"),
        rows=tuple(
            (name, run.prompt, run.ceiling, run.recovery) for name, d in named for run in d.runs if run.ceiling < 1
        ),
    )


FILM_UNITS = 3


def film_table(named: Named) -> Table:
    """What the first few units decode to as the descent goes on."""
    rows: list[tuple[str | int | float | None, ...]] = []
    for name, drawn in named:
        for run in drawn.runs[:FILM_UNITS]:
            rows.append((name, run.seed, "target", "".join(drawn.texts.get(i, "") for i in run.target)))
            rows.extend(
                (name, run.seed, str(s.iteration), " ".join(f"[{drawn.texts[top[0]]}]" for top in s.top))
                for s in run.snapshots
            )
    return Table(title="Decoded tokens", columns=("arm", "start seed", "iteration", "tokens"), rows=tuple(rows))


def _mean(values: Sequence[float | bool]) -> float:
    return sum(map(float, values)) / len(values)
