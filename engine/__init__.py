"""LM Claims: every name that a claim may import, and `recover` for a notebook of one's own.

A claim is a frozen declaration and one test that asserts its verdict; see CONTRIBUTING.md for an example.
Importing this package imports neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.protocol import CONTROLLED, DIRECT, PAGE, PAGE_SHARE, SCRIPT, Protocol, Schedule
from engine.arms.stacks import WHOLE, SentenceNet, Stack, TokenNet
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, AtMost, Below, Criterion, Scope, Within
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
    Iterations,
    LastRecovered,
    LogFrequency,
    OutputDistance,
    Recovery,
    Repetition,
    SameNextToken,
    TopFiveOverlap,
)
from engine.experiments.inversion.samples import Sample
from engine.experiments.language.compare import CompareDecoding, CompareTraining
from engine.experiments.language.decoding import Decoding
from engine.experiments.language.procedure import NextTokenIs, ShiftAgreement
from engine.experiments.orthogonal_walk.procedure import OrthogonalDrift, Orthogonality
from engine.experiments.recovery.noise_procedure import NoiseTolerance
from engine.experiments.recovery.procedure import (
    CheckSpeedup,
    Distinguishable,
    Margin,
    MarginOverNoise,
    MarginRatio,
    Recovered,
    RecoveryDifference,
    RecoveryRate,
    Searches,
)
from engine.experiments.recovery.recovered import RecoveredPrompts, recover
from engine.experiments.recovery.searches import ABLATIONS, METHOD_STEPS, Search, SearchMethod
from engine.experiments.training.procedure import FirstOverLast
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
FAMILY = ("gpt2-mini-d64", "gpt2-mini-d128", "gpt2-mini-d192", "gpt2-mini-d256")
"""GPT-2 in small, trained by the suite itself: sizes of equal text, with checkpoints and several seeds."""
LARGEST = "gpt2-mini-d256"
"""Of these, the one that sizes are compared on."""
COSTLY_FAMILY = FAMILY[1:]
"""Those whose training takes more than standard effort may."""

__all__ = [
    "ABLATIONS",
    "CONTROLLED",
    "COSTLY_FAMILY",
    "DIRECT",
    "FAMILY",
    "GEMMA3",
    "GEMMA3_UNTRAINED",
    "GPT2_SIZES",
    "GPT2_UNTRAINED",
    "GPT2_XL",
    "LARGEST",
    "METHOD_STEPS",
    "PAGE",
    "PAGE_SHARE",
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
    "CompareTraining",
    "Complement",
    "ConditioningExplains",
    "Criterion",
    "DecodesTo",
    "Decoding",
    "Difference",
    "Distinguishable",
    "Exact",
    "FirstOverLast",
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
    "Iterations",
    "LastRecovered",
    "LogFrequency",
    "Margin",
    "MarginOverNoise",
    "MarginRatio",
    "Mean",
    "NextTokenIs",
    "NoiseTolerance",
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
    "Scope",
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
