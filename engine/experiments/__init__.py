"""From an arm to its result: poses the problem, runs it, reads it. The only room that knows both sides."""

from engine.experiments import clamping, embedding, gradients, inversion, language, recovery, tuning, walking
from engine.experiments.base import generator, measure

__all__ = [
    "clamping",
    "embedding",
    "generator",
    "gradients",
    "inversion",
    "language",
    "measure",
    "recovery",
    "tuning",
    "walking",
]
