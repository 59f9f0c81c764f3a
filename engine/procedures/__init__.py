"""Which arms a kind of claim needs, and how they become estimates."""

from engine.procedures.base import Evidence, Procedure, Rounds, Trial, in_step
from engine.procedures.embedding import CompareInverses, RoundTrip
from engine.procedures.estimators import Difference, GeometricMean, HitRate, HitRatio, Mean, Quotient, Rate
from engine.procedures.inversions import Inversions
from engine.procedures.readings import (
    Exact,
    InputDistance,
    InsideBound,
    InTopFive,
    LastRecovered,
    LogFrequency,
    Not,
    OutputDistance,
    Recovery,
    Repetition,
    SameNextToken,
    TopFiveOverlap,
)
from engine.procedures.samples import Sample, draw

__all__ = [
    "CompareInverses",
    "Difference",
    "Evidence",
    "Exact",
    "GeometricMean",
    "HitRate",
    "HitRatio",
    "InTopFive",
    "InputDistance",
    "InsideBound",
    "Inversions",
    "LastRecovered",
    "LogFrequency",
    "Mean",
    "Not",
    "OutputDistance",
    "Procedure",
    "Quotient",
    "Rate",
    "Recovery",
    "Repetition",
    "RoundTrip",
    "Rounds",
    "SameNextToken",
    "Sample",
    "TopFiveOverlap",
    "Trial",
    "draw",
    "in_step",
]
