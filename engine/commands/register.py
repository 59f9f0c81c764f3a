"""`lm-claims register [FOLDER]`: keep what decides each claim, so that a later change can be seen."""

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
    Lock,
    RegistrationEntry,
    digest_claim,
    digest_fields,
    name_changes,
    read_lock,
    write_lock,
)
from engine.commands.command_line import Parser, make_parser
from engine.errors import DeclarationError, EngineError, LedgerError, UsageError, explain
from engine.files import find_nearest, write_whole
from engine.ledger.provenance import run_git
from engine.text import write_plain

EXIT_UNREGISTERED, EXIT_USAGE = 1, 4
WHO = "register"
MAX_FILES_NAMED = 3
"""Files that an error names."""


@dataclass(frozen=True, kw_only=True)
class LockStatus:
    """The claims that one lock is for, beside what it holds. whole: whether these are all that it is for."""

    path: Path
    lock: Lock
    declared: dict[str, DeclaredClaim]
    whole: bool

    @property
    def new(self) -> list[str]:
        return [id for id in self.declared if id not in self.lock]

    @property
    def amended(self) -> list[str]:
        """Declared otherwise than they were registered last."""
        known = [id for id in self.declared if id in self.lock]
        return [id for id in known if self.lock[id][-1].digest != digest_claim(self.declared[id].claim)]

    @property
    def due(self) -> list[DeclaredClaim]:
        """What is to be registered."""
        return [self.declared[id] for id in (*self.new, *self.amended)]

    def lines(self) -> list[str]:
        """A short table: what is not as it was, and a count of all."""
        new, amended = self.new, self.amended
        gone = [id for id in self.lock if id not in self.declared] if self.whole else []
        rows: dict[str, tuple[str, str]] = dict.fromkeys(new, ("new", ""))
        for id in amended:
            last = self.lock[id][-1]
            rows[id] = ("amended", f"{name_changes(last, self.declared[id].claim)} changed after {last.words}")
        rows |= {id: ("withdrawn", f"registered on {self.lock[id][0].words}, declared no more") for id in gone}
        width = max(map(len, rows), default=0)
        counts = {"unchanged": len(self.declared) - len(new) - len(amended), "new": len(new), "amended": len(amended)}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        table = [f"{id:<{width}}  {word:<9}  {rest}".rstrip() for id, (word, rest) in sorted(rows.items())]
        path = self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path
        return [*table, f"{path}: {told}"]


def read_lock_status(place: Path) -> list[LockStatus]:
    """The claims in a folder, or in one file, beside the lock that each is for: the nearest at or above it.

    Where there is none yet, it is the folder's own. Raises UsageError, DeclarationError and LedgerError.
    """
    place = place.resolve()
    folder = place if place.is_dir() else place.parent
    root = find_checkout(folder) or folder
    groups: dict[Path, dict[str, DeclaredClaim]] = {}
    for found in find_claims(place):
        path = find_nearest(LOCK, found.file, root) or folder / LOCK
        known = groups.setdefault(path, {}).setdefault(found.claim.id, found)
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
        for path, declared in sorted(groups.items())
    ]


def find_checkout(folder: Path) -> Path | None:
    """The top of the git checkout that a folder lies in; None where it lies in none."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def read_commit(files: Sequence[Path]) -> str:
    """The commit that files are checked out from; '' where there is no git.

    Raises UsageError for a file that differs from it: the commit would not hold what is registered.
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
    told = ", ".join(names[:MAX_FILES_NAMED]) + (
        f" and {len(names) - MAX_FILES_NAMED} more" if len(names) > MAX_FILES_NAMED else ""
    )
    expected, remedy = "them committed, so that the lock can name the commit", "commit them, then register"
    raise UsageError(explain(who=WHO, got=f"uncommitted changes in {told}", expected=expected, remedy=remedy))


def register(found: LockStatus, commit: str, now: datetime) -> None:
    """Add what is due to the lock. Raises LedgerError when it cannot be written."""
    lock = {id: list(entries) for id, entries in found.lock.items()}
    for due in found.due:
        entries = lock.setdefault(due.claim.id, [])
        entries.append(
            RegistrationEntry(
                # Never before the last one, whatever the clock says: the order is what tells the first from the rest.
                date=max([now, *(entry.date for entry in entries)]),
                commit=commit,
                digest=digest_claim(due.claim),
                fields=digest_fields(due.claim),
            )
        )
    write_whole(found.path, write_lock(lock).encode(), who=WHO, remedy="fix its permissions")


def _build_parser() -> Parser:
    of_ours = make_parser("a folder, or --check")
    parser = of_ours(prog="lm-claims register", description="Registers claims before they are measured.")
    argument = parser.add_argument
    argument("place", nargs="?", type=Path, default=Path("claims"), metavar="FOLDER", help="(default: claims)")
    argument("--check", action="store_true", help="write nothing; exit 1 where a claim is not registered as declared")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where --check finds a claim that is not registered; 4 after one line on stderr."""
    try:
        chosen = _build_parser().parse_args(arguments)
        code, lines = _run(chosen.place, check=chosen.check)
    except EngineError as error:
        print(write_plain(str(error), 2000), file=sys.stderr)
        return EXIT_USAGE
    for line in lines:
        print(write_plain(line, 2000), flush=True)
    return code


def _run(place: Path, *, check: bool) -> tuple[int, list[str]]:
    surveys = read_lock_status(place)
    lines = [line for found in surveys for line in found.lines()]
    due = [one.file for found in surveys for one in found.due]
    if not due:
        return 0, lines
    if check:
        return EXIT_UNREGISTERED, [*lines, f"not registered as declared; lm-claims register {place} registers"]
    commit, now = read_commit(due), datetime.now(UTC).replace(microsecond=0)
    for found in surveys:
        if found.due:
            register(found, commit, now)
    at = f"at commit {commit[:12]}" if commit else "without a commit, since there is no git here"
    return 0, [*lines, f"registered {now:%Y-%m-%d} {at}"]
