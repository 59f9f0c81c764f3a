"""Ways to run arms: one after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Protocol as Interface

from engine.arms.arm import Arm, weights_of
from engine.arms.measurement import Measurement
from engine.errors import MissingError, explain, no_exits
from engine.running.waiting import Waiting


class DoesNotFitError(MissingError):
    """An arm that this machine or budget has no room for."""

    def __init__(self, arm: Arm, words: str) -> None:
        super().__init__(words)
        self.arm = arm


class Executor(Interface):
    """Runs arms. Whatever it is, equal arms give equal numbers."""

    def choose(self, waiting: Waiting) -> Arm | None:
        """The arm to begin next, which goes on waiting; None when nothing can be begun before another has finished.

        Raises DoesNotFitError, with both figures, for an arm that this machine or budget has no room for.
        """
        ...

    def submit(self, arm: Arm) -> Future[Measurement]:
        """Begin an arm that was chosen. The experiment's error is the future's."""
        ...

    def shutdown(self) -> None:
        """Nothing will be asked for some time; what is still being measured is given up."""
        ...


class Sequential(ABC):
    """One arm after the other: each is measured when it is submitted."""

    @abstractmethod
    def run(self, arm: Arm) -> Measurement:
        """Measure one arm, or let the experiment's error through."""

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

    def shutdown(self) -> None:  # noqa: B027 (nothing is under way, and models stay loaded for what may come next)
        """Nothing to give up."""


class StoredOnly(Sequential):
    """Measures nothing: every arm that is asked of it is refused."""

    def choose(self, waiting: Waiting) -> Arm | None:
        arm = waiting.first
        if arm is None:
            return None
        raise DoesNotFitError(
            arm,
            explain(
                who=f"{arm.kind} on {weights_of(arm)[0]}",
                got="no measurement of it in the ledger",
                expected="one, since --stored measures nothing",
                remedy="leave --stored out, or name the ledger that holds it by --ledger",
            ),
        )

    def run(self, arm: Arm) -> Measurement:
        raise AssertionError("no arm is chosen")
