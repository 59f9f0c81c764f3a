"""Tunes the step size of each size of the trained family on a short run: `python -m engine.studies.rates [SIZE …]`.

The rates that it found stand in engine/models/trained.py. Run it again when sizes, text or batches change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

import torch

from engine.experiments.training.measure import VALIDATION_TOKENS, one_thread
from engine.methods.training import TrainingPlan, TrainingRun, evaluate, start_training, train
from engine.models import draw_weights
from engine.models.subject import use_torch_parts
from engine.models.trained import SIZES, Recipe, Size
from engine.models.training_text import tokenize

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
STEPS = 600
SEED = 100
"""A seed that no claim uses."""


def tune(size: Size, rates: Iterable[float] = RATES, steps: int = STEPS) -> dict[float, float]:
    """Validation loss after a short training, whole schedule included, by rate."""
    recipe = Recipe(size=size, seed=SEED)
    text = tokenize(recipe.text)
    training = torch.from_numpy(text.training.astype("int32"))
    validation = torch.from_numpy(text.validation[:VALIDATION_TOKENS].astype("int32"))
    plan = TrainingPlan(
        steps=steps,
        batch=recipe.batch,
        context=recipe.context,
        rate=0.0,
        warmup=recipe.warmup * steps // recipe.steps,
        decay=recipe.decay,
    )
    losses: dict[float, float] = {}
    with one_thread():
        for rate in rates:
            model = use_torch_parts(draw_weights(recipe.stem, recipe.config(), seed=SEED, dtype=torch.float32))
            one = replace(plan, rate=rate)
            train(start_training(model, one, SEED), training, one, _ignore)
            losses[rate] = evaluate(model, validation, recipe.context)
    return losses


def _ignore(run: TrainingRun) -> None:
    """Nothing is kept of a short run."""


def main() -> None:
    for name in sys.argv[1:] or SIZES:
        for rate, loss in tune(SIZES[name]).items():
            print(f"{name}  rate {rate:g}: {loss:.4f} nats a token after {STEPS} steps", flush=True)


if __name__ == "__main__":
    main()
