"""`lm-claims register [FOLDER]`: record what decides each claim, so that a later change shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.claim.discover import DeclaredClaim, find_claims
from engine.claim.registration import (
    LOCK,
    LONGEST_REASON,
    Lock,
    RegistrationEntry,
    digest_claim,
    digest_fields,
    is_extended,
    name_changes,
    read_lock,
    write_lock,
)
from engine.commands.command_line import EXIT_USAGE, make_parser, say
from engine.errors import DeclarationError, EngineError, LedgerError, UsageError, explain
from engine.files import find_nearest, write_whole
from engine.ledger.provenance import run_git
from engine.text import is_invisible, is_text

EXIT_UNREGISTERED = 1
WHO = "register"
MAX_FILES_NAMED = 3
"""Files that an error names."""


@dataclass(frozen=True, kw_only=True)
class LockStatus:
    """A lock, beside the declared claims that belong in it. whole: whether these are all claims of the lock."""

    path: Path
    lock: Lock
    declared: dict[str, DeclaredClaim]
    whole: bool

    @property
    def new(self) -> list[str]:
        """Ids of claims that are not in the lock."""
        return [id for id in self.declared if id not in self.lock]

    @property
    def amended(self) -> list[str]:
        """Ids of claims that changed since they were last registered."""
        known = [id for id in self.declared if id in self.lock]
        return [id for id in known if self.lock[id][-1].digest != digest_claim(self.declared[id].claim)]

    @property
    def due(self) -> list[DeclaredClaim]:
        """The claims to register: new and amended ones."""
        return [self.declared[id] for id in (*self.new, *self.amended)]

    def lines(self) -> list[str]:
        """A table of the claims that are new, amended, extended or withdrawn, and a line that counts all."""
        new, amended = self.new, self.amended
        rows: dict[str, tuple[str, str]] = dict.fromkeys(new, ("new", ""))
        for id in amended:
            last = self.lock[id][-1]
            claim = self.declared[id].claim
            if is_extended(claim, last):
                rows[id] = ("extended", f"subjects added after {last.words}")
            else:
                rows[id] = ("amended", f"{name_changes(last, claim)} changed after {last.words}")
        if self.whole:
            gone = [id for id in self.lock if id not in self.declared]
            rows |= {id: ("withdrawn", f"registered on {self.lock[id][0].words}, declared no more") for id in gone}
        width = max(map(len, rows), default=0)
        table = [f"{id:<{width}}  {status:<9}  {rest}".rstrip() for id, (status, rest) in sorted(rows.items())]
        unchanged = len(self.declared) - len(new) - len(amended)
        extended = sum(status == "extended" for status, _ in rows.values())
        counts = {
            "unchanged": unchanged,
            "new": len(new),
            "amended": len(amended) - extended,
            "extended": extended,
        }
        counted = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        path = self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path
        return [*table, f"{path}: {counted}"]


def read_lock_status(place: Path) -> list[LockStatus]:
    """The claims in a folder or a file, each beside its lock: the nearest at or above it.

    A claim without one belongs in a new lock in the folder. Raises UsageError, DeclarationError and LedgerError.
    """
    place = place.resolve()
    folder = place if place.is_dir() else place.parent
    root = find_checkout(folder) or folder
    locks: dict[Path, dict[str, DeclaredClaim]] = {}
    for found in find_claims(place):
        path = find_nearest(LOCK, found.file, root) or folder / LOCK
        known = locks.setdefault(path, {}).setdefault(found.claim.id, found)
        if known is not found:
            expected, remedy = f"one, as in {known.file}", "give each claim an id of its own"
            got = f"a second claim {found.claim.id} in {found.file}"
            raise DeclarationError(explain(who=WHO, got=got, expected=expected, remedy=remedy))
    return [
        LockStatus(
            path=path,
            lock=read_lock(path) if os.path.lexists(path) else {},
            declared=dict(sorted(declared.items())),
            whole=place == path.parent,
        )
        for path, declared in sorted(locks.items())
    ]


def find_checkout(folder: Path) -> Path | None:
    """The top of the git checkout that holds a folder; None if there is none."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def read_commit(files: Sequence[Path]) -> str:
    """The commit that files are checked out from; '' outside a git checkout.

    Raises UsageError for a file with uncommitted changes, since the commit would not hold what is registered.
    """
    top = find_checkout(files[0].parent)
    if top is None:
        return ""
    try:
        changed = run_git(top, "status", "--porcelain", "--ignored", "--", *map(str, files)).splitlines()
        if not changed:
            return run_git(top, "rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError) as error:
        got, expected = f"{error}", f"git to tell the commit of {top}"
        raise LedgerError(explain(who=WHO, got=got, expected=expected, remedy="see git status there")) from error
    names = [line.split(maxsplit=1)[-1] for line in changed]
    named = ", ".join(names[:MAX_FILES_NAMED])
    if len(names) > MAX_FILES_NAMED:
        named += f" and {len(names) - MAX_FILES_NAMED} more"
    expected, remedy = "them committed, so that the lock can name the commit", "commit them, then register"
    raise UsageError(explain(who=WHO, got=f"uncommitted changes in {named}", expected=expected, remedy=remedy))


def register(status: LockStatus, commit: str, now: datetime, reason: str = "") -> None:
    """Add new and amended claims to the lock. reason: of the amendments. Raises LedgerError if it cannot be written."""
    lock = {id: list(entries) for id, entries in status.lock.items()}
    for due in status.due:
        entries = lock.setdefault(due.claim.id, [])
        entries.append(
            RegistrationEntry(
                # Never before the last one, even if the clock was set back: the first entry by date stays the first.
                date=max([now, *(entry.date for entry in entries)]),
                commit=commit,
                digest=digest_claim(due.claim),
                fields=digest_fields(due.claim),
                reason=reason if entries else "",
            )
        )
    write_whole(status.path, write_lock(lock).encode(), who=WHO, remedy="fix its permissions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0, 1 if --check finds a claim that is not registered, or 4 after one line on stderr."""
    parser = make_parser("a folder, or --check")(
        prog="lm-claims register", description="Registers claims before they are measured."
    )
    parser.add_argument(
        "place", nargs="?", type=Path, default=Path("claims"), metavar="FOLDER", help="(default: claims)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a claim is not registered as declared"
    )
    parser.add_argument(
        "--because", default="", metavar="WHY", help="the reason why claims were amended, which the report then gives"
    )
    try:
        chosen = parser.parse_args(arguments)
        reason = " ".join(chosen.because.split())
        if len(reason) > LONGEST_REASON or not is_text(reason) or any(map(is_invisible, reason)):
            got, expected = f"a reason of {len(reason)} characters", f"at most {LONGEST_REASON}, all of them visible"
            raise UsageError(explain(who="--because", got=got, expected=expected, remedy="say it in one sentence"))
        statuses = read_lock_status(chosen.place)
        lines = [line for status in statuses for line in status.lines()]
        due = [claim.file for status in statuses for claim in status.due]
        if due and not chosen.check:
            commit, now = read_commit(due), datetime.now(UTC).replace(microsecond=0)
            for status in statuses:
                if status.due:
                    register(status, commit, now, reason)
            at = f"at commit {commit[:12]}" if commit else "without a commit, since there is no git here"
            lines.append(f"registered {now:%Y-%m-%d} {at}")
            if not reason and any(status.lock.get(one.claim.id) for status in statuses for one in status.due):
                lines.append("no reason is recorded for what was amended: --because gives one")
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
    for line in lines:
        say(line)
    if due and chosen.check:
        say(f"not registered as declared; to register them, run lm-claims register {chosen.place}")
        return EXIT_UNREGISTERED
    return 0
