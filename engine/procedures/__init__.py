"""Which arms a kind of claim needs, and how they become estimates."""

from engine.procedures.base import Evidence, Procedure, Rounds, Trial, in_step
from engine.procedures.embedding import CompareInverses, RoundTrip
from engine.procedures.hits import CompareHits
from engine.procedures.recovery import CompareRecovery, ExactBelow, ExactRate
from engine.procedures.samples import Sample, draw

__all__ = [
    "CompareHits",
    "CompareInverses",
    "CompareRecovery",
    "Evidence",
    "ExactBelow",
    "ExactRate",
    "Procedure",
    "RoundTrip",
    "Rounds",
    "Sample",
    "Trial",
    "draw",
    "in_step",
]
