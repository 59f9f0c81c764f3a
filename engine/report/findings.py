"""The three things to know of a run, each with a number, found in its records by rule.

No sentence here says how a claim came out: headings are questions, and numbers are the records'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.records import CriterionRecord, Record, find_headline
from engine.report.standing import Standing
from engine.report.views import ClaimView, count_exact
from engine.report.words import name_models, name_protocol
from engine.text import format_number

FIRST = ("C16", "C11", "C24")
"""Claims with a figure that the mission names, in the order in which they are looked for; then any other."""


LOST = "Is a prompt that descent does not find lost?"
"""Heading of what searches recover from the same outputs."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """claim: where it is shown in full. number: in large type. words: what the number is, in a sentence."""

    claim: ClaimView
    heading: str
    number: str
    words: str


def list_findings(claims: Sequence[ClaimView]) -> tuple[Finding, ...]:
    """A figure of the document beside ours, what search finds where descent does not, and a claim that turns."""
    found = (_find_figure(claims), _find_recovery(claims), _find_turn(claims))
    return tuple(finding for finding in found if finding is not None)


def _find_figure(claims: Sequence[ClaimView]) -> Finding | None:
    """The first decided claim with a figure of the document: the range of ours, on all that was measured."""
    places = {name: k for k, name in enumerate(FIRST)}
    for claim in sorted(claims, key=lambda claim: places.get(claim.record.claim, len(FIRST))):
        rows = [*claim.standing.decided, *claim.standing.open]
        read = [(record, c) for record in rows for c in record.criteria[:1] if _has_figure(c)]
        if claim.standing.ours or not claim.standing.decided or not read:
            continue
        values = sorted(float(c.value) for _, c in read if c.value is not None)
        number = " to ".join(dict.fromkeys(format_number(value, 3) for value in (values[0], values[-1])))
        models = name_models(record for record, _ in read)
        words = f"{_begin(claim.record.estimand)}, on {models}. The document says {format_number(read[0][1].figure)}."
        return Finding(claim=claim, heading=claim.question, number=number, words=words)
    return None


def _begin(words: str) -> str:
    """The words as the beginning of a sentence."""
    return words[:1].upper() + words[1:]


def _has_figure(c: CriterionRecord) -> bool:
    return c.figure is not None and c.value is not None and math.isfinite(c.value)


def _find_recovery(claims: Sequence[ClaimView]) -> Finding | None:
    """The group of searches in which the best one gains most on the first."""
    best: tuple[float, Finding] | None = None
    for claim in claims:
        if not claim.standing.ours:
            continue
        for record in (*claim.standing.decided, *claim.standing.open):
            for group, first, last, prompts in count_exact(record):
                gain = (last[1] - first[1]) / prompts
                if gain > 0 and (best is None or gain > best[0]):
                    words = (
                        f"Prompts recovered exactly on {record.subject}, {group}: by the method '{first[0]}', "
                        f"and by '{last[0]}', from the same outputs."
                    )
                    number = f"{first[1]} → {last[1]} of {prompts}"
                    best = (gain, Finding(claim=claim, heading=LOST, number=number, words=words))
    return best[1] if best else None


def _find_turn(claims: Sequence[ClaimView]) -> Finding | None:
    """The claim that one model supports in one protocol and refutes in another, with the widest gap between them."""
    best: tuple[float, Finding] | None = None
    for claim in claims:
        if claim.standing.ours or claim.standing.standing is not Standing.DEPENDS:
            continue
        by_model: dict[str, dict[str, Record]] = {}
        for record in claim.standing.decided:
            by_model.setdefault(record.subject, {})[record.protocol] = record
        for model, rows in by_model.items():
            yes = [r for r in rows.values() if r.ruling == "supported"]
            no = [r for r in rows.values() if r.ruling == "refuted"]
            if not yes or not no:
                continue
            one, two = find_headline(yes[0]), find_headline(no[0])
            if one is None or two is None or one.value is None or two.value is None or one.estimate != two.estimate:
                continue
            if not (math.isfinite(one.value) and math.isfinite(two.value)):
                continue
            gap = abs(one.value - two.value) / max(abs(one.value), abs(two.value), 1e-12)
            if best is None or gap > best[0]:
                number = f"{format_number(one.value, 2)} or {format_number(two.value, 2)}"
                holds, fails = (name_protocol(row.protocol) or f"under {row.protocol}" for row in (yes[0], no[0]))
                words = (
                    f"{_begin(claim.record.estimand)}. On {model} it holds {holds} ({format_number(one.value, 2)}), "
                    f"not {fails} ({format_number(two.value, 2)})."
                )
                best = (gap, Finding(claim=claim, heading=claim.question, number=number, words=words))
    return best[1] if best else None
