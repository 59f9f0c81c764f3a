"""Which arms a kind of claim needs, and how they become estimates."""

from engine.procedures.base import Evidence, Procedure, Rounds, Trial, in_step
from engine.procedures.clamped import ClampedGain, ClampedText, ClampedWalk
from engine.procedures.decoding import CompareDecoding
from engine.procedures.embedding import CompareInverses, RoundTrip
from engine.procedures.estimators import Difference, GeometricMean, HitRate, HitRatio, Mean, Quotient, Rate, Trend
from engine.procedures.gradients import CompareGradients
from engine.procedures.inversions import Inversions
from engine.procedures.language import NextWord, ShiftAgreement
from engine.procedures.orthogonal import OrthogonalDrift, Orthogonality
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
    "ClampedGain",
    "ClampedText",
    "ClampedWalk",
    "CompareDecoding",
    "CompareGradients",
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
    "NextWord",
    "Not",
    "OrthogonalDrift",
    "Orthogonality",
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
    "ShiftAgreement",
    "TopFiveOverlap",
    "Trend",
    "Trial",
    "draw",
    "in_step",
]
