"""What every arm is: a specification of what is run, frozen and hashable, that knows no claim and needs no torch.

A kind of arm is a folder in engine.experiments. Its `arm.py` declares the arm and its result, and with them all that
the rest of the engine has to know: where it is measured, what it costs, what to plan with before it is measured, and
which small arms tell whether a GPU measures it well.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from engine.arms.costs import Cost, CostModel
from engine.arms.prompts import SHORT
from engine.arms.settings import Unit

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

PROBE_UNITS = tuple(Unit(prompt=prompt, seed=k) for k, prompt in enumerate(SHORT[:3]))
PROBE_STEPS = 3
"""Of a descent or walk in float64."""

PROBE_BLOCKS = 4
"""Of the deepest stack of a probe."""

KINDS = "engine.experiments"
"""The package whose folders are kinds."""


class Result:
    """Base of what comes out of an arm, as plain numbers: a frozen dataclass with the arm's `kind`.

    A stopping reason is data, never an exception.
    """

    kind: Any

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source) if cls is not Result else _choose_by_kind(handler, [k.result for k in all_kinds()])


@dataclass(frozen=True, kw_only=True)
class ProbeTarget:
    """What a GPU is checked on: a model, by name, with its sizes."""

    subject: str
    source: str
    vocab: int
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A small arm whose numbers a CPU and a GPU both define.

    name: what it runs, in words. dtype: of its numbers. steps: of a descent, whose rounding adds up. blocks: that its
    numbers went through, 0 where none of a language model are.
    """

    arm: Arm
    name: str
    dtype: str
    steps: int = 1
    blocks: int = 0


class Arm:
    """Base of each kind: a frozen dataclass with these class variables, and `kind`, its name in stored files.

    tag: its name in digests. result: its result's class. measured_by: 'module:function' of what measures it, imported
    when it is. watched: whether that takes a third argument, an observer of descents. extension: by how many times its
    cost later rounds may widen it at most.
    """

    tag: ClassVar[str]
    kind: Any
    result: ClassVar[type[Result]]
    measured_by: ClassVar[str]
    watched: ClassVar[bool] = False
    extension: ClassVar[float] = 0.0

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Seconds and memory. Of a kind that does not say: those of a step for each of its units."""
        if costs.size is None:
            return Cost(seconds=1.0, memory_bytes=3e8)
        return costs.count_passes(len(getattr(self, "units", (None,))), 1, dtype_of(self))

    def assume(self) -> Result | None:
        """The result to plan with before there is one, so that later rounds are forecast; None ends a plan here."""
        return None

    @classmethod
    def list_probes(cls, target: ProbeTarget) -> Iterable[Probe]:
        """Small arms that tell whether a GPU measures as the CPU does; none where rounding alone makes them differ."""
        return ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source) if cls is not Arm else _choose_by_kind(handler, all_kinds())


def _choose_by_kind(handler: GetCoreSchemaHandler, classes: Iterable[type[Any]]) -> CoreSchema:
    from pydantic_core import core_schema

    choices: dict[Any, Any] = {one.kind: handler.generate_schema(one) for one in classes}
    return core_schema.tagged_union_schema(choices, "kind")


@cache
def kinds_by_name() -> Mapping[str, type[Arm]]:
    """Every kind by its `kind`, found by its folder."""
    found: dict[str, type[Arm]] = {}
    for folder in pkgutil.iter_modules(import_module(KINDS).__path__):
        if folder.ispkg:
            module = import_module(f"{KINDS}.{folder.name}.arm")
            for one in vars(module).values():
                if isinstance(one, type) and issubclass(one, Arm) and one.__module__ == module.__name__:
                    found[one.kind] = one
    return MappingProxyType(found)


def all_kinds() -> list[type[Arm]]:
    """Every kind, by the names of their folders."""
    return list(kinds_by_name().values())


def weights_of(arm: Arm) -> tuple[str, str]:
    """The subject that an arm runs on, and the fingerprint of its weights."""
    where: Any = getattr(arm, "settings", arm)
    return where.subject, where.source


def device_of(arm: Arm) -> str:
    """The kind of device that an arm is measured on: 'cpu' or 'cuda'."""
    where: Any = getattr(arm, "settings", arm)
    return where.device


def dtype_of(arm: Arm) -> str:
    """The precision of its numbers; '' where it names none."""
    return getattr(getattr(arm, "settings", arm), "dtype", "")
