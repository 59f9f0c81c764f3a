"""What the head of the page says of a run, each value once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.records import Provenance, Record, explain_part


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The distinct machines, commits, dates and packages behind the records, sorted.

    subjects: with what is to be known of each. measured_subjects: those with a verdict, however it fell.
    cost_s: of all measurements that the records name, one that two items share counted with both. part: what they
    leave out of their run, '' for a whole one.
    """

    machines: tuple[str, ...]
    commits: tuple[str, ...]
    measured: tuple[str, ...]
    precision: tuple[str, ...]
    packages: tuple[str, ...]
    efforts: tuple[str, ...]
    subjects: tuple[tuple[str, str], ...]
    measured_subjects: tuple[str, ...]
    protocols: tuple[str, ...]
    cost_s: float
    part: str


def gather_facts(records: Sequence[Record]) -> Facts:
    """The facts of a run, from its records."""
    known = [r.provenance for r in records if r.provenance is not None]
    days = sorted(p.measured_at for p in known)
    packages = {f"{name} {version}" for p in known for name, version in p.versions.items()}
    return Facts(
        machines=_once(f"{p.machine} ({p.named_device})" for p in known),
        commits=_once(map(name_commit, known)),
        measured=tuple(dict.fromkeys((_to_the_minute(days[0]), _to_the_minute(days[-1])))) if days else (),
        precision=_once(f"{p.dtype}, {p.threads} thread{'' if p.threads == 1 else 's'}" for p in known),
        packages=_once(packages),
        efforts=_once(r.effort for r in records),
        subjects=tuple(sorted({(r.subject, r.subject_note) for r in records})),
        measured_subjects=_once(r.subject for r in records if r.arms),
        protocols=_once(r.protocol for r in records),
        cost_s=sum(r.cost_s for r in records),
        part=explain_part(records),
    )


def name_commit(provenance: Provenance) -> str:
    """The commit's first twelve characters, and 'dirty' where the code differed from it."""
    return provenance.commit[:12] + (", dirty: with uncommitted changes" if provenance.dirty else "")


def _to_the_minute(moment: str) -> str:
    """'2026-11-24 09:12' of an ISO 8601 moment; anything else as it is."""
    day, _, time = moment.partition("T")
    return f"{day} {time[:5]}" if time else moment


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))
