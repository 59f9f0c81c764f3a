"""Why an item came out otherwise in another run: what differs in its data, code, model, criterion or machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise, takewhile

from engine.records import CriterionRecord, Record
from engine.text import format_number

KINDS = ("data", "code", "model", "criterion", "machine")
NOTHING = "—"
_SHOWN_DIGESTS = 3
_KIND_OF_SETTING = {"dtype": "machine", "device": "machine", "weights": "model"}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One thing that differs, with its two values. kind: one of KINDS."""

    kind: str
    what: str
    before: str
    after: str


def find_causes(before: Record, after: Record) -> tuple[Cause, ...]:
    """Everything that differs in how an item was had, in the order of KINDS.

    What only a measured item has (its code, model and machine) is compared where both were measured.
    """
    found = [*_compare_data(before, after), *_compare_settings(before, after), *_compare_criteria(before, after)]
    if before.session and after.session:
        one, two = before.session, after.session
        found.append(_pair("code", "judged by", _commit(one.commit, one.dirty), _commit(two.commit, two.dirty)))
        found.append(_pair("code", "numerics", one.numerics, two.numerics))
    if before.provenance and after.provenance:
        found += _compare_provenance(before, after)
    causes = dict.fromkeys(cause for cause in found if cause is not None)
    return tuple(sorted(causes, key=lambda cause: KINDS.index(cause.kind)))


def _pair(kind: str, what: str, before: object, after: object) -> Cause | None:
    """None where the two are equal."""
    if before == after:
        return None
    one, two = (NOTHING if value is None or value == "" else str(value) for value in (before, after))
    return Cause(kind=kind, what=what, before=one, after=two)


def _pair_all(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Cause | None]:
    names = dict.fromkeys((*before, *after))
    return [_pair(kind, name, before.get(name), after.get(name)) for name in names]


def _compare_data(before: Record, after: Record) -> list[Cause | None]:
    found = [_pair("data", "effort", before.effort, after.effort)]
    found.append(_pair("data", "measurements", *_name_arms(before.arms, after.arms)))
    if before.provenance and after.provenance:
        found.append(_pair("data", "last measured", before.provenance.measured_at, after.provenance.measured_at))
    one, two = (_count_units(record.criteria) for record in (before, after))
    found += [_pair("data", f"n of {name}", one[name], two[name]) for name in one if name in two]
    for option, what in (("--prompt", "prompts"), ("--seeds", "start seeds")):
        found.append(_pair("data", what, _read_option(before.command, option), _read_option(after.command, option)))
    return found


def _name_arms(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, str]:
    """Two equal words for the same measurements, else what each side has alone."""
    if set(before) == set(after):
        return "", ""
    return _name_own(before, set(after)), _name_own(after, set(before))


def _name_own(arms: tuple[str, ...], others: set[str]) -> str:
    own = [arm[:10] for arm in arms if arm not in others]
    if not arms:
        return "none"
    names = ", ".join(own[:_SHOWN_DIGESTS]) + (", …" if len(own) > _SHOWN_DIGESTS else "")
    return f"{len(own)} of {len(arms)} only here" + (f": {names}" if own else "")


def _count_units(criteria: Iterable[CriterionRecord]) -> dict[str, str]:
    return {c.estimate: f"{c.n} {c.counts}".strip() for c in criteria if c.n is not None}


def _read_option(command: str, option: str) -> str:
    """What the command gives an option, each value once. '' where it does not name it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""  # not a command of ours
    values = [value for word, value in pairwise(words) if word == option]
    values += [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    return ", ".join(dict.fromkeys(values))


def _compare_settings(before: Record, after: Record) -> list[Cause | None]:
    """Settings by their own names; those of the machine and the model once for all the stacks that share them."""
    found: list[Cause | None] = []
    for name in dict.fromkeys((*before.settings, *after.settings)):
        last = name.rpartition(", ")[2]
        kind = _KIND_OF_SETTING.get(last, "data")
        what = last if kind != "data" else name
        if before.arms and after.arms:  # where only one was measured, the other has no settings to differ in
            found.append(_pair(kind, what, before.settings.get(name), after.settings.get(name)))
    return found


def _compare_criteria(before: Record, after: Record) -> list[Cause | None]:
    found = [
        _pair("criterion", "statement", before.statement, after.statement),
        _pair("criterion", "estimand", before.estimand, after.estimand),
    ]
    if before.criteria and after.criteria:
        one, two = ("; ".join(_word_criterion(c) for c in record.criteria) for record in (before, after))
        found.append(_pair("criterion", "criteria", *_cut_shared(one, two)))
    if before.registration and after.registration:
        found.append(_pair("criterion", "registration", before.registration.status, after.registration.status))
    one, two = (record.on_record.ruling if record.on_record else None for record in (before, after))
    found.append(_pair("criterion", "on record", one, two))
    return found


def _word_criterion(c: CriterionRecord) -> str:
    role = f" ({c.role})" if c.role != "only" else ""
    return f"{c.text}{role} in [{format_number(c.region_low)}, {format_number(c.region_high)}]"


def _cut_shared(one: str, two: str) -> tuple[str, str]:
    """Long texts from shortly before the place where they part, so that a cut leaves the difference in sight."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    if one == two or shared < 200:
        return one, two
    return f"… {one[shared - 60 :]}", f"… {two[shared - 60 :]}"


def _compare_provenance(before: Record, after: Record) -> list[Cause | None]:
    assert before.provenance is not None
    assert after.provenance is not None
    one, two = before.provenance, after.provenance
    return [
        _pair("code", "measured by", _commit(one.commit, one.dirty), _commit(two.commit, two.dirty)),
        *_pair_all("code", one.versions, two.versions),
        *_pair_all("model", before.sources, after.sources),
        _pair("machine", "machine", one.machine, two.machine),
        _pair("machine", "device", one.named_device, two.named_device),
        _pair("machine", "threads", one.threads, two.threads),
        _pair("machine", "dtype", one.dtype, two.dtype),
    ]


def _commit(commit: str, dirty: bool) -> str:
    return commit[:12] + (", dirty" if dirty else "")
