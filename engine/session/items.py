"""The items of a claim: one for each subject and protocol asked for, and why one cannot run here."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from engine.arms.prompts import DOCUMENT, LONG, MORE, SHORT
from engine.arms.protocol import DIRECT, SCRIPT
from engine.claim.claim import Claim
from engine.claim.procedure import Trial
from engine.errors import EngineError, no_exits
from engine.models import Subject, find_subject
from engine.models.families import find_family
from engine.models.memory import explain_shortage
from engine.models.quantized import QuantizedSubject, explain_dtype
from engine.models.subject import describe_opening
from engine.models.trained import TrainedSubject, train_on
from engine.running.plan import estimate_item
from engine.running.scheduler import ItemRun
from engine.session.options import SessionOptions


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


def expand_items(claim: Claim, options: SessionOptions) -> list[Item]:
    """The claim's items under these options, by subject, then by protocol."""
    subjects = [find_subject(name) for name in claim.subjects]
    if options.subjects:
        # A user's own model may have any claim; a catalogue subject, with or without its seed, only those that list it.
        names = set(claim.subjects)
        subjects = [
            subject
            for subject in options.subjects
            if (subject.own and subject.trained) or subject.id in names or subject.id.split(":")[0] in names
        ]
    items: list[Item] = []
    for listed in subjects:
        # 'NAME-untrained:SEED' costs as much as NAME-untrained. A user's model is listed by its full name.
        name = listed.id if listed.own else listed.id.split(":")[0]
        subject = listed if options.text is None else train_on(listed, options.text)
        costly = name in claim.only_at_full_effort or (subject.cheap_rows_only and not options.subjects)
        units = replace(claim.units, smoke=0, standard=0) if costly else claim.units
        for protocol in claim.protocols:
            if options.protocols and protocol not in options.protocols:
                continue
            if protocol == SCRIPT and not has_scripts(subject):
                continue
            trial = Trial(
                subject=subject,
                protocol=protocol,
                effort=options.effort,
                units=units,
                prompts=options.prompts,
                starts=options.starts,
                stopping=options.stopping,
                dtype=options.dtype,
                device=options.devices.kind,
            )
            if options.effort == "standard" and not units.standard:
                # What is too costly on most models may be cheap on this one.
                whole = replace(trial, units=replace(units, standard=units.full))
                trial = whole if is_cheap(claim, whole) else trial
            items.append(Item(claim=claim, trial=trial, asked=bool(options.subjects)))
    return items


def has_scripts(subject: Subject) -> bool:
    """Whether the author's scripts fix step sizes for a model: they do for GPT-2's own sizes, not for smaller ones."""
    return find_family(subject.family).scripts and not isinstance(subject, TrainedSubject)


def is_cheap(claim: Claim, trial: Trial) -> bool:
    """Whether an item takes no more than CHEAP_S up to its first look, by the estimate before anything is measured."""
    with suppress(EngineError):
        if trial.units.standard and trial.subject.missing() is None:
            return sum(estimate_item(ItemRun(claim=claim, trial=trial)).values()) <= CHEAP_S
    return False


def describe_prompts(subject: Subject, prompts: tuple[str, ...]) -> list[str]:
    """What prompts are measured behind and without, because of the subject's tokenizer.

    Such as 'behind <s>, which its tokenizer puts before a text' and "without 'é', which its tokenizer drops".

    prompts: the user's; empty for the suite's own. What models of the catalogue open a text with is known without
    their tokenizers. A tokenizer that fails is passed over here: its experiment reports the error.
    """
    if subject.opening:
        return [describe_opening(subject.opening)]
    with suppress(Exception), no_exits():
        if subject.own and subject.missing() is None:
            return list(_ask_tokenizer(subject.id, subject.fingerprint(), prompts or OWN))
    return []


CHEAP_S = 60.0
"""Seconds that a row may take at standard effort although it is declared for full effort alone."""

OWN = (*DOCUMENT, *SHORT, *MORE, *LONG)
"""The suite's own prompts."""


@cache
def _ask_tokenizer(subject: str, source: str, prompts: tuple[str, ...]) -> tuple[str, ...]:
    from engine.models.token_text import describe_added, find_dropped, name_dropped

    tokenizer = find_subject(subject).tokenizer()
    dropped = name_dropped(find_dropped(tokenizer, prompts))
    without = (f"without {dropped}, which its tokenizer drops",) if dropped else ()
    return *describe_added(tokenizer), *without


def remark_on_prompts(subjects: Iterable[Subject], prompts: tuple[str, ...]) -> list[str]:
    """A line for each thing that prompts of a subject are measured behind or without."""
    return [
        f"{subject.id}: prompts are measured {remark}"
        for subject in {subject.id: subject for subject in subjects}.values()
        for remark in describe_prompts(subject, prompts)
    ]


def explain_skip(item: Item, options: SessionOptions) -> str | None:
    """Why an item cannot run here and what to do about it; None when it can."""
    subject, device = item.trial.subject, item.trial.device
    others = map(find_subject, item.claim.needs_subjects if item.claim.needed_on in item.trial.scopes else ())
    models = (subject, *others)
    missing = next((sentence for model in models if (sentence := model.missing())), None)
    if subject.tier != "cpu" and not item.asked and device == "cpu":
        hint = f"run on a machine with a GPU, or ask for it here with --subject {subject.id}"
        weights = f" {missing}" if missing else ""
        article = "an" if subject.tier == "xl" else "a"  # "an ex-ell"
        return f"{subject.id} is {article} {subject.tier} subject and this session runs on {device}: {hint}.{weights}"
    if missing:
        return missing
    refuse = getattr(item.claim.procedure, "refuse", None)
    if refuse is not None and (unfit := refuse(item.trial)):
        return unfit
    if item.trial.dtype != "float32" and isinstance(subject, QuantizedSubject):
        return explain_dtype(subject.id, item.trial.dtype)
    if options.elsewhere:
        return None  # a cluster refuses what does not fit by itself
    try:
        return explain_shortage(models, dtype=item.trial.dtype, devices=options.devices.names, spread=options.inline)
    except EngineError:
        return None  # a model that cannot even be sized: its experiment reports the error
