"""What every executor offers, and the simplest kinds: one arm after the other, and none at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Protocol as Interface

from engine.arms.arm import Arm, name_arm
from engine.arms.measurement import Measurement
from engine.errors import EngineError, MissingError, explain, no_exits
from engine.running.waiting import Waiting

ATTEMPTS = 2
"""Attempts at an arm whose process dies."""


def dead_error(arm: Arm, what: str, how: str, remedy: str) -> EngineError:
    """The error for an arm whose process died at every attempt. what: died, such as 'a process'. how: its end."""
    got = f"{what} that died {ATTEMPTS} times while it was measured ({how})"
    return EngineError(explain(who=name_arm(arm), got=got, expected="a measurement", remedy=remedy))


class DoesNotFitError(MissingError):
    """An arm needs more memory than this machine or its budget has."""

    def __init__(self, arm: Arm, words: str) -> None:
        super().__init__(words)
        self.arm = arm


class Executor(Interface):
    """Runs arms. Equal arms give equal numbers under every executor."""

    def choose(self, waiting: Waiting) -> Arm | None:
        """The arm to start next; the caller takes it out of `waiting`. None if nothing can start until an arm ends.

        Raises DoesNotFitError, with both figures, for an arm that this machine or budget has no room for.
        """
        ...

    def submit(self, arm: Arm) -> Future[Measurement]:
        """Start the arm that was chosen. An error of its experiment becomes the future's."""
        ...

    def shutdown(self) -> None:
        """Give up what is still being measured, and release what is held. The executor may be used again."""
        ...


class Sequential(ABC):
    """Measures each arm as it is submitted, one after the other."""

    @abstractmethod
    def run(self, arm: Arm) -> Measurement:
        """Measure one arm. Raises what the experiment raises."""

    def choose(self, waiting: Waiting) -> Arm | None:
        return waiting.first

    def submit(self, arm: Arm) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        try:
            with no_exits():
                future.set_result(self.run(arm))
        except Exception as error:  # an interrupt is no outcome of an arm
            future.set_exception(error)
        return future

    def shutdown(self) -> None:  # noqa: B027 (no arm is running, and models stay loaded for the next ones)
        """Does nothing."""


class StoredOnly(Sequential):
    """Measures nothing: it refuses every arm, for sessions that only read the ledger."""

    def choose(self, waiting: Waiting) -> Arm | None:
        arm = waiting.first
        if arm is None:
            return None
        raise DoesNotFitError(
            arm,
            explain(
                who=name_arm(arm),
                got="no measurement of it in the ledger",
                expected="one, since --stored measures nothing",
                remedy="leave --stored out, or name the ledger that holds it by --ledger",
            ),
        )

    def run(self, arm: Arm) -> Measurement:
        raise AssertionError("no arm is chosen")
