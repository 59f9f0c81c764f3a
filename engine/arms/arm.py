"""Arms: what to run. Frozen and hashable; an arm knows no claim and no criterion, and needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from engine.arms.settings import LATER, DescentSettings, Method, Observed, ReadAt, StackSettings, Unit
from engine.arms.stacks import Stack


@dataclass(frozen=True, kw_only=True)
class InversionArm:
    """Descents from noise to the output of each unit's prompt, at one step size.

    batch: runs that descend together, part of the arm because it can change a last bit.
    probe: a stack with head whose next token is read from e, from e₀, from e_N, from what e_N decodes to, and from
    e shifted at random as far as e_N lies from it.
    """

    tag: ClassVar[str] = "InversionArm"
    settings: DescentSettings
    step: float
    units: tuple[Unit, ...]
    read_at: ReadAt
    batch: int
    snapshots: tuple[int, ...] = ()
    probe: Stack | None = None
    kind: Literal["inversion"] = "inversion"


@dataclass(frozen=True, kw_only=True)
class TuningArm:
    """Descents at several step sizes, stopped once the one with the smallest median hit is known.

    horizon: iterations to look at (at most N); a later median could not win any more.
    alone: each prompt's last token moves alone, behind the others as they are; prompts are of one length.
    """

    tag: ClassVar[str] = "TuningArm"
    settings: DescentSettings
    steps: tuple[float, ...]
    units: tuple[Unit, ...]
    horizon: int
    batch: int
    alone: bool = field(default=False, metadata=LATER)
    kind: Literal["tuning"] = "tuning"


LATER_STARTS = 4
"""Starts behind each guess after the first; the one that comes closest to the activations is taken."""


@dataclass(frozen=True, kw_only=True)
class RecoveryArm:
    """Prompts sought from their activations alone, at every position behind the stack.

    batch: prompts that are sought together.
    Source: Nikolaou et al. 2025 (arXiv 2510.15511) for the order of positions and the check of candidates.
    """

    tag: ClassVar[str] = "RecoveryArm"
    settings: DescentSettings
    method: Method
    step: float
    units: tuple[Unit, ...]
    batch: int
    observed: Observed = "float"
    kind: Literal["recovery"] = "recovery"


@dataclass(frozen=True, kw_only=True)
class MarginArm:
    """One position of each unit held against the whole vocabulary, behind the prompt's own tokens.

    How far the activations of every other token lie from those of the prompt's, beside the noise of equal inputs.
    """

    tag: ClassVar[str] = "MarginArm"
    settings: StackSettings
    units: tuple[Unit, ...]
    observed: Observed = "float"
    kind: Literal["margin"] = "margin"


@dataclass(frozen=True, kw_only=True)
class RoundTripArm:
    """The pseudo-inverse decoding of every row of the token-embedding matrix."""

    tag: ClassVar[str] = "RoundTripArm"
    subject: str
    source: str
    dtype: str = "float32"
    device: str = "cpu"
    kind: Literal["round trip"] = "round trip"


@dataclass(frozen=True, kw_only=True)
class PseudoInverseArm:
    """The pseudo-inverse of a matrix as a limit of ridge solutions and from the SVD, in float64.

    matrix: 'embedding', or a random one given as 'random:ROWSxCOLUMNS:rank=R:seed=K'.
    """

    tag: ClassVar[str] = "PseudoInverseArm"
    subject: str
    source: str
    matrix: str
    device: str = "cpu"
    kind: Literal["pseudo-inverse"] = "pseudo-inverse"


@dataclass(frozen=True, kw_only=True)
class VocabularyArm:
    """How frequent, as English words, the tokens of a vocabulary are: what a random decoding would look like."""

    tag: ClassVar[str] = "VocabularyArm"
    subject: str
    source: str
    device: str = "cpu"
    kind: Literal["vocabulary"] = "vocabulary"


@dataclass(frozen=True, kw_only=True)
class NextTokenArm:
    """The whole model's next token after each unit's prompt, and after its embeddings shifted by N(0, sigma²).

    draws: shifts of each unit; 0 reads the prompt alone.
    """

    tag: ClassVar[str] = "NextTokenArm"
    subject: str
    source: str
    units: tuple[Unit, ...]
    sigma: float = 0.05
    draws: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    kind: Literal["next token"] = "next token"


@dataclass(frozen=True, kw_only=True)
class GenerationArm:
    """Continuations of each unit's prompt by the library's own decoding: greedy at one beam, else beam search.

    batch: prompts that are continued together, padded on the left.
    """

    tag: ClassVar[str] = "GenerationArm"
    subject: str
    source: str
    units: tuple[Unit, ...]
    new_tokens: int
    beams: int
    batch: int
    dtype: str = "float32"
    device: str = "cpu"
    kind: Literal["generation"] = "generation"


@dataclass(frozen=True, kw_only=True)
class GradientArm:
    """The input gradient of the summed output, three ways: of the sum, against ones, and output by output.

    Source: the document's summed, layer and individual gradients (section 'Orthogonal Walk Representations').
    """

    tag: ClassVar[str] = "GradientArm"
    settings: StackSettings
    units: tuple[Unit, ...]
    kind: Literal["gradient"] = "gradient"


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkArm:
    """Walks along right-singular vectors that are orthogonal to every token's gradient of the summed output.

    step: length factor of the unit vector, the same for all `steps`. vectors: the last one broadcast to every token,
    or one of the last ones for each token. Source: the document's orthogonal walk.
    """

    tag: ClassVar[str] = "OrthogonalWalkArm"
    settings: StackSettings
    units: tuple[Unit, ...]
    steps: int
    step: float
    vectors: Literal["broadcast", "per token"]
    kind: Literal["orthogonal walk"] = "orthogonal walk"


@dataclass(frozen=True, kw_only=True)
class WalkChoice:
    """One setting of a clamped walk: noise of a shift, step size of the descent, and outer steps at most."""

    tag: ClassVar[str] = "WalkChoice"
    noise: float
    step: float
    outer: int


@dataclass(frozen=True, kw_only=True)
class ClampedWalkArm:
    """Walks that shift the embeddings from a random index on and descend on those before it to mend the output.

    choices: every unit walks under each. inner: descent steps after each shift.
    law: of the noise; 'uniform' is on [0, 1). scaled: noise in units of the walk's own mean |e|, and step in units of
    noise over the mean size of the walk's first gradient; otherwise both are absolute.
    stop_at: a walk stands still once ‖e − e_n‖₁ has reached this share of ‖e‖₁ (None never stops).
    reads: outer steps after which a walk is read, beside its end.
    Source: the document's clamped walk (section 'Clamped Gradient Walk Representations').
    """

    tag: ClassVar[str] = "ClampedWalkArm"
    settings: StackSettings
    choices: tuple[WalkChoice, ...]
    units: tuple[Unit, ...]
    inner: int
    law: Literal["normal", "uniform"] = "normal"
    scaled: bool = True
    stop_at: float | None = None
    reads: tuple[int, ...] = ()
    kind: Literal["clamped walk"] = "clamped walk"


Arm = (
    InversionArm
    | TuningArm
    | RecoveryArm
    | MarginArm
    | RoundTripArm
    | PseudoInverseArm
    | VocabularyArm
    | NextTokenArm
    | GenerationArm
    | GradientArm
    | OrthogonalWalkArm
    | ClampedWalkArm
)


def weights_of(arm: Arm) -> tuple[str, str]:
    """The subject that an arm runs on, and the fingerprint of its weights."""
    where: Any = getattr(arm, "settings", arm)
    return where.subject, where.source
