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
from engine.procedures.recoveries import FewerChecks, Gain, MarginOverNoise, Recover, Recovered, RecoveryRate, ToldApart
from engine.procedures.samples import Sample, draw
from engine.procedures.searches import LADDER, LEFT_OUT, Rung, Search

__all__ = [
    "LADDER",
    "LEFT_OUT",
    "ClampedGain",
    "ClampedText",
    "ClampedWalk",
    "CompareDecoding",
    "CompareGradients",
    "CompareInverses",
    "Difference",
    "Evidence",
    "Exact",
    "FewerChecks",
    "Gain",
    "GeometricMean",
    "HitRate",
    "HitRatio",
    "InTopFive",
    "InputDistance",
    "InsideBound",
    "Inversions",
    "LastRecovered",
    "LogFrequency",
    "MarginOverNoise",
    "Mean",
    "NextWord",
    "Not",
    "OrthogonalDrift",
    "Orthogonality",
    "OutputDistance",
    "Procedure",
    "Quotient",
    "Rate",
    "Recover",
    "Recovered",
    "Recovery",
    "RecoveryRate",
    "Repetition",
    "RoundTrip",
    "Rounds",
    "Rung",
    "SameNextToken",
    "Sample",
    "Search",
    "ShiftAgreement",
    "ToldApart",
    "TopFiveOverlap",
    "Trend",
    "Trial",
    "draw",
    "in_step",
]
