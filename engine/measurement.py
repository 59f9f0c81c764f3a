"""Arms (what to run) and measurements (what came out). An arm knows no claim and no criterion.

Arms are frozen and hashable; an arm's digest covers every setting that can change its numbers.
Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter

from engine.protocol import LINEAR_TO_TENTH, Protocol, Schedule
from engine.records import Number, Provenance

NUMERICS = 1
"""Version of the numerics: raised whenever the same arm would give other numbers (a golden test watches)."""

SCHEMA = 1
"""Version of the stored form of a measurement."""

Metric = Literal["l1", "l2"]
ReadAt = Literal["hit", "N"]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The first `blocks` transformer blocks, with or without the final norm and the language-model head."""

    blocks: int
    head: bool = False
    final_norm: bool = False


@dataclass(frozen=True, kw_only=True)
class SentenceNet:
    """A fully connected net over a whole sentence of n tokens: n·d → 4n·d → 4n·d, or → n·d when narrow.

    Source: the document's fully connected net (section 'Sentence Representation with Language Models').
    """

    tokens: int = 5
    narrow: bool = False
    seed: int = 0


AnyStack = Stack | SentenceNet


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One prompt with one start seed: what statistics count."""

    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class DescentSettings:
    """Everything that two arms of one comparison share, or differ in by design.

    subject, source: a catalogue id and the fingerprint of its weights.
    sigma: shift behind the bound. iterations: the schedule's length N, which is also the cap.
    first_tokens: cut each prompt to this many tokens (None keeps all).
    """

    subject: str
    source: str
    stack: AnyStack
    protocol: Protocol
    iterations: int
    sigma: float = 0.05
    metric: Metric = "l1"
    schedule: Schedule = LINEAR_TO_TENTH
    dtype: str = "float32"
    device: str = "cpu"
    first_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class InversionArm:
    """Descents from noise to the output of each unit's prompt, at one step size.

    batch: runs that descend together, part of the arm because it can change a last bit.
    """

    settings: DescentSettings
    step: float
    units: tuple[Unit, ...]
    read_at: ReadAt
    batch: int
    snapshots: tuple[int, ...] = ()
    kind: Literal["inversion"] = "inversion"


@dataclass(frozen=True, kw_only=True)
class TuningArm:
    """Descents at several step sizes, stopped once the one with the smallest median hit is known.

    horizon: iterations to look at (at most N); a later median could not win any more.
    """

    settings: DescentSettings
    steps: tuple[float, ...]
    units: tuple[Unit, ...]
    horizon: int
    batch: int
    kind: Literal["tuning"] = "tuning"


@dataclass(frozen=True, kw_only=True)
class RoundTripArm:
    """The pseudo-inverse decoding of every row of the token-embedding matrix."""

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

    subject: str
    source: str
    matrix: str
    device: str = "cpu"
    kind: Literal["pseudo-inverse"] = "pseudo-inverse"


Arm = InversionArm | TuningArm | RoundTripArm | PseudoInverseArm


class Stop(StrEnum):
    """Why a descent ended; each member reads on in a sentence."""

    HIT = "hit"
    CAP = "cap"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one iteration: distances and the five most activated tokens at each position."""

    iteration: int
    distance: Number
    l2: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class InversionRun:
    """One descent.

    hit: first iteration with a distance below the bound, None when there was none by `ended_at`.
    recovery, ceiling: share of positions decoded to the target from the result and from e itself.
    """

    prompt: str
    seed: int
    target: tuple[int, ...]
    hit: int | None
    stop: Stop
    ended_at: int
    bound: Number
    start_distance: Number
    final_distance: Number
    final_l2: Number
    recovery: Number
    ceiling: Number
    snapshots: tuple[Snapshot, ...]
    curve: tuple[Number, ...]

    @property
    def exact(self) -> bool:
        return self.recovery == 1.0


