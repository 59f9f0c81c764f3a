"""LM Claims: every name that a claim may import.

A claim is a frozen declaration and one test that asserts its verdict; see CONTRIBUTING.md for an example.
Importing this package imports neither torch nor transformers.
"""

from engine.arms.protocol import CONTROLLED, DIRECT, PAGE, SCRIPT, Protocol, Schedule
from engine.arms.stacks import WHOLE, SentenceNet, Stack, TokenNet
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, AtMost, Below, Criterion, Verdict, Within
from engine.claim.units import Units
from engine.experiments.clamped_walk.procedure import ClampedGain, ClampedText, ClampedWalk
from engine.experiments.embedding.procedure import CompareInverses, RoundTrip
from engine.experiments.gradients.procedure import CompareGradients
from engine.experiments.inversion.estimators import (
    Difference,
    GeometricMean,
    HitRate,
    HitRatio,
    Mean,
    Quotient,
    Rate,
    Trend,
)
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import (
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
from engine.experiments.inversion.samples import Sample
from engine.experiments.language.decoding import CompareDecoding
from engine.experiments.language.procedure import NextWord, ShiftAgreement
from engine.experiments.orthogonal_walk.procedure import OrthogonalDrift, Orthogonality
from engine.experiments.recovery.procedure import (
    FewerChecks,
    Gain,
    MarginOverNoise,
    Recover,
    Recovered,
    RecoveryRate,
    ToldApart,
)
from engine.experiments.recovery.searches import LADDER, LEFT_OUT, Rung, Search
from engine.records import Beyond

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
    "LADDER",
    "LEFT_OUT",
    "PAGE",
    "SCRIPT",
    "SMOLLM2",
    "SMOLLM2_UNTRAINED",
    "WHOLE",
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Beyond",
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
    "Protocol",
    "Quotient",
    "Rate",
    "Recover",
    "Recovered",
    "Recovery",
    "RecoveryRate",
    "Repetition",
    "RoundTrip",
    "Rung",
    "SameNextToken",
    "Sample",
    "Schedule",
    "Search",
    "SentenceNet",
    "ShiftAgreement",
    "Stack",
    "TokenNet",
    "ToldApart",
    "TopFiveOverlap",
    "Trend",
    "Units",
    "Verdict",
    "Within",
]
