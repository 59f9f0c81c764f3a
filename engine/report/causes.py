"""Why an item came out differently in another run: what differs in its data, code, model, criterion or machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
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
    """Everything that differs in how two runs came to an item, in the order of KINDS.

    The code, model and machine belong to a measurement: they are compared where both runs measured the item.
    """
    found: list[Cause] = []

    def compare(kind: str, what: str, one: object, two: object) -> None:
        if one != two:
            old, new = (NOTHING if value is None or value == "" else str(value) for value in (one, two))
            found.append(Cause(kind=kind, what=what, before=old, after=new))

    # Data: what was measured, on how many units, with which settings.
    compare("data", "effort", before.effort, after.effort)
    if set(before.arms) != set(after.arms):
        compare("data", "measurements", _name_own(before.arms, after.arms), _name_own(after.arms, before.arms))
    one, two = before.provenance, after.provenance
    if one and two:
        compare("data", "last measured", one.measured_at, two.measured_at)
    units, other_units = _count_units(before.criteria), _count_units(after.criteria)
    for name in units:
        if name in other_units:
            compare("data", f"n of {name}", units[name], other_units[name])
    for option, what in (("--prompt", "prompts"), ("--seeds", "start seeds")):
        compare("data", what, _read_option(before.command, option), _read_option(after.command, option))
    if before.arms and after.arms:
        for name in dict.fromkeys((*before.settings, *after.settings)):
            # Each stack has its own settings, but all stacks share those of the machine and the model.
            last = name.rpartition(", ")[2]
            kind = _KIND_OF_SETTING.get(last, "data")
            what = name if kind == "data" else last
            compare(kind, what, before.settings.get(name), after.settings.get(name))

    # Criterion: what was asked, and whether it was fixed beforehand.
    compare("criterion", "statement", before.statement, after.statement)
    compare("criterion", "estimand", before.estimand, after.estimand)
    if before.criteria and after.criteria:
        compare("criterion", "criteria", *_cut_shared(_word_criteria(before), _word_criteria(after)))
    if before.registration and after.registration:
        compare("criterion", "registration", before.registration.status, after.registration.status)
    rulings = [record.on_record.ruling if record.on_record else None for record in (before, after)]
    compare("criterion", "on record", *rulings)

    # Code, model and machine.
    if before.session and after.session:
        commits = (_name_commit(s.commit, s.dirty) for s in (before.session, after.session))
        compare("code", "judged by", *commits)
        compare("code", "numerics", before.session.numerics, after.session.numerics)
    if one and two:
        compare("code", "measured by", _name_commit(one.commit, one.dirty), _name_commit(two.commit, two.dirty))
        for name in dict.fromkeys((*one.versions, *two.versions)):
            compare("code", name, one.versions.get(name), two.versions.get(name))
        for name in dict.fromkeys((*before.sources, *after.sources)):
            compare("model", name, before.sources.get(name), after.sources.get(name))
        compare("machine", "machine", one.machine, two.machine)
        compare("machine", "device", one.named_device, two.named_device)
        compare("machine", "threads", one.threads, two.threads)
        compare("machine", "dtype", one.dtype, two.dtype)
    return tuple(sorted(dict.fromkeys(found), key=lambda cause: KINDS.index(cause.kind)))


def _name_own(arms: tuple[str, ...], others: Iterable[str]) -> str:
    """Which measurements only one run has."""
    if not arms:
        return "none"
    own = [arm[:10] for arm in arms if arm not in set(others)]
    names = ", ".join(own[:_SHOWN_DIGESTS]) + (", …" if len(own) > _SHOWN_DIGESTS else "")
    return f"{len(own)} of {len(arms)} only here" + (f": {names}" if own else "")


def _count_units(criteria: Iterable[CriterionRecord]) -> dict[str, str]:
    return {c.estimate: f"{c.n} {c.counts}".strip() for c in criteria if c.n is not None}


def _read_option(command: str, option: str) -> str:
    """The values that a command gives an option, each once. '' where it does not name it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""  # not a command that this program wrote
    values = [value for word, value in pairwise(words) if word == option]
    values += [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    return ", ".join(dict.fromkeys(values))


def _word_criteria(record: Record) -> str:
    return "; ".join(
        f"{c.text}{'' if c.role == 'only' else f' ({c.role})'} "
        f"in [{format_number(c.region_low)}, {format_number(c.region_high)}]"
        for c in record.criteria
    )


def _cut_shared(one: str, two: str) -> tuple[str, str]:
    """Two long texts without most of the beginning that they share, so that a later cut leaves the difference."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    if one == two or shared < 200:
        return one, two
    return f"… {one[shared - 60 :]}", f"… {two[shared - 60 :]}"


def _name_commit(commit: str, dirty: bool) -> str:
    return commit[:12] + (", dirty" if dirty else "")
