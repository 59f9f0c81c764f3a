"""What one descent is read for: a number for each run, or none where the run has none to give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal
from typing import Protocol as Interface

from engine.experiments.inversion.arm import InversionRun, Snapshot
from engine.experiments.word_frequency import log_frequency

Stage = Literal["start", "end"]
Bounds = tuple[float, float] | None


class Reading(Interface):
    """A number of each run. bounds: what it can be at least and at most; None where it has no limits.

    needs_ceiling: whether it is judged on units alone whose own embedding decodes back to their tokens.
    """

    @property
    def bounds(self) -> Bounds: ...

    @property
    def needs_ceiling(self) -> bool: ...

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        """The number; None where the run has none (it diverged, or nothing is left to read)."""
        ...


@dataclass(frozen=True)
class _Share:
    """A share of something: from 0 to 1."""

    @property
    def bounds(self) -> Bounds:
        return (0.0, 1.0)

    @property
    def needs_ceiling(self) -> bool:
        return False


@dataclass(frozen=True)
class _Recovery(_Share):
    """A share that no descent brings above the codec's ceiling."""

    @property
    def needs_ceiling(self) -> bool:
        return True


@dataclass(frozen=True)
class _Free:
    """A number without limits."""

    @property
    def bounds(self) -> Bounds:
        return None

    @property
    def needs_ceiling(self) -> bool:
        return False


@dataclass(frozen=True)
class Recovery(_Recovery):
    """Share of positions decoded to the target at the end."""

    tag: ClassVar[str] = "Recovery"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return run.recovery


@dataclass(frozen=True)
class Exact(_Recovery):
    """Whether every position is decoded to the target at the end."""

    tag: ClassVar[str] = "Exact"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return float(run.exact)


@dataclass(frozen=True)
class InTopFive(_Recovery):
    """Share of positions whose target is among the five most activated tokens at the end."""

    tag: ClassVar[str] = "InTopFive"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return 0.0  # what has diverged has recovered nothing
        return _mean([float(i in top) for i, top in zip(run.target, last.top, strict=True)])


@dataclass(frozen=True)
class LastRecovered(_Share):
    """Whether the last position is decoded to the target at the end."""

    tag: ClassVar[str] = "LastRecovered"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        return float(last is not None and last.top[-1][0] == run.target[-1])


@dataclass(frozen=True)
class TopFiveOverlap(_Share):
    """Share of what e itself decodes to, five tokens at each position, that the result's five hold too."""

    tag: ClassVar[str] = "TopFiveOverlap"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return 0.0
        return _mean(
            [len(set(a) & set(b)) / len(b) for a, b in zip(last.top, run.target_top, strict=True)],
        )


@dataclass(frozen=True)
class InsideBound(_Share):
    """Whether the output at the end is within the bound."""

    tag: ClassVar[str] = "InsideBound"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return float(run.final_distance < run.bound)


@dataclass(frozen=True)
class SameNextToken(_Share):
    """Whether the probe says the same after what is named as after the prompt.

    after: the start e₀, the end e_N, the tokens that e_N decodes to, or e shifted at random as far as e_N lies.
    """

    tag: ClassVar[str] = "SameNextToken"
    after: Literal["start", "final", "decoded", "shifted"] = "final"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        if run.next_tokens is None:
            return None
        return float(getattr(run.next_tokens, self.after) == run.next_tokens.target)


@dataclass(frozen=True)
class Complement(_Share):
    """One minus another reading."""

    tag: ClassVar[str] = "Not"
    of: Reading

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        value = self.of.read(run, texts)
        return None if value is None else 1 - value


@dataclass(frozen=True)
class Repetition(_Free):
    """Share of positions that repeat a token of their own row, over the five decoded rows.

    Row k holds the k-th most activated token of every position; its share is 1 − distinct tokens / positions.
    at: the end or the start. beyond_start: minus the same at the run's own start.
    """

    tag: ClassVar[str] = "Repetition"
    at: Stage = "end"
    beyond_start: bool = False

    @property
    def bounds(self) -> Bounds:
        return (-1.0, 1.0) if self.beyond_start else (0.0, 1.0)

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        first = next((s for s in run.snapshots if s.iteration == 0), None)
        last = last_snapshot(run)
        read = first if self.at == "start" else last
        if read is None or first is None:
            return None
        return repeated_share(read.top) - (repeated_share(first.top) if self.beyond_start else 0.0)


@dataclass(frozen=True)
class LogFrequency(_Free):
    """Mean log₁₀ frequency, as English words, of the decoded tokens that begin a word; recovered ones left out."""

    tag: ClassVar[str] = "LogFrequency"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return None
        missed = [texts[top[0]] for i, top in zip(run.target, last.top, strict=True) if top[0] != i]
        known = [value for value in map(log_frequency, missed) if value is not None]
        return _mean(known) if known else None


@dataclass(frozen=True)
class InputDistance(_Free):
    """‖e − e_N‖₂."""

    tag: ClassVar[str] = "InputDistance"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return run.final_l2 if math.isfinite(run.final_l2) else None


@dataclass(frozen=True)
class OutputDistance(_Free):
    """The output's distance at the end; in_bounds: as a multiple of the run's bound."""

    tag: ClassVar[str] = "OutputDistance"
    in_bounds: bool = False

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        value = run.final_distance / (run.bound if self.in_bounds else 1.0)
        return value if math.isfinite(value) else None


def last_snapshot(run: InversionRun) -> Snapshot | None:
    """The snapshot of a run's end; None where it diverged before."""
    found = run.snapshots[-1] if run.snapshots else None
    return found if found is not None and found.iteration == run.ended_at and run.stop != "diverged" else None


def repeated_share(top: Sequence[Sequence[int]]) -> float:
    """1 − distinct tokens / positions, the mean over the rows of k-th best tokens: [positions, k] → a share."""
    return _mean([1 - len(Counter(row)) / len(row) for row in zip(*top, strict=True)])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
