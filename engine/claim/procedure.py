"""The parts of every procedure: a trial, rounds of arms, and evidence.

A procedure is a generator. It yields the arms it needs next, receives their measurements in the same order, and
returns its evidence. It never runs a model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol as Interface
from typing import TypeVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.prompts import MORE, SHORT
from engine.arms.protocol import Protocol
from engine.arms.settings import Unit
from engine.claim.criteria import Scope
from engine.claim.units import Effort, Units
from engine.models import Subject
from engine.models.families import GPT2
from engine.models.trained import TrainedSubject
from engine.records import Table
from engine.statistics import ONLY, Estimate, Look

T = TypeVar("T")


Rounds = Generator[Sequence[Arm], Sequence[Measurement], "Evidence"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a procedure found: estimates by name, tables for the report, and the measurements behind them.

    An estimate that a criterion names and that is missing here was not run at this effort.
    make_tables: only the evidence of a claim's last look needs them.
    """

    estimates: dict[str, Estimate] = field(default_factory=dict[str, Estimate])
    make_tables: Callable[[], tuple[Table, ...]] = tuple
    settings: dict[str, str] = field(default_factory=dict[str, str])
    measurements: tuple[Measurement, ...] = ()

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        return self.make_tables()

    @staticmethod
    def named(*estimates: Estimate) -> dict[str, Estimate]:
        return {estimate.name: estimate for estimate in estimates}


class Procedure(Interface):
    """How a kind of claim is measured."""

    def rounds(self, trial: Trial) -> Rounds:
        """Yield the arms of each round, receive their measurements, and return the evidence."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The settings of one item of a session, for its procedure.

    prompts: the user's own; empty for the registered ones. starts: start seeds for each prompt.
    look: which of the planned looks this is; before the last, later waves of units are not measured yet.
    stopping: whether there are looks before the last, so that a claim may be decided early.
    """

    subject: Subject
    protocol: Protocol
    effort: Effort
    units: Units
    prompts: tuple[str, ...] = ()
    starts: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    look: Look = ONLY
    stopping: bool = True

    @property
    def registered(self) -> bool:
        """Whether prompts, seeds and dtype are the registered ones, so that the verdict on record applies."""
        return not self.prompts and self.starts == 1 and self.dtype == "float32"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes whose criteria are judged on the subject."""
        if not self.subject.trained:
            return ("every",)
        if isinstance(self.subject, TrainedSubject):
            last: tuple[Scope, ...] = ("gpt2-mini-d256",) if self.subject.recipe.size.name == "d256" else ()
            return ("every", "trained", *last)
        if self.subject.family != GPT2.key:
            return ("every", "trained")
        largest: tuple[Scope, ...] = ("gpt2-xl",) if self.subject.id == "gpt2-xl" else ()
        return ("every", "trained", "trained GPT-2", *largest)

    def count(self) -> int:
        return sum(map(len, self.waves()))

    def waves(self) -> list[tuple[Unit, ...]]:
        """The units up to this look, wave by wave. A larger effort adds waves and keeps the first."""
        waves = self._all_waves()
        return waves if self.look.last else waves[: self.look.number]

    def looks(self) -> list[Trial]:
        """The trial at each of its looks: one after each wave, or a single look."""
        planned = max(1, len(self._all_waves())) if self.stopping else 1
        return [replace(self, look=Look(number=k, of=planned)) for k in range(1, planned + 1)]

    def _all_waves(self) -> list[tuple[Unit, ...]]:
        prompts = self.prompts or (*SHORT, *MORE)
        per_start = len(self.prompts) or self.units.at(self.effort)
        size = min(self.units.standard or self.units.wave, self.units.wave)
        waves: list[tuple[Unit, ...]] = []
        for start in range(self.starts):
            units = tuple(Unit(prompt=prompts[i % len(prompts)], seed=i + 36 * start) for i in range(per_start))
            waves += [units[first : first + size] for first in range(0, len(units), size)]
        return waves
