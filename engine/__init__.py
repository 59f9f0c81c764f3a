"""LM Claims: every name that a claim may import, and `recover` for a notebook of one's own.

A claim is a frozen declaration and one test that asserts its verdict; see CONTRIBUTING.md for an example.
Importing this package imports neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.protocol import CONTROLLED, DIRECT, PAGE, SCRIPT, Protocol, Schedule
from engine.arms.stacks import WHOLE, SentenceNet, Stack, TokenNet
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, AtMost, Below, Criterion, Within
from engine.claim.units import Units
from engine.claim.verdict import Verdict
from engine.experiments.clamped_walk.procedure import ClampedGain, ClampedText, ClampedWalk
from engine.experiments.conditioning.along_training import ConditioningExplains
from engine.experiments.conditioning.procedure import BlockConditioning, HeadSuppression
from engine.experiments.embedding.procedure import CompareInverses, RoundTrip
from engine.experiments.gradients.procedure import CompareGradients, GradientPrecision
from engine.experiments.inversion.estimators import (
    Difference,
    GeometricMean,
    HitRate,
    HitRatio,
    HitWidth,
    Mean,
    PooledMean,
    Rate,
    Ratio,
    Trend,
)
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import (
    Complement,
    DecodesTo,
    Exact,
    InputDistance,
    InsideBound,
    InTopFive,
    LastRecovered,
    LogFrequency,
    OutputDistance,
    Recovery,
    Repetition,
    SameNextToken,
    TopFiveOverlap,
)
from engine.experiments.inversion.samples import Sample
from engine.experiments.language.procedure import CompareDecoding, NextTokenIs, ShiftAgreement
from engine.experiments.orthogonal_walk.procedure import OrthogonalDrift, Orthogonality
from engine.experiments.recovery.procedure import (
    CheckSpeedup,
    Distinguishable,
    MarginOverNoise,
    Recovered,
    RecoveryDifference,
    RecoveryRate,
    Searches,
)
from engine.experiments.recovery.recovered import RecoveredPrompts, recover
from engine.experiments.recovery.searches import ABLATIONS, METHOD_STEPS, Search, SearchMethod
from engine.records import SeeAlso

if TYPE_CHECKING:
    from engine.commands.interactive import Inversion, invert, verify
    from engine.report.results import Result, Results, load

_LATER = {
    **dict.fromkeys(("Inversion", "invert", "verify"), "engine.commands.interactive"),
    **dict.fromkeys(("Result", "Results", "load"), "engine.report.results"),
}
"""What notebooks use and claims do not: it is imported when it is asked for."""


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


SMOLLM2 = "smollm2-135m"
SMOLLM2_UNTRAINED = "smollm2-135m-untrained"
GEMMA3 = "gemma3-270m"
GEMMA3_UNTRAINED = "gemma3-270m-untrained"
GPT2_UNTRAINED = "gpt2-untrained"
GPT2_SIZES = ("gpt2", "gpt2-medium", "gpt2-large")
GPT2_XL = "gpt2-xl"
TRAINED = (SMOLLM2, GEMMA3, *GPT2_SIZES)
"""The trained models that every claim about trained models is tested on."""

__all__ = [
    "ABLATIONS",
    "CONTROLLED",
    "DIRECT",
    "GEMMA3",
    "GEMMA3_UNTRAINED",
    "GPT2_SIZES",
    "GPT2_UNTRAINED",
    "GPT2_XL",
    "METHOD_STEPS",
    "PAGE",
    "SCRIPT",
    "SMOLLM2",
    "SMOLLM2_UNTRAINED",
    "TRAINED",
    "WHOLE",
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "BlockConditioning",
    "CheckSpeedup",
    "Claim",
    "ClampedGain",
    "ClampedText",
    "ClampedWalk",
    "CompareDecoding",
    "CompareGradients",
    "CompareInverses",
    "Complement",
    "ConditioningExplains",
    "Criterion",
    "DecodesTo",
    "Difference",
    "Distinguishable",
    "Exact",
    "GeometricMean",
    "GradientPrecision",
    "HeadSuppression",
    "HitRate",
    "HitRatio",
    "HitWidth",
    "InTopFive",
    "InputDistance",
    "InsideBound",
    "Inversion",
    "Inversions",
    "LastRecovered",
    "LogFrequency",
    "MarginOverNoise",
    "Mean",
    "NextTokenIs",
    "OrthogonalDrift",
    "Orthogonality",
    "OutputDistance",
    "PooledMean",
    "Protocol",
    "Rate",
    "Ratio",
    "Recovered",
    "RecoveredPrompts",
    "Recovery",
    "RecoveryDifference",
    "RecoveryRate",
    "Repetition",
    "Result",
    "Results",
    "RoundTrip",
    "SameNextToken",
    "Sample",
    "Schedule",
    "Search",
    "SearchMethod",
    "Searches",
    "SeeAlso",
    "SentenceNet",
    "ShiftAgreement",
    "Stack",
    "TokenNet",
    "TopFiveOverlap",
    "Trend",
    "Units",
    "Verdict",
    "Within",
    "invert",
    "load",
    "recover",
    "verify",
]
