"""A campaign that is drawn in full before it is simulated: who decides when, and how long each arm takes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.arms import weights_of
from engine.costs import GPU, Size, estimate_cost, group_of
from engine.records import Record, read_records
from engine.scale import assumptions
from engine.scale.rehearsal import Row, Suite, fit, rehearse_suite
from engine.stopping import SLACK

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference" / "records.jsonl"
REFERENCE_UNITS = re.compile(r"(\d+) of at most 36: ")
WOULD_DECIDE = re.compile(r"about ([\d,]+) \w+ would decide")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Arms by number, and rows as rounds of arms, each of which begins once the one before is in.

    groups, models: of each arm, by number; arms of one group are kept together, and loading is by model (-1 needs
    none). estimates, seconds: what the executor believes of an arm, and what it takes. lost: seconds of an attempt
    before its process dies, 0 where it does not. loading: seconds of each model. starting_s: of a process.
    to_first_look: rounds of each row up to its first look.
    """

    rounds: tuple[tuple[tuple[int, ...], ...], ...]
    to_first_look: tuple[int, ...]
    groups: NDArray[np.int64]
    models: NDArray[np.int64]
    estimates: Floats
    seconds: Floats
    lost: Floats
    loading: Floats
    starting_s: float = assumptions.STARTING_S

    @property
    def work_s(self) -> float:
        """Of every arm, measured once."""
        return float(self.seconds.sum())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rows and arms of all subjects, before anything is drawn.

    numbers: for each subject, the number of each of the suite's arms.
    """

    suite: Suite
    sizes: dict[str, Size]
    numbers: tuple[dict[str, int], ...]
    groups: NDArray[np.int64]
    models: NDArray[np.int64]
    estimates: Floats
    loading: Floats


@cache
def plan(units: int = assumptions.UNITS) -> Plan:
    """Every arm of every subject that its claims could ask for, waves beyond the second left to `draw`."""
    suite, sizes = rehearse_suite(units), assumptions.list_sizes()
    groups, models, known = dict[tuple[str, ...], int](), dict[tuple[str, str], int](), dict[tuple[str, str], int]()
    columns: list[tuple[int, int, float]] = []
    numbers: list[dict[str, int]] = []
    loading: list[float] = []
    for name in sizes:
        own: dict[str, int] = {}
        for key, arm in suite.arms.items():
            subject, dtype, rest = group_of(arm)
            # A few claims compare with gpt2 whatever their subject is: those arms are measured once.
            owner = subject if subject in sizes else "" if subject == "none" else name
            if (owner, key) not in known:
                known[owner, key] = len(columns)
                size = sizes[owner or name]
                group = groups.setdefault((owner, subject, dtype, rest), len(groups))
                model = -1
                if owner:
                    model = models.setdefault((owner + "/" + weights_of(arm)[0], dtype), len(models))
                    loading += [assumptions.loading_s(size, dtype)] * (model == len(loading))
                columns.append((group, model, estimate_cost(fit(arm, size), GPU, size).seconds))
            own[key] = known[owner, key]
        numbers.append(own)
    group, model, seconds = zip(*columns, strict=True)
    return Plan(
        suite=suite,
        sizes=sizes,
        numbers=tuple(numbers),
        groups=np.array(group),
        models=np.array(model),
        estimates=np.array(seconds),
        loading=np.array(loading),
    )


@cache
def list_endings(units: int = assumptions.UNITS) -> tuple[int, ...]:
    """Units at which the reference run's rows would have ended, had so many been planned.

    A row that was decided ends where it was. Of one that was not, its sentence says how many units would decide: it
    ends there, or at the last unit, or, where more than twice the planned units would be needed, where it was given up.
    """
    whole = {row.claim for row in rehearse_suite(units).rows if not row.more}
    records = read_records(REFERENCE)
    ends = [_end(record, units) for record in records if record.claim not in whole]
    return tuple(end for end in ends if end is not None)


def _end(record: Record, units: int) -> int | None:
    found = REFERENCE_UNITS.match(record.settings.get("units", ""))
    if found is None:
        return None
    used = int(found[1])
    if record.ruling != "inconclusive":
        return used
    open_ones = [c.sentence for c in record.criteria if c.ruling == "inconclusive"]
    said = [WOULD_DECIDE.search(sentence) for sentence in open_ones]
    needed = max((int(one[1].replace(",", "")) if one else math.inf for one in said), default=math.inf)
    return used if needed > SLACK * units else min(units, int(needed))


def draw(plan: Plan, *, seed: int, stopping: bool = True) -> Workload:
    """One campaign: when each row ends, how long each arm takes, which processes die."""
    rng = np.random.default_rng(seed)
    rows, subjects = plan.suite.rows, len(plan.numbers)
    ends = rng.choice(np.array(list_endings()), size=(subjects, len(rows)))
    own = rng.normal(0, assumptions.SPREAD_OF_ROWS, size=(subjects, len(rows)))
    arms: dict[tuple[int, int], int] = {}
    shared: list[float] = []
    rounds: list[tuple[tuple[int, ...], ...]] = []
    for s, numbers in enumerate(plan.numbers):
        for r, row in enumerate(rows):
            asked = list_rounds(row, min(row.waves, math.ceil(int(ends[s, r]) / row.wave)) if stopping else row.waves)
            if not stopping:  # one look at all units
                asked = [*asked[: len(row.before)], [arm for later in asked[len(row.before) :] for arm in later]]
            named = [[(numbers[key], wave) for key, wave in one] for one in asked]
            shared += [
                float(own[s, r]) for one in named for arm in one if arms.setdefault(arm, len(arms)) >= len(shared)
            ]
            rounds.append(tuple(tuple(arms[arm] for arm in one) for one in named))
    number = np.array([arm for arm, _ in arms])
    logs = np.array(shared) + rng.normal(0, assumptions.SPREAD_OF_ARMS, size=len(arms))
    variance = assumptions.SPREAD_OF_ROWS**2 + assumptions.SPREAD_OF_ARMS**2
    estimates = plan.estimates[number]
    seconds = estimates * np.exp(logs - variance / 2)  # so that the mean is the estimate
    deadly = 1 - np.exp(-assumptions.DEATHS_PER_GPU_HOUR * seconds / 3600)
    dies, when = rng.random((2, len(arms)))
    return Workload(
        rounds=tuple(rounds),
        to_first_look=tuple(len(row.before) + 1 for row in rows) * subjects,
        groups=plan.groups[number],
        models=plan.models[number],
        estimates=estimates,
        seconds=seconds,
        lost=np.where(dies < deadly, when * seconds, 0.0),
        loading=plan.loading,
    )


def list_rounds(row: Row, waves: int) -> list[Sequence[tuple[str, int]]]:
    """The rounds of a row that ends after so many waves; later waves ask for arms like those of the second."""
    before = [[(key, 0) for key in asked] for asked in row.before]
    later = [[(key, wave) for key in row.more] for wave in range(1, waves)] if row.more else []
    return [*before, [(key, 0) for key in row.first], *later]
