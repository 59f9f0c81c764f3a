"""Registration: what decides a claim is fixed before it is measured, and an item is compared with that.

The lock file holds, for each claim, a digest of what decided it each time it was registered. Entries are only added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from engine.arms.measurement import digest_json
from engine.arms.tags import field_tag, tag_of
from engine.claim.claim import Claim
from engine.claim.criteria import Criterion
from engine.claim.procedure import Trial
from engine.errors import DeclarationError, LedgerError, explain
from engine.files import find_nearest, parse_toml, read_whole
from engine.records import Registration

LOCK = "registered.lock"
LONGEST_REASON = 400
"""Characters of the reason for an amendment."""

PROSE = frozenset(
    {
        *("section", "sentence", "estimand", "document", "question", "quote", "notes", "beyond", "figures"),
        "counts_untrained",
    }
)
"""Fields of a claim that are for its readers and decide no verdict."""

UNORDERED = frozenset({"criteria", "subjects", "protocols", "only_at_full_effort", "needs_subjects"})
"""Fields of a claim whose order decides nothing."""

WHERE = frozenset({"subjects", "full_only"})
"""Tags of fields that say on what and when a claim is measured, and decide nothing of a subject that is in them."""

_HEAD = """\
# What decides each claim, as it was first registered, and again after each amendment. Nothing is ever taken out.
# Written by `lm-claims register`.
"""


def _check_date(date: datetime) -> datetime:
    """The same moment. Raises ValueError for one that UTC cannot express, at either end of the calendar."""
    try:
        date.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a date that UTC cannot express") from error
    return date


@dataclass(frozen=True, kw_only=True)
class RegistrationEntry:
    """One registration of a claim.

    commit: the checkout of the claim's file; '' without git. digest: of everything that decides the claim.
    fields: a short digest of each field, to say which one was amended. reason: why; '' if none was given.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    date: Annotated[AwareDatetime, AfterValidator(_check_date)]
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40,64})?$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    fields: dict[Annotated[str, Field(pattern=r"^[a-z_]+$")], Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]]
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""

    @property
    def words(self) -> str:
        """'2026-11-25 (commit 0123456789ab)'."""
        return f"{self.date:%Y-%m-%d}" + (f" (commit {self.commit[:12]})" if self.commit else "")


Lock = Mapping[str, Sequence[RegistrationEntry]]
"""The entries of each claim by its id, oldest first."""

_LOCK = TypeAdapter(dict[str, list[RegistrationEntry]])


def plain_declaration(claim: Claim) -> dict[str, Any]:
    """What decides a claim and what is measured for it, field by field, as plain data without prose.

    Raises DeclarationError for a value that is not data, such as a function.
    """
    plain: dict[str, Any] = {}
    for field in fields(claim):
        if field.name in PROSE:
            continue
        value = _to_plain(getattr(claim, field.name), f"claim {claim.id}, {field.name}")
        plain[field_tag(field)] = sorted(value, key=_dump) if field.name in UNORDERED else value
    return _without_absent(plain)


def digest_claim(claim: Claim) -> str:
    """The digest of a declaration: 40 hexadecimal digits, equal in every process. Raises DeclarationError."""
    return digest_json(plain_declaration(claim))[:40]


def digest_fields(claim: Claim) -> dict[str, str]:
    """A short digest of each field that decides anything. Raises DeclarationError."""
    return {name: digest_json(value)[:8] for name, value in plain_declaration(claim).items() if name != "id"}


