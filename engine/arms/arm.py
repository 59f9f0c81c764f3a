"""The base of every arm: a frozen, hashable specification of one measurement. It knows no claim and needs no torch.

Each kind of arm is a folder in engine.experiments. Its `arm.py` declares the arm and its result, and with them all
that the rest of the engine needs to know: which function measures it, what it costs, what result to assume while
planning, and which small arms check whether a GPU measures it correctly.
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

CHECK_UNITS = tuple(Unit(prompt=prompt, seed=k) for k, prompt in enumerate(SHORT[:3]))
CHECK_STEPS = 3
"""Steps of a GPU check's descent or walk in float64."""

CHECK_BLOCKS = 4
"""Blocks of a GPU check's deepest stack."""

KINDS = "engine.experiments"
"""The package whose folders are the kinds of arms."""


class Result:
    """Base of the result of an arm: a frozen dataclass of plain numbers with the arm's `kind`.

    A stopping reason is data, never an exception.
    """

    kind: Any

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source) if cls is not Result else _choose_by_kind(handler, [k.result for k in all_kinds()])


@dataclass(frozen=True, kw_only=True)
class GpuCheckTarget:
    """The model on which a GPU is checked, with its sizes."""

    subject: str
    source: str
    vocab: int
    blocks: int


@dataclass(frozen=True, kw_only=True)
class GpuCheck:
    """A small arm that must give the same numbers on a CPU and a GPU, up to rounding.

    name: what it runs, in words. dtype: of its numbers. steps: of a descent, over which rounding adds up. blocks: that
    its numbers pass through; 0 without a language model.
    """

    arm: Arm
    name: str
    dtype: str
    steps: int = 1
    blocks: int = 0


class Arm:
    """Base of each kind of arm: a frozen dataclass with these class variables, and `kind`, its name in stored files.

    tag: its name in digests. result: the class of its result. measured_by: 'module:function' that measures it, imported
    at the first measurement. watched: whether that function takes a third argument, an observer of descents.
    extension: the most that later rounds may add to it, in multiples of its cost.
    """

    tag: ClassVar[str]
    kind: Any
    result: ClassVar[type[Result]]
    measured_by: ClassVar[str]
    watched: ClassVar[bool] = False
    extension: ClassVar[float] = 0.0

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Expected seconds and memory. The default is one forward pass for each unit."""
        if costs.size is None:
            return Cost(seconds=1.0, memory_bytes=3e8)
        return costs.count_passes(len(getattr(self, "units", (None,))), 1, dtype_of(self))

    def assume(self) -> Result | None:
        """The result that a plan assumes, so that it covers later rounds. None ends the plan at this arm."""
        return None

    def is_available(self) -> bool:
        """Whether what the arm leaves on this machine beside its result is there. Most arms leave nothing."""
        return True

    def describe_progress(self) -> str:
        """How far its measuring is, in words, while it runs on this machine; '' if nothing is known."""
        return ""

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        """Small arms that check a GPU against the CPU; none if rounding alone makes the results differ."""
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
    """All kinds of arms by their `kind`. Each folder of KINDS is searched."""
    found: dict[str, type[Arm]] = {}
    for folder in pkgutil.iter_modules(import_module(KINDS).__path__):
        if folder.ispkg:
            module = import_module(f"{KINDS}.{folder.name}.arm")
            for one in vars(module).values():
                if isinstance(one, type) and issubclass(one, Arm) and one.__module__ == module.__name__:
                    found[one.kind] = one
    return MappingProxyType(found)


def all_kinds() -> list[type[Arm]]:
    """All kinds of arms, in the order of their folders' names."""
    return list(kinds_by_name().values())


def settings_of(arm: Arm) -> Any:
    """What holds an arm's subject, source, device and dtype: its `settings`, or the arm itself."""
    return getattr(arm, "settings", arm)


def weights_of(arm: Arm) -> tuple[str, str]:
    """The subject that an arm runs on ('none' without a model), and the fingerprint of its weights."""
    return settings_of(arm).subject, settings_of(arm).source


def device_of(arm: Arm) -> str:
    """The kind of device that an arm is measured on: 'cpu' or 'cuda'."""
    return settings_of(arm).device


def dtype_of(arm: Arm) -> str:
    """The precision of an arm's numbers; '' if it names none."""
    return getattr(settings_of(arm), "dtype", "")


def name_arm(arm: Arm) -> str:
    """An arm in a message: 'inversion on smollm2-135m'."""
    return f"{arm.kind} on {weights_of(arm)[0]}"
