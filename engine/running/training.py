"""Models that the suite trains itself are trained before anything is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.arms.arm import Arm, all_kinds, device_of, weights_of
from engine.arms.measurement import Measurement
from engine.claim.procedure import Rounds
from engine.experiments.training.arm import TrainingArm
from engine.models.trained import TrainedSubject, find_trained


def train_first(rounds: Rounds, is_stored: Callable[[Arm], bool]) -> Rounds:
    """The same rounds, with a round of trainings before each that needs models which no round before it has trained.

    What is stored needs no model. is_stored: asked only of arms on models that the suite trains.
    """
    trained: set[Arm] = set()
    given: Sequence[Measurement] | None = None
    while True:
        try:
            asked = next(rounds) if given is None else rounds.send(given)
        except StopIteration as end:
            return end.value
        needed = {
            training: None
            for arm in asked
            if (training := find_training(arm)) is not None and training not in trained and not is_stored(arm)
        }
        if needed:
            _ = yield tuple(needed)
            trained |= set(needed)
        given = yield asked


def find_training(arm: Arm) -> TrainingArm | None:
    """The training of the model that an arm runs on; None for a model of another kind, and for a training itself."""
    if isinstance(arm, TrainingArm) or type(arm) not in all_kinds():
        return None
    found = find_trained(weights_of(arm)[0])
    if not isinstance(found, TrainedSubject):
        return None
    return TrainingArm.of(found, device_of(arm))
