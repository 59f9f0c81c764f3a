"""LM Claims: every name that a claim may import.

A claim is a frozen declaration and one test that asserts its verdict; see CONTRIBUTING.md for an example.
Importing this package imports neither torch nor transformers.
"""

from engine.arms import WHOLE, SentenceNet, Stack, TokenNet
from engine.claim import Above, AtLeast, AtMost, Below, Claim, Criterion, Verdict, Within
from engine.effort import Units
from engine.procedures import (
    ClampedGain,
    ClampedText,
    ClampedWalk,
    CompareDecoding,
    CompareGradients,
    CompareInverses,
    Difference,
    Exact,
    GeometricMean,
    HitRate,
    HitRatio,
    InputDistance,
    InsideBound,
    InTopFive,
    Inversions,
    LastRecovered,
    LogFrequency,
    Mean,
    NextWord,
    Not,
    OrthogonalDrift,
    Orthogonality,
    OutputDistance,
    Quotient,
    Rate,
    Recovery,
    Repetition,
    RoundTrip,
    SameNextToken,
    Sample,
    ShiftAgreement,
    TopFiveOverlap,
)
from engine.protocol import CONTROLLED, DIRECT, PAGE, SCRIPT, Protocol, Schedule

SMOLLM2 = "smollm2-135m"
SMOLLM2_UNTRAINED = "smollm2-135m-untrained"
GPT2_UNTRAINED = "gpt2-untrained"
GPT2_SIZES = ("gpt2", "gpt2-medium", "gpt2-large")
GPT2_XL = "gpt2-xl"

__all__ = [
    "CONTROLLED",
    "DIRECT",
    "GPT2_SIZES",
    "GPT2_UNTRAINED",
    "GPT2_XL",
    "PAGE",
    "SCRIPT",
    "SMOLLM2",
    "SMOLLM2_UNTRAINED",
    "WHOLE",
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Claim",
    "ClampedGain",
    "ClampedText",
    "ClampedWalk",
    "CompareDecoding",
    "CompareGradients",
    "CompareInverses",
    "Criterion",
    "Difference",
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
    "Protocol",
    "Quotient",
    "Rate",
    "Recovery",
    "Repetition",
    "RoundTrip",
    "SameNextToken",
    "Sample",
    "Schedule",
    "SentenceNet",
    "ShiftAgreement",
    "Stack",
    "TokenNet",
    "TopFiveOverlap",
    "Units",
    "Verdict",
    "Within",
]
