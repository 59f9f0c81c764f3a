"""What each claim asks for on a subject: the engine's own procedures, run on answers that nobody measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from engine.arms import Arm, ClampedWalkArm, Stack, TuningArm
from engine.claim import Claim
from engine.costs import Size
from engine.measurement import digest_of
from engine.planning import nominal
from engine.procedures import Trial
from engine.protocol import SCRIPT, Protocol
from engine.register import find_claims
from engine.scale.assumptions import UNITS
from engine.subjects.base import Subject, Tier

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

CLAIMS = Path(__file__).resolve().parents[2] / "claims"
DEPTH = 36
"""Of the subject that stands for all: neither it nor its half is a depth that a claim names."""


@dataclass(frozen=True, kw_only=True)
class Stand(Subject):
    """Stands for any subject of GPT-2's family. It has a shape and no weights."""

    drawn: int | None = None
    random: bool = False

    @property
    def tier(self) -> Tier:
        return "gpu"

    @property
    def trained(self) -> bool:
        return not self.random

    @property
    def fixed_seed(self) -> bool:
        return self.drawn is not None

    @property
    def family(self) -> str:
        return "gpt2"

    def fingerprint(self) -> str:
        return self.id

    def missing(self) -> str | None:
        return None

    def config(self) -> PreTrainedConfig:
        return cast("PreTrainedConfig", SimpleNamespace(num_hidden_layers=DEPTH))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        raise AssertionError("a rehearsal reads no text")

    def untrained(self, seed: int) -> Stand:
        return replace(self, id=f"random:{seed}", random=True, drawn=seed)

    def quantized(self) -> Stand:
        return replace(self, id=f"{self.id}-int8")

    def _load(self, dtype: object, attention: object) -> Any:
        raise AssertionError("a rehearsal loads nothing")


TRAINED = Stand(id="trained", note="")
RANDOM = replace(TRAINED, id="random", random=True)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim under a protocol: keys of the arms that it asks for.

    before: rounds that choose step sizes. first: arms of its first look. more: what each later look adds.
    wave, waves: units between two looks, and the most looks that it takes.
    """

    claim: str
    protocol: str
    before: tuple[tuple[str, ...], ...]
    first: tuple[str, ...]
    more: tuple[str, ...]
    wave: int
    waves: int


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The rows of all claims on one subject, and their arms by key: an arm that two rows ask for has one key."""

    rows: tuple[Row, ...]
    arms: dict[str, Arm]


@cache
def rehearse_suite(units: int = UNITS) -> Suite:
    """The catalogue's claims under all of their protocols, as if each was asked of the same subject."""
    arms: dict[str, Arm] = {}
    every = sorted((declared.claim for declared in find_claims(CLAIMS)), key=lambda claim: claim.id)
    # Ours (A01 …) have one protocol and few units, and stand beside the forty claims whose cost is asked.
    claims = [claim for claim in every if claim.id.startswith("C")]
    rows = tuple(_rehearse(claim, protocol, units, arms) for claim in claims for protocol in claim.protocols)
    return Suite(rows=rows, arms=arms)


def _rehearse(claim: Claim, protocol: Protocol, units: int, arms: dict[str, Arm]) -> Row:
    # What names untrained subjects alone draws random weights; one sentence, or a dozen units, stay what they are.
    subject = RANDOM if all("untrained" in name for name in claim.subjects) else TRAINED
    full = units if claim.units.full >= 36 else claim.units.full
    trial = Trial(subject=subject, protocol=protocol, effort="full", units=replace(claim.units, full=full))
    looks = trial.looks()
    before, first = _ask(claim, looks[0])
    second = _ask(claim, looks[1])[1] if len(looks) > 1 else first
    if all(isinstance(arm, ClampedWalkArm) for arm in first) and protocol != SCRIPT:
        # What settles these walks is a walk as well, and nobody walked it: the scripts' have the same waves behind it.
        before = [*before, first]
        first, second = (_ask(claim, replace(look, protocol=SCRIPT))[1] for look in looks[:2])
        first, second = ([_put_under(arm, protocol) for arm in asked] for asked in (first, second))
    keys = [tuple(_note(arm, arms) for arm in asked) for asked in (*before, first, second)]
    return Row(
        claim=claim.id,
        protocol=protocol.name,
        before=tuple(keys[:-2]),
        first=keys[-2],
        more=tuple(key for key in keys[-1] if key not in keys[-2]),
        wave=len(trial.waves()[0]),
        waves=len(looks),
    )


def _ask(claim: Claim, trial: Trial) -> tuple[list[Sequence[Arm]], Sequence[Arm]]:
    """The rounds of tuning, then the arms of a look."""
    rounds = claim.procedure.rounds(trial)
    asked, before = next(rounds), list[Sequence[Arm]]()
    while all(isinstance(arm, TuningArm) for arm in asked):
        before.append(asked)
        asked = rounds.send([nominal(arm) for arm in asked if isinstance(arm, TuningArm)])
    return before, asked


def _put_under(arm: Arm, protocol: Protocol) -> Arm:
    assert isinstance(arm, ClampedWalkArm)
    return replace(arm, settings=replace(arm.settings, protocol=protocol))


def _note(arm: Arm, arms: dict[str, Arm]) -> str:
    return arms.setdefault(key := digest_of(arm), arm) and key


def fit(arm: Arm, size: Size) -> Arm:
    """The arm on a model of another depth."""
    settings: Any = getattr(arm, "settings", None)
    if settings is None or not isinstance(settings.stack, Stack):
        return arm
    own = settings.stack.count(DEPTH)
    blocks = {DEPTH: size.blocks, DEPTH // 2: size.blocks // 2}.get(own, min(own, size.blocks))
    changed: Any = replace(settings, stack=replace(settings.stack, blocks=blocks))
    return cast("Arm", replace(cast("Any", arm), settings=changed))
