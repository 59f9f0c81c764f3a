"""Turns an item and its verdict into the record that the report reads."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from engine.arms.measurement import Measurement
from engine.arms.protocol import DIRECT
from engine.arms.settings import StackSettings
from engine.claim.claim import Claim
from engine.claim.on_record import Outcome
from engine.claim.procedure import Evidence
from engine.claim.registration import compare_dates
from engine.claim.units import Effort
from engine.claim.verdict import CriterionResult, Verdict
from engine.errors import EngineError
from engine.ledger.provenance import identify
from engine.models.families import GPT2
from engine.models.memory import count_parameters
from engine.records import CriterionRecord, Record, RecordedVerdict, Registration
from engine.session.items import Item, describe_prompts
from engine.session.options import SessionOptions


def write_record(
    item: Item,
    options: SessionOptions,
    path: Path,
    outcome: Outcome,
    sentence: str,
    verdict: Verdict | None = None,
    evidence: Evidence | None = None,
    on_record: RecordedVerdict | None = None,
    registration: Registration | None = None,
) -> Record:
    """The record of one item. path: the claim's file. verdict, evidence: None for an item without (skipped, error)."""
    claim, trial = item.claim, item.trial
    measurements = evidence.measurements if evidence else ()
    return Record(
        claim=claim.id,
        section=claim.section,
        statement=claim.sentence,
        estimand=claim.estimand,
        document=claim.document,
        question=claim.question,
        quote=claim.quote,
        parameters=_count_parameters(item) if measurements else None,
        notes=claim.notes,
        beyond=claim.beyond,
        pilot_seen=claim.pilot_seen,
        subject=trial.subject.id,
        subject_note=trial.subject.note,
        generalizes=_generalizes(item),
        counts_untrained=claim.counts_untrained,
        tier=trial.subject.tier,
        protocol=trial.protocol.name,
        effort=trial.effort,
        outcome=outcome.value,
        ruling=verdict.ruling.value if verdict else None,
        sentence=sentence,
        criteria=tuple(_criterion(claim, finding) for finding in verdict.findings) if verdict else (),
        on_record=on_record,
        settings=_settings(item, evidence) if evidence else {},
        sources=_sources(measurements),
        command=reproduce(item, options, path, "full" if outcome is Outcome.NOT_RUN else trial.effort),
        tables=evidence.tables if evidence else (),
        arms=tuple(dict.fromkeys(m.digest for m in measurements)),
        cost_s=sum({m.digest: m.elapsed_s for m in measurements}.values()),
        provenance=max((m.provenance for m in measurements), key=lambda p: p.measured_at, default=None),
        session=identify(options.began),
        registration=compare_dates(registration, [m.provenance.measured_at for m in measurements]),
    )


def _count_parameters(item: Item) -> int | None:
    """Parameters of the whole model, counted without loading it; None for what has no countable configuration."""
    with suppress(EngineError):
        return count_parameters(item.trial.subject)
    return None


def _generalizes(item: Item) -> bool:
    """Whether a claim of the document, whose models are GPT-2, is tested on another family."""
    about_gpt2 = item.claim.id.startswith("C") and any(name.startswith("gpt2") for name in item.claim.subjects)
    return about_gpt2 and item.trial.subject.family != GPT2.key


def _settings(item: Item, evidence: Evidence) -> dict[str, str]:
    said = "; ".join(describe_prompts(item.trial.subject, item.trial.prompts)) if evidence.measurements else ""
    return evidence.settings | ({"prompts": said} if said else {})


def _criterion(claim: Claim, finding: CriterionResult) -> CriterionRecord:
    criterion, estimate, region = finding.criterion, finding.estimate, finding.criterion.region
    none = criterion.no_effect(estimate) if estimate else None
    return CriterionRecord(
        text=criterion.text,
        role=criterion.role,
        because=criterion.because,
        estimate=criterion.estimate,
        region_low=region.low,
        region_high=region.high,
        value=estimate.value if estimate else None,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        n=estimate.n if estimate else None,
        counts=estimate.counts if estimate else "",
        method=estimate.method if estimate else "",
        ruling=finding.ruling.value,
        sentence=finding.sentence,
        none_low=none.low if none else None,
        none_high=none.high if none else None,
        none_because=criterion.least_because if none else "",
        figure=dict(claim.figures).get(criterion.estimate),
    )


def _sources(measurements: tuple[Measurement, ...]) -> dict[str, str]:
    """Fingerprint of the weights behind each subject that was measured."""
    found: dict[str, str] = {}
    for measurement in measurements:
        settings = getattr(measurement.arm, "settings", measurement.arm)
        subject, source = getattr(settings, "subject", ""), getattr(settings, "source", "")
        if isinstance(settings, StackSettings) or subject != "none":
            found[subject] = source
    return found


def reproduce(item: Item, options: SessionOptions, path: Path, effort: Effort) -> str:
    """The command that runs this item, from the session's root."""
    trial = item.trial
    words = [
        "pytest",
        str(path.relative_to(options.root) if path.is_relative_to(options.root) else path),
        "--subject",
        trial.subject.id,
        "--effort",
        effort,
    ]
    if trial.protocol != DIRECT:
        words += ["--protocol", trial.protocol.name]
    for prompt in trial.prompts:
        # What begins with a dash would pass for an option of its own.
        words += [f"--prompt={prompt}"] if prompt.startswith("-") else ["--prompt", prompt]
    if trial.starts != 1:
        words += ["--seeds", str(trial.starts)]
    if not trial.stopping:
        words += ["--all-units"]
    if trial.dtype != "float32":
        words += ["--dtype", trial.dtype]
    if options.device != "auto":
        words += ["--device", options.device]
    return shlex.join(words)