def _to_plain(value: object, where: str) -> Any:
    """The value as JSON data. Equal values give equal data however they are written (1 or 1.0, a default or not)."""
    if is_dataclass(value) and not isinstance(value, type):
        prose = {"because", "least_because"} if isinstance(value, Criterion) else set[str]()
        counted = [field for field in fields(value) if field.name not in prose]
        held = {field_tag(f): _to_plain(getattr(value, f.name), f"{where}.{f.name}") for f in counted}
        return [tag_of(value), _without_absent(held)]
    if isinstance(value, tuple | list):
        return [_to_plain(part, where) for part in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    expected = "texts, numbers, tuples and dataclasses of them"
    raise DeclarationError(
        explain(
            who=where, got=f"a value of type {type(value).__name__}", expected=expected, remedy="declare it as data"
        )
    )


def _without_absent(held: dict[str, Any]) -> dict[str, Any]:
    # A setting that the engine gains later, and that is off by default, must amend no claim.
    return {name: value for name, value in held.items() if not (value is None or value is False or value == [])}


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def read_lock(path: Path) -> Lock:
    """Registrations by claim, oldest first. Raises LedgerError that names the wrong entry."""
    try:
        found = _LOCK.validate_python(parse_toml(read_whole(path).decode()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unreadable(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:  # a number of 5,000 digits raises no TOMLDecodeError
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    # Merging two branches may have changed their order.
    return {id: sorted(entries, key=lambda entry: entry.date) for id, entries in found.items() if entries}


def _unreadable(path: Path, got: str) -> LedgerError:
    expected = "TOML with [[CLAIM]] tables of date, commit, digest and fields"
    return LedgerError(explain(who=str(path), got=got, expected=expected, remedy="restore it from git"))


def write_lock(lock: Lock) -> str:
    """The lock as TOML, by claim. Raises DeclarationError for an id that a text file cannot hold."""
    blocks = [_HEAD]
    for id in sorted(lock):
        if not (id.isprintable() and id):
            expected = "visible characters"
            raise DeclarationError(
                explain(who="register", got=f"the claim {id!a}", expected=expected, remedy="choose another id")
            )
        name = id if re.fullmatch(r"[A-Za-z0-9_-]+", id) else json.dumps(id, ensure_ascii=False)
        blocks += [_write_entry(name, entry) for entry in lock[id]]
    return "\n".join(blocks)


def _write_entry(name: str, entry: RegistrationEntry) -> str:
    held = ", ".join(f'{field} = "{digest}"' for field, digest in sorted(entry.fields.items()))
    date = entry.date.astimezone(UTC).isoformat(timespec="seconds")
    why = f"reason = {json.dumps(entry.reason, ensure_ascii=False)}\n" if entry.reason else ""
    return (
        f'[[{name}]]\ndate = {date}\ncommit = "{entry.commit}"\ndigest = "{entry.digest}"\nfields = {{ {held} }}\n{why}'
    )


def find_registration(claim: Claim, trial: Trial, claim_file: Path, root: Path) -> Registration:
    """The status of an item, by the nearest lock at or above its claim's file, up to `root`.

    Registered: declared as first registered. A further subject amends nothing for the others; what is measured on it
    counts as registered since it was added. Amended: in the lock, but declared differently now. Exploratory: in no
    lock, or run under other settings than registered. Raises LedgerError and DeclarationError.
    """
    path = find_nearest(LOCK, claim_file, root)
    entries = read_lock(path).get(claim.id) if path else None
    if not entries:
        return Registration(status="exploratory", why="not registered")
    if strange := " and ".join(_list_strange(claim, trial)):
        return Registration(status="exploratory", why=strange)
    first, digest = entries[0], digest_claim(claim)
    origin = {"date": _write_date(first), "commit": first.commit}
    if digest == first.digest:
        return Registration(status="registered", **origin)
    if (origin_of_subject := _find_first_on(claim, entries, trial.subject.id)) is not None:
        return Registration(status="registered", date=_write_date(origin_of_subject), commit=origin_of_subject.commit)
    again = next((entry for entry in reversed(entries) if entry.digest == digest), None)
    reason = f" because {again.reason}" if again and again.reason else ""
    since = f"registered again on {again.words}{reason}" if again else "and not registered again"
    why = f"{name_changes(first, claim)} changed after {first.words}, {since}"
    return Registration(status="amended", **origin, why=why)


def _write_date(entry: RegistrationEntry) -> str:
    return entry.date.astimezone(UTC).isoformat(timespec="seconds")


def is_extended(claim: Claim, entry: RegistrationEntry) -> bool:
    """Whether a claim has gained subjects since an entry, and nothing else of it has changed."""
    return bool(_find_covered(claim, entry))


def _find_first_on(claim: Claim, entries: Sequence[RegistrationEntry], subject: str) -> RegistrationEntry | None:
    """The entry since which an item on this subject is registered, if the claim has since gained subjects alone."""
    covered = [_find_covered(claim, entry) for entry in entries]
    if not covered[0]:
        return None
    # 'NAME-untrained:SEED' is listed without its seed.
    names = {subject, subject.split(":")[0]}
    return next((entry for entry, found in zip(entries, covered, strict=True) if names & found), None)


def _find_covered(claim: Claim, entry: RegistrationEntry) -> frozenset[str]:
    """The claim's subjects that an entry names, if it decides on them as the claim does now; else none.

    An entry holds a digest of its subjects and not their names, so it is compared with every part of today's list.
    """
    now = digest_fields(claim)
    if any(now.get(name) != entry.fields.get(name) for name in {*now, *entry.fields} - WHERE):
        return frozenset()
    parts = (part for size in range(len(claim.subjects), 0, -1) for part in combinations(claim.subjects, size))
    return next((frozenset(part) for part in parts if _digest_names(part) == entry.fields.get("subjects")), frozenset())


@cache
def _digest_names(names: tuple[str, ...]) -> str:
    return digest_json(sorted(names, key=_dump))[:8]


def name_changes(entry: RegistrationEntry, claim: Claim) -> str:
    """The names of the fields in which a claim differs from its entry."""
    now = digest_fields(claim)
    names = [name for name in (*now, *entry.fields) if now.get(name) != entry.fields.get(name)]
    words = {field_tag(field): field.name.replace("_", " ") for field in fields(claim)}
    return " and ".join(words.get(name, name) for name in dict.fromkeys(names)) or "the declaration"


def _list_strange(claim: Claim, trial: Trial) -> list[str]:
    """Why this item is exploratory, as phrases."""
    named = trial.subject.id in claim.subjects
    own = trial.subject.own and trial.subject.trained
    found = {
        "on the user's own model": own and not named,
        f"on {trial.subject.id}, which is not one of its subjects": not (own or named),
        "with the user's own prompts": bool(trial.prompts),
        f"with {trial.starts} start seeds for each prompt": trial.starts != 1,
        f"computed in {trial.dtype}": trial.dtype != "float32",
    }
    words = [word for word, holds in found.items() if holds]
    return words if words or trial.registered else ["under other settings than registered"]


def compare_dates(registration: Registration | None, measured_at: Sequence[str]) -> Registration | None:
    """Add a remark where measurements are older than the registration, so that it did not come before them."""
    if registration is None or registration.status != "registered" or not measured_at:
        return registration
    older = [moment for moment in measured_at if moment < registration.date]
    if not older:
        return registration
    return replace(registration, why=f"{'' if len(older) == len(measured_at) else 'in part '}measured before that")
