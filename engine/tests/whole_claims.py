"""Every claim of the suite, as declared but for its length, run whole on a tiny model as a session runs it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import cache
from math import log10
from pathlib import Path
from typing import Any
from unittest.mock import patch

import claims
from engine.arms.protocol import Protocol
from engine.claim.claim import Claim
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.experiments.clamped_walk.procedure import GAIN_CHOICES, TEXT_CHOICES
from engine.ledger import Ledger
from engine.models import Subject
from engine.running.executors.inline import Inline
from engine.running.scheduler import ItemRun, NoProgress, Scheduler

PROMPTS = ("The sky is blue.", "This is a prompt sentence.")
FEW = Units(smoke=2, standard=2, full=2)
SHORTER = {
    "engine.experiments.inversion.samples.CPU_CAP": 30,
    "engine.experiments.tuning.choose_step.MOST_EXTENSIONS": 1,
    "engine.experiments.clamped_walk.procedure.PAGE_INNER": 2,
    "engine.experiments.clamped_walk.procedure.GAIN_CHOICES": GAIN_CHOICES[:2],
    "engine.experiments.clamped_walk.procedure.TEXT_CHOICES": TEXT_CHOICES[:2],
    "engine.experiments.orthogonal_walk.procedure.STEPS": 3,
}
"""Lengths that no claim declares."""


@cache
def find_claims() -> dict[str, Claim]:
    """Every claim under `claims`, by id."""
    names = (found.name for found in pkgutil.walk_packages(claims.__path__, "claims."))
    modules = (importlib.import_module(name) for name in names)
    found = [module.CLAIM for module in modules if hasattr(module, "CLAIM")]
    return {claim.id: claim for claim in sorted(found, key=lambda claim: claim.id)}


def shorten(value: Any) -> Any:
    """A declaration with two units, descents of some 30 iterations, two blocks, and no subject but the trial's."""
    if isinstance(value, Units):
        return FEW
    if isinstance(value, tuple):
        return tuple(map(shorten, value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changes = {field.name: shorten(getattr(value, field.name)) for field in fields(value) if field.init}
    for name in ("iterations", "new_tokens"):
        if isinstance(changes.get(name), int):
            changes[name] = _fewer(changes[name])
    if isinstance(changes.get("snapshots"), tuple):
        changes["snapshots"] = tuple(map(_fewer, changes["snapshots"]))
    if isinstance(changes.get("blocks"), int):
        changes["blocks"] = min(2, changes["blocks"])
    if "subject" in changes and "stack" in changes:
        changes["subject"] = None
    return replace(value, **changes)


def _fewer(iterations: int) -> int:
    """100 → 20, 1000 → 30: what is longer stays longer."""
    return max(1, round(10 * log10(iterations)))


@contextmanager
def shortened() -> Iterator[None]:
    """Lengths that no claim declares, cut as well."""
    patches = [patch(name, value) for name, value in SHORTER.items()]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def make_campaign(ledger: Path) -> Scheduler:
    """A session's, in this process, with a ledger of its own."""
    return Scheduler(Ledger(ledger), Inline, progress=NoProgress())


def run_claim(scheduler: Scheduler, claim: Claim, subject: Subject, protocol: Protocol, **options: Any) -> ItemRun:
    """A claim brought to its evidence, tables and all, or to the error that stopped it."""
    short = shorten(claim)
    plain: dict[str, Any] = {"effort": "smoke", "units": FEW, "prompts": PROMPTS}
    trial = Trial(subject=subject, protocol=protocol, **{**plain, **options})
    job = ItemRun(claim=short, trial=trial)
    with shortened():
        scheduler.run([job])
    return job
