"""What one descent is read for: a number for each run, or none where the run has none to give."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import punctuation
from typing import ClassVar, Literal

from engine.experiments.inversion.arm import InversionRun, Snapshot
from engine.experiments.word_frequency import FLOOR, log_frequency


@dataclass(frozen=True)
class Reading(ABC):
    """A number of each run; a share, unless its class says otherwise.

    needs_ceiling: whether only units count whose own embeddings decode back to their tokens.
    """

    needs_ceiling: ClassVar[bool] = False

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest that it can be; None where it has no limits."""
        return (0.0, 1.0)

    @abstractmethod
    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        """The number; None where the run has none (it diverged, or nothing is left to read)."""


@dataclass(frozen=True)
class _Unbounded(Reading):
    @property
    def bounds(self) -> tuple[float, float] | None:
        return None


@dataclass(frozen=True)
class Recovery(Reading):
    """Share of positions decoded to the target at the end."""

    tag: ClassVar[str] = "Recovery"
    needs_ceiling: ClassVar[bool] = True

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return run.recovery


@dataclass(frozen=True)
class Exact(Reading):
    """Whether every position is decoded to the target at the end."""

    tag: ClassVar[str] = "Exact"
    needs_ceiling: ClassVar[bool] = True

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return float(run.exact)


@dataclass(frozen=True)
class InTopFive(Reading):
    """Share of positions whose target is among the five most activated tokens at the end."""

    tag: ClassVar[str] = "InTopFive"
    needs_ceiling: ClassVar[bool] = True

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return 0.0  # a run that diverged has recovered nothing
        return sum(i in top for i, top in zip(run.target, last.top, strict=True)) / len(run.target)


@dataclass(frozen=True)
class LastRecovered(Reading):
    """Whether the last position is decoded to the target at the end."""

    tag: ClassVar[str] = "LastRecovered"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        return float(last is not None and last.top[-1][0] == run.target[-1])


@dataclass(frozen=True)
class TopFiveOverlap(Reading):
    """Share of the five tokens that e itself decodes to at each position that are among the result's five, too."""

    tag: ClassVar[str] = "TopFiveOverlap"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return 0.0
        return _mean([len(set(a) & set(b)) / len(b) for a, b in zip(last.top, run.target_top, strict=True)])


@dataclass(frozen=True)
class InsideBound(Reading):
    """Whether the output at the end is within the bound."""

    tag: ClassVar[str] = "InsideBound"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return float(run.final_distance < run.bound)


@dataclass(frozen=True)
class SameNextToken(Reading):
    """Whether the probe's next token is the same after another input as after the prompt.

    after: the start e₀, the end e_N, the tokens that e_N decodes to, or e shifted at random as far as e_N is from it.
    """

    tag: ClassVar[str] = "SameNextToken"
    after: Literal["start", "final", "decoded", "shifted"] = "final"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        if run.next_tokens is None:
            return None
        return float(getattr(run.next_tokens, self.after) == run.next_tokens.target)


@dataclass(frozen=True)
class Complement(Reading):
    """One minus another reading."""

    tag: ClassVar[str] = "Not"
    of: Reading

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        value = self.of.read(run, texts)
        return None if value is None else 1 - value


@dataclass(frozen=True)
class Repetition(Reading):
    """Share of positions that repeat a token of their own row, over the five decoded rows.

    Row k holds the k-th most activated token of every position; its share is 1 − distinct tokens / positions.
    at: the end or the start. beyond_start: minus the same at the run's own start.
    """

    tag: ClassVar[str] = "Repetition"
    at: Literal["start", "end"] = "end"
    beyond_start: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        return (-1.0, 1.0) if self.beyond_start else (0.0, 1.0)

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        first = next((s for s in run.snapshots if s.iteration == 0), None)
        read = first if self.at == "start" else last_snapshot(run)
        if read is None or first is None:
            return None
        return repeated_share(read.top) - (repeated_share(first.top) if self.beyond_start else 0.0)


@dataclass(frozen=True)
class LogFrequency(_Unbounded):
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
class DecodesTo(Reading):
    """Whether the end decodes to the prompt, to words that are not the prompt, or to neither.

    Words: every decoded token is an English word that wordfreq knows or punctuation, and one at least is a word.
    """

    tag: ClassVar[str] = "DecodesTo"
    kind: Literal["prompt", "words", "neither"]

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        last = last_snapshot(run)
        if last is None:
            return None
        if run.exact:
            return float(self.kind == "prompt")
        decoded = [texts[top[0]] for top in last.top]
        # The first token of a text has no space before it.
        spaced = [text if k or text.startswith(" ") else f" {text}" for k, text in enumerate(decoded)]
        known = [(log_frequency(text) or FLOOR) > FLOOR for text in spaced]
        words = any(known) and all(w or is_punctuation(text) for w, text in zip(known, spaced, strict=True))
        return float(self.kind == ("words" if words else "neither"))


def is_punctuation(text: str) -> bool:
    """Whether a token's text is ASCII punctuation, but for spaces."""
    return bool(text.strip()) and all(character in punctuation for character in text.strip())


@dataclass(frozen=True)
class Iterations(_Unbounded):
    """The iteration of the hit, or where the run ended without one. For ranks: a mean would take the cap for a hit."""

    tag: ClassVar[str] = "Iterations"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return float(run.ended_at if run.hit is None else run.hit)


@dataclass(frozen=True)
class InputDistance(_Unbounded):
    """‖e − e_N‖₂."""

    tag: ClassVar[str] = "InputDistance"

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        return run.final_l2 if math.isfinite(run.final_l2) else None


@dataclass(frozen=True)
class OutputDistance(_Unbounded):
    """The output's distance at the end. in_bounds: as a multiple of the run's bound."""

    tag: ClassVar[str] = "OutputDistance"
    in_bounds: bool = False

    def read(self, run: InversionRun, texts: dict[int, str]) -> float | None:
        value = run.final_distance / (run.bound if self.in_bounds else 1.0)
        return value if math.isfinite(value) else None


def last_snapshot(run: InversionRun) -> Snapshot | None:
    """The snapshot of a run's end; None where the run diverged before."""
    if not run.snapshots or run.stop == "diverged":
        return None
    return run.snapshots[-1] if run.snapshots[-1].iteration == run.ended_at else None


def repeated_share(top: Sequence[Sequence[int]]) -> float:
    """1 − distinct tokens / positions, averaged over the rows of k-th best tokens: [positions, k] → a share."""
    return _mean([1 - len(Counter(row)) / len(row) for row in zip(*top, strict=True)])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
