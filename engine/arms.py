"""Arms: what to run. Frozen and hashable; an arm knows no claim and no criterion, and needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from engine.protocol import LINEAR_TO_TENTH, Protocol, Schedule

LATER = {"later": True}
"""Marks a field that came after arms had been measured: at its default it is no part of an arm's digest."""

Metric = Literal["l1", "l2"]
Optimizer = Literal["descent", "adam"]
Decoder = Literal["pseudo-inverse", "nearest"]
Observed = Literal["float", "8 bits"]
"""Activations as they are, or each position's rounded to 8 bits by its largest."""

ReadAt = Literal["hit", "N"]
Depth = int | Literal["all", "half"]
"""Number of blocks; a declaration may leave it to the model's depth, an arm holds the number."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The first `blocks` transformer blocks, with or without the final norm and the language-model head."""

    tag: ClassVar[str] = "Stack"
    blocks: Depth
    head: bool = False
    final_norm: bool = False

    def count(self, depth: int) -> int:
        """Its number of blocks in a model of `depth` blocks."""
        if isinstance(self.blocks, int):
            return self.blocks
        return depth if self.blocks == "all" else depth // 2


WHOLE = Stack(blocks="all", head=True, final_norm=True)
"""The model as its users run it."""


@dataclass(frozen=True, kw_only=True)
class SentenceNet:
    """A fully connected net over a whole sentence of n tokens: n·d → 4n·d → 4n·d, or → n·d when narrow.

    Source: the document's fully connected net (section 'Sentence Representation with Language Models').
    """

    tag: ClassVar[str] = "SentenceNet"
    tokens: int = 5
    narrow: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenNet:
    """A fully connected net applied to each token: d → 4d → d.

    d_model: None takes the subject's; any other size is fed random inputs of the subject's embedding scale.
    Source: the document's three-layer net that mimics a transformer's MLP.
    """

    tag: ClassVar[str] = "TokenNet"
    d_model: int | None = None
    seed: int = 0


Net = SentenceNet | TokenNet
AnyStack = Stack | SentenceNet | TokenNet


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One prompt with one start seed: what statistics count."""

    tag: ClassVar[str] = "Unit"
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What is run on which inputs, shared by descents and walks.

    subject, source: a catalogue id and the fingerprint of its weights.
    sigma: shift behind the bound. first_tokens: cut each prompt to this many tokens (None keeps all).
    """

    tag: ClassVar[str] = "StackSettings"
    subject: str
    source: str
    stack: AnyStack
    protocol: Protocol
    sigma: float = 0.05
    dtype: str = "float32"
    device: str = "cpu"
    first_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class DescentSettings(StackSettings):
    """Everything that two arms of one comparison share, or differ in by design.

    iterations: the schedule's length N, which is also the cap.
    blend: (s, t) of the start e₀ = s·noise + t·e. Source: the document's combination of noise and target.
    optimizer: plain gradient descent, as the document's, or Adam with its usual moments.
    """

    tag: ClassVar[str] = "DescentSettings"
    iterations: int
    metric: Metric = "l1"
    schedule: Schedule = LINEAR_TO_TENTH
    blend: tuple[float, float] = (1.0, 0.0)
    optimizer: Optimizer = field(default="descent", metadata=LATER)


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


@dataclass(frozen=True, kw_only=True)
class Method:
    """How tokens are found from activations, beside the start, the positions and the optimizer of the settings.

    decoder: a guess of an embedding stands for the token of the largest pseudo-inverse coefficient, or for the row of
    W that is nearest to it in L². token_by_token: one position is sought at a time, behind those that are settled.
    verify: tokens are taken once a forward pass gives the activations again, and looked for until one does.
    """

    tag: ClassVar[str] = "Method"
    decoder: Decoder = "nearest"
    token_by_token: bool = True
    verify: bool = True


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


def describe_stack(stack: AnyStack) -> str:
    """A stack in a few words, for reports and progress lines."""
    if isinstance(stack, Stack):
        words = f"{stack.blocks} block{'s' if stack.blocks != 1 else ''}, {'head' if stack.head else 'no head'}"
        return words + (", final norm" if stack.final_norm else ", no final norm")
    if isinstance(stack, SentenceNet):
        return f"fully connected over {stack.tokens} tokens, {'narrow' if stack.narrow else 'wide'}"
    return f"fully connected over each token, d = {stack.d_model or 'd_model'}"


def describe(settings: StackSettings) -> dict[str, str]:
    """Settings in words, for a report."""
    words = {"stack": describe_stack(settings.stack), "σ": f"{settings.sigma:g}"}
    if isinstance(settings, DescentSettings):
        words |= {
            "N": str(settings.iterations),
            "metric": settings.metric,
            "schedule": f"{settings.schedule.shape} to {settings.schedule.end:g}·η",
        }
        if settings.optimizer == "adam":
            words["optimizer"] = "Adam"
        if settings.blend != (1.0, 0.0):
            words["start"] = f"{settings.blend[0]:g}·noise + {settings.blend[1]:g}·e"
    return words | {"dtype": settings.dtype, "device": settings.device}
