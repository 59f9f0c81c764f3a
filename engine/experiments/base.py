"""One function for every kind of arm, and random numbers that every machine draws alike."""

from __future__ import annotations

import hashlib
from functools import singledispatch

import torch

from engine.arms import Arm
from engine.results import Result
from engine.shelf import Shelf

TOP = 5
"""Most activated tokens that a reading keeps at each position."""


def generator(purpose: str, seed: int | str) -> torch.Generator:
    """A CPU generator of its own for each purpose and seed, the same on every machine."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@singledispatch
def measure(arm: Arm, shelf: Shelf) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads."""
    raise TypeError(f"measure: no experiment for {type(arm).__name__}")
