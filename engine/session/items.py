"""Which items a claim makes: one for each subject and protocol that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from engine.arms.prompts import DOCUMENT, LONG, SHORT
from engine.arms.protocol import DIRECT, SCRIPT, Protocol
from engine.claim.claim import Claim
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.errors import EngineError, no_exits
from engine.models import Subject, find_subject
from engine.models.families import FAMILIES
from engine.models.memory import explain_shortage
from engine.models.quantized import LOCAL, LOCAL_INT8, QuantizedSubject, explain_dtype
from engine.session.options import SessionOptions

LOCAL_ANY = "local"
"""How the name of a user's own model begins, of its int8 version and of its untrained twin."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A claim on one subject under one protocol. asked: the user named this subject."""

    claim: Claim
    trial: Trial
    asked: bool

    @property
    def id(self) -> str:
        subject = self.trial.subject.id
        return subject if self.trial.protocol == DIRECT else f"{subject}-{self.trial.protocol.name}"

    @property
    def name(self) -> str:
        return f"{self.claim.id} {self.id}"

    @property
    def markers(self) -> tuple[str, ...]:
        tier = self.trial.subject.tier
        return () if tier == "cpu" else ("xl", "weights") if tier == "xl" else ("gpu", "weights")


def expand_items(claim: Claim, choices: SessionOptions) -> list[Item]:
    """The claim's items under these choices, subjects first."""
    return [
        Item(
            claim=claim,
            trial=Trial(
                subject=subject,
                protocol=protocol,
                effort=choices.effort,
                units=_units(claim, subject),
                prompts=choices.prompts,
                starts=choices.starts,
                stopping=choices.stopping,
                dtype=choices.dtype,
                device=choices.devices.kind,
            ),
            asked=bool(choices.subjects),
        )
        for subject in _subjects(claim, choices)
        for protocol in _protocols(claim, choices)
        if protocol != SCRIPT or FAMILIES[subject.family].scripts
    ]


def _units(claim: Claim, subject: Subject) -> Units:
    # 'NAME-untrained:SEED' costs what NAME-untrained does; a model of the user's own is asked for by name.
    name = subject.id if subject.id.startswith("local") else subject.id.split(":")[0]
    return replace(claim.units, smoke=0, standard=0) if name in claim.only_at_full_effort else claim.units


def _subjects(claim: Claim, choices: SessionOptions) -> list[Subject]:
    if not choices.subjects:
        return [find_subject(name) for name in claim.subjects]
    listed = set(claim.subjects)
    own = (LOCAL, LOCAL_INT8)
    return [s for s in choices.subjects if s.id.startswith(own) or s.id in listed or s.id.split(":")[0] in listed]


def _protocols(claim: Claim, choices: SessionOptions) -> list[Protocol]:
    return [p for p in claim.protocols if not choices.protocols or p in choices.protocols]


def find_left_out(subject: Subject, prompts: tuple[str, ...]) -> list[str]:
    """What the prompts of a user's own model are measured without: 'puts: <s> before a text', "drops: 'é'".

    prompts: the user's; none for the suite's own. Those of the catalogue leave nothing out. Of a tokenizer that fails
    nothing is said: that is the experiment's to tell.
    """
    with suppress(Exception), no_exits():
        if subject.id.startswith(LOCAL_ANY) and subject.missing() is None:
            added, dropped = _find_left_out(subject.id, subject.fingerprint(), prompts or OWN)
            return [*([f"puts: {added}"] if added else []), *([f"drops: {dropped}"] if dropped else [])]
    return []


OWN = (*DOCUMENT, *SHORT, *LONG)
"""The suite's own prompts."""


@cache
def _find_left_out(subject: str, source: str, prompts: tuple[str, ...]) -> tuple[str | None, str | None]:
    from engine.models.token_text import find_dropped, name_added, name_dropped

    tokenizer = find_subject(subject).tokenizer()
    return name_added(tokenizer), name_dropped(find_dropped(tokenizer, prompts))


def name_left_out(subjects: Iterable[Subject], prompts: tuple[str, ...]) -> list[str]:
    """A line for each thing that a subject's prompts lack: what its tokenizer puts around a text, or drops."""
    return [
        f"{subject.id}: its tokenizer {left_out.replace(':', '', 1)}; prompts are measured without"
        for subject in {subject.id: subject for subject in subjects}.values()
        for left_out in find_left_out(subject, prompts)
    ]


def explain_skip(item: Item, choices: SessionOptions) -> str | None:
    """Why an item cannot run here and what to do about it; None when it can."""
    subject, device = item.trial.subject, item.trial.device
    others = map(find_subject, item.claim.needs_subjects if item.claim.needed_on in item.trial.scopes else ())
    models = (subject, *others)
    missing = next((sentence for model in models if (sentence := model.missing())), None)
    if subject.tier != "cpu" and not item.asked and device == "cpu":
        hint = f"run on a machine with a GPU, or ask for it here with --subject {subject.id}"
        weights = f" {missing}" if missing else ""
        article = "an" if subject.tier == "xl" else "a"  # as it is said: an ex-ell
        return f"{subject.id} is {article} {subject.tier} subject and this session runs on {device}: {hint}.{weights}"
    refuse = getattr(item.claim.procedure, "refuse", None)
    unfit = refuse(item.trial) if refuse is not None else None
    return missing or unfit or _refuse_dtype(item) or _find_shortage(item, models, choices)


def _refuse_dtype(item: Item) -> str | None:
    if item.trial.dtype == "float32" or not isinstance(item.trial.subject, QuantizedSubject):
        return None
    return explain_dtype(item.trial.subject.id, item.trial.dtype)


def _find_shortage(item: Item, models: tuple[Subject, ...], choices: SessionOptions) -> str | None:
    if choices.elsewhere:
        return None  # what a cluster has no room for, it refuses by itself
    try:
        return explain_shortage(models, dtype=item.trial.dtype, devices=choices.devices.names, spread=choices.inline)
    except EngineError:
        return None  # a model that can't even be sized is the experiment's to complain about
