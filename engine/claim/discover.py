"""Finds the claims that Python files declare, and imports them."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from engine.claim.claim import Claim
from engine.errors import DeclarationError, UsageError, explain


@dataclass(frozen=True, kw_only=True)
class DeclaredClaim:
    """A claim and the file that declares it."""

    claim: Claim
    file: Path


def find_claims(place: Path) -> list[DeclaredClaim]:
    """The claims that Python files declare as CLAIM. Files without one are not imported.

    Raises UsageError if there are none, DeclarationError for a file that cannot be imported.
    """
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*.py") if path.is_file())
    hidden = [file for file in files if any(part.startswith(".") for part in file.relative_to(place).parts)]
    declared = [DeclaredClaim(claim=c, file=f) for f in files if f not in hidden and (c := _load_claim(f)) is not None]
    if not declared:
        expected, remedy = "a folder or file that declares a claim as CLAIM", "name another"
        raise UsageError(explain(who="register", got=str(place), expected=expected, remedy=remedy))
    return declared


def _load_claim(file: Path) -> Claim | None:
    try:
        content = file.read_bytes()
        if not _sets_claim(content):
            return None
        spec = spec_from_file_location(f"registered:{file}", file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look up a class's module here
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest's own skip, for one, is no Exception
        got, expected = f"{type(error).__name__}: {error}", "a module that declares a claim"
        raise DeclarationError(explain(who=str(file), got=got, expected=expected, remedy="fix it")) from error
    found = getattr(module, "CLAIM", None)
    return found if isinstance(found, Claim) else None


def declares_claim(file: Path) -> bool:
    """Whether a file sets CLAIM, without importing it. False for one that cannot be read."""
    try:
        return _sets_claim(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False


def _sets_claim(content: bytes) -> bool:
    if b"CLAIM" not in content:
        return False
    targets: list[ast.expr] = []
    for statement in ast.parse(content).body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return any(isinstance(target, ast.Name) and target.id == "CLAIM" for target in targets)
