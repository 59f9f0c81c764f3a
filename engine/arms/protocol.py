"""How an inversion starts, what counts as close, and which positions the model is given.

Source: the catalogue's protocol table; the document's section 'Sentence Representation with Language Models'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.errors import DeclarationError, UsageError, explain

Positions = Literal["first", "true"]
BoundRule = Literal["shift", "start"]


@dataclass(frozen=True, kw_only=True)
class FixedSteps:
    """Step sizes η that a protocol fixes instead of tuning them, by stack and by whether its weights are trained.

    Source: the author's scripts.
    """

    tag: ClassVar[str] = "FixedSteps"
    open: float
    head_trained: float
    head_untrained: float
    net: float


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings of an experiment, all of which change its numbers.

    start_mean, start_std: of the normal start e₀; start_std None takes the target's own std(e).
    loss_scale: factor before the distance in the loss (it scales the gradient, not the distance).
    positions: 'first' gives every token position 0, as the document's listing does; 'true' gives 0…n-1.
    bound: 'shift' is m(σ), 'start' is start_fraction · (σ/reference σ) of the run's own start distance.
    steps: None tunes the step size of each arm.
    """

    tag: ClassVar[str] = "Protocol"
    name: str
    start_mean: float = 0.0
    start_std: float | None = None
    loss_scale: float = 1.0
    positions: Positions = "true"
    bound: BoundRule = "start"
    start_fraction: float = 0.3
    reference_sigma: float = 0.05
    shift_draws: int = 16
    steps: FixedSteps | None = None

    def __post_init__(self) -> None:
        if self.start_std is not None and self.start_std <= 0:
            raise DeclarationError(
                explain(
                    who=f"protocol {self.name}",
                    got=f"start_std={self.start_std}",
                    expected="a positive number or None",
                    remedy="None takes the target's own standard deviation",
                )
            )


PAGE = Protocol(name="page", start_mean=0.5, start_std=0.05, positions="first", bound="shift")
SCRIPT = Protocol(
    name="script",
    start_mean=0.0,
    start_std=1.0,
    loss_scale=0.1,
    positions="first",
    bound="shift",
    # The scripts fix 2 and 0.01; 0.0007 for a trained model with head is what a comment in one of them suggests.
    steps=FixedSteps(open=2.0, head_trained=0.0007, head_untrained=0.01, net=2.0),
)
"""The settings of the author's scripts, which cover GPT-2 alone: other families have no item under it."""
CONTROLLED = Protocol(name="controlled", start_mean=0.0, start_std=None, positions="true", bound="start")
PAGE_SHARE = replace(PAGE, name="page-share", bound="start")
"""The document's start and positions with the bound of `controlled`: one share of each run's own way.

Along training embeddings grow, so that the document's bound, a shift by 1/20, asks for less than nothing at first: at
initialization some runs start inside it.
"""
DIRECT = Protocol(name="direct")
"""For claims without a descent or walk: there is no start, step or bound."""

PROTOCOLS = {p.name: p for p in (PAGE, SCRIPT, PAGE_SHARE, CONTROLLED, DIRECT)}


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises UsageError that lists the names."""
    if name not in PROTOCOLS:
        raise UsageError(
            explain(who="--protocol", got=repr(name), expected=f"one of {', '.join(PROTOCOLS)}", remedy="pick one")
        )
    return PROTOCOLS[name]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Step size along a descent of N iterations: η at n = 0, end · η at n = N.

    Source: equation 1's text (linearly from η to η/10).
    """

    tag: ClassVar[str] = "Schedule"
    shape: Literal["linear", "cosine", "constant"] = "linear"
    end: float = 0.1


LINEAR_TO_TENTH = Schedule()