@dataclass(frozen=True, kw_only=True)
class InversionResult:
    """All descents of an inversion arm, in its units' order; curves are read at `curve_at`."""

    runs: tuple[InversionRun, ...]
    curve_at: tuple[int, ...]
    texts: dict[int, str]
    kind: Literal["inversion"] = "inversion"


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step size did on the tuning units by the iteration at which tuning stopped."""

    step: float
    hits: tuple[int | None, ...]
    diverged: tuple[bool, ...]
    median_distance: Number


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    outcomes: tuple[StepOutcome, ...]
    read_to: int
    kind: Literal["tuning"] = "tuning"


@dataclass(frozen=True, kw_only=True)
class TokenFailure:
    """A token that its own embedding does not decode to, and the token that won."""

    id: int
    text: str
    winner: int
    winner_text: str
    leverage: Number
    winner_leverage: Number


@dataclass(frozen=True, kw_only=True)
class RoundTripResult:
    """tried: ids whose own text encodes back to that id; `apart`: the other non-special ids."""

    vocab: int
    tried: int
    apart: int
    special: int
    failures: tuple[TokenFailure, ...]
    failures_apart: tuple[TokenFailure, ...]
    kind: Literal["round trip"] = "round trip"


@dataclass(frozen=True, kw_only=True)
class PseudoInverseResult:
    """difference: ‖ridge limit − SVD‖ / ‖SVD‖ (Frobenius); tolerance: 10 · cond² · ε.

    excess_norm: largest of ‖W⁺e‖ / ‖a‖ over other solutions a of the same equation (≤ 1 when minimal).
    """

    rows: int
    columns: int
    rank: int
    expected_rank: int
    condition: Number
    difference: Number
    tolerance: Number
    excess_norm: Number
    ridge: tuple[tuple[Number, Number], ...]
    kind: Literal["pseudo-inverse"] = "pseudo-inverse"


Result = InversionResult | TuningResult | RoundTripResult | PseudoInverseResult


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What came out of an arm, with where and how it was had.

    `elapsed_s` and `provenance` are about the run; everything else is the same on every run.
    """

    schema: int = SCHEMA
    digest: str
    arm: Arm
    result: Result
    provenance: Provenance
    elapsed_s: Number
    peak_bytes: int | None = None

    def content(self) -> str:
        """Digest of the arm and its numbers, timings and provenance aside."""
        return _sha256(MEASUREMENT.dump_python(self, mode="json", include={"digest", "arm", "result"}))


MEASUREMENT = TypeAdapter(Measurement)


def digest_of(arm: Arm) -> str:
    """Name of an arm: 40 hexadecimal digits over every setting and the version of the numerics."""
    return _sha256({"numerics": NUMERICS, "arm": _plain(arm)})[:40]


def _plain(value: Any, *, real: bool = False) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: (getattr(value, f.name), "float" in str(f.type)) for f in fields(value)}
        return {"type": type(value).__name__, **{name: _plain(v, real=real) for name, (v, real) in held.items()}}
    if isinstance(value, tuple):
        return [_plain(v, real=real) for v in value]  # pyright: ignore[reportUnknownVariableType]
    # 1 equals 1.0 and -0.0 equals 0.0, so their digests must be equal too.
    return float(value) + 0.0 if real and isinstance(value, int | float) else value


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def describe(settings: DescentSettings) -> dict[str, str]:
    """Settings in words, for a report."""
    plain = asdict(settings)
    stack = settings.stack
    if isinstance(stack, Stack):
        words = f"{stack.blocks} block{'s' if stack.blocks != 1 else ''}, {'head' if stack.head else 'no head'}"
        words += ", final norm" if stack.final_norm else ", no final norm"
    else:
        words = f"fully connected over {stack.tokens} tokens, {'narrow' if stack.narrow else 'wide'}"
    return {
        "stack": words,
        "N": str(plain["iterations"]),
        "σ": f"{settings.sigma:g}",
        "metric": settings.metric,
        "schedule": f"{settings.schedule.shape} to {settings.schedule.end:g}·η",
        "dtype": settings.dtype,
        "device": settings.device,
    }
