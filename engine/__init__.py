"""LM Claims: every name that a claim may import.

A claim is a frozen declaration and one test that asserts its verdict; see CONTRIBUTING.md for an example.
Importing this package imports neither torch nor transformers.
"""

from engine.claim import Above, AtLeast, AtMost, Below, Claim, Criterion, Verdict, Within
from engine.effort import Units
from engine.measurement import SentenceNet, Stack
from engine.procedures import (
    CompareHits,
    CompareInverses,
    CompareRecovery,
    ExactBelow,
    ExactRate,
    RoundTrip,
    Sample,
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
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Claim",
    "CompareHits",
    "CompareInverses",
    "CompareRecovery",
    "Criterion",
    "ExactBelow",
    "ExactRate",
    "Protocol",
    "RoundTrip",
    "Sample",
    "Schedule",
    "SentenceNet",
    "Stack",
    "Units",
    "Verdict",
    "Within",
]
