"""Efforts, and how many units a claim gets at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.errors import UsageError, explain

Effort = Literal["smoke", "standard", "full"]
EFFORTS: tuple[Effort, ...] = ("smoke", "standard", "full")


def find_effort(name: str) -> Effort:
    """The effort called `name`. Raises UsageError that lists the names."""
    for effort in EFFORTS:
        if effort == name:
            return effort
    raise UsageError(
        explain(who="--effort", got=repr(name), expected=f"one of {', '.join(EFFORTS)}", remedy="pick one")
    )


@dataclass(frozen=True, kw_only=True)
class Units:
    """Most units at each effort. 0 skips the claim at that effort ("not run at this effort").

    wave: units measured before each look at whether the claim is decided. A net over a whole sentence costs as much
    for three runs as for nine, so that its claims take all units at once.
    """

    tag: ClassVar[str] = "Units"
    smoke: int = 2
    standard: int = 36
    full: int = 36
    wave: int = 12

    def at(self, effort: Effort) -> int:
        return {"smoke": self.smoke, "standard": self.standard, "full": self.full}[effort]
