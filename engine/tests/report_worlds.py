"""Records that a report is tried on: illustrated ones, hostile ones, and more than anybody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from numpy.random import Generator, default_rng

from engine.records import CriterionRecord, Record, Session, Table
from engine.tests.report_samples import PROVENANCE, make_criterion, make_record, make_records
from engine.tests.report_tables import Cast, distort_table, make_tables

KINDS_OF_A_DESCENT = ("recovery", "film", "runs", "curves", "tuning")
KINDS_OF_CLAIMS = {
    "C01": ("leverage", "kept", "likeliest"),
    "C03": KINDS_OF_A_DESCENT,
    "C06": ("recovery", "film", "agreement", "repetition", "frequency"),
    "C11": ("runs", "curves", "tuning"),
    "C16": ("runs", "curves", "decoding"),
    "C25": ("walks", "singular", "searches", "margins"),
}
POOL = 200
"""Different sets of tables in a world, dealt out in turn."""

SESSION = Session(began="2026-02-14T09:02:11Z", commit=PROVENANCE.commit, dirty=False)


def make_illustrated_records() -> list[Record]:
    """The sample records, with tables behind them: each kind that is drawn behind one claim or more."""
    dice = default_rng(7)
    return [
        replace(r, tables=(*r.tables, *make_tables(Cast(), dice, KINDS_OF_CLAIMS.get(r.claim, ()))))
        if r.arms and r.outcome != "error"
        else r
        for r in make_records()
    ]


def make_hostile_records(text: str, kinds: Sequence[str] | None = None) -> list[Record]:
    """Records of one claim in which every text is `text`, one with a table of each kind drawn from it.

    Another has the columns of its tables renamed, so that no drawing finds what it needs.
    """
    tables = make_tables(hostile_cast(text), default_rng(1), kinds)
    spoilt = _overwrite(make_records()[0], text)
    distorted = tuple(distort_table(table, text) for table in tables)
    return [
        replace(spoilt, outcome="passed", tables=tables),
        replace(spoilt, outcome="xfailed", protocol="page", tables=distorted),
        *(replace(spoilt, outcome=outcome, tables=()) for outcome in ("drift", "finding", "error", "skipped", text)),
    ]


def hostile_cast(text: str) -> Cast:
    """Arms, prompts and tokens that are `text`, or begin with it."""
    return Cast(
        arms=(text, f"{text}′"), prompts=(text, f"{text}′", text), tokens=(text, *(f"{text}{k}" for k in range(5)))
    )


def _overwrite(value: Any, text: str) -> Any:
    """The value with every string in it replaced, keys too."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        return {text: text}
    if isinstance(value, tuple):
        return tuple(_overwrite(part, text) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _overwrite(getattr(value, f.name), text) for f in fields(value)})
    return value


def make_world(
    *, claims: int = 38, subjects: int = 88, protocols: tuple[str, ...] = ("page", "script", "controlled")
) -> list[Record]:
    """claims × subjects × protocols, all measured, each with its estimate and the tables of a small descent."""
    dice = default_rng(2026)
    pool = [make_tables(_small_cast(dice), dice, KINDS_OF_A_DESCENT) for _ in range(POOL)]
    return [
        _measure(dice, claim, f"local:model-{subject:02d}", protocol, pool[(k + 3 * subject + 7 * claim) % POOL])
        for claim in range(1, claims + 1)
        for subject in range(subjects)
        for k, protocol in enumerate(protocols)
    ]


def _small_cast(dice: Generator) -> Cast:
    words = tuple(f" w{k}" for k in dice.integers(0, 50_000, size=12).tolist())
    return Cast(prompts=("The sky is blue.", "It rains."), tokens=words, reads=(0, 100, 1000))


def _measure(dice: Generator, claim: int, subject: str, protocol: str, tables: tuple[Table, ...]) -> Record:
    criterion = _estimate(dice)
    outcome = {"supported": "passed", "refuted": "xfailed"}.get(criterion.ruling, "inconclusive")
    record = make_record(
        "C16",
        subject,
        protocol,
        outcome,
        criterion.ruling,
        section=f"Section {1 + claim // 8}",
        statement=f"Claim {claim}: removing the head cuts the iterations to the bound.",
        sentence=criterion.sentence,
        criteria=(criterion,),
        tables=tables,
        session=SESSION,
    )
    return replace(record, claim=f"C{claim:02d}")


def _estimate(dice: Generator) -> CriterionRecord:
    """A ratio with an interval, and what it says of 'iterations ratio > 3'."""
    middle, width = 10 ** dice.normal(0.5, 0.6), 10 ** abs(dice.normal(0.1, 0.1))
    value, low, high = (float(f"{x:.4g}") for x in (middle, middle / width, middle * width))
    ruling = "supported" if low > 3 else "refuted" if high <= 3 else "inconclusive"
    where = {"supported": "inside", "refuted": "outside"}.get(ruling, "across the edge of")
    sentence = f"{ruling.capitalize()}: iterations ratio {value} [{low}, {high}] lies {where} iterations ratio > 3."
    estimate = ("iterations ratio", value, low, high)
    return make_criterion("iterations ratio > 3", estimate, ruling, counts="pairs", sentence=sentence)
