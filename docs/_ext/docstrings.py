"""Docstrings for Sphinx: the engine's say `name, name: meaning. Raises X for what.` in plain text, with `code`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import engine

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


def list_names(subject: object) -> list[str]:
    """What a docstring explains by name: the fields of a class, or the parameters of a function."""
    if dataclasses.is_dataclass(subject):
        return [field.name for field in dataclasses.fields(subject)]
    return list(inspect.signature(subject).parameters) if inspect.isroutine(subject) else []


def write_rst(text: str, names: Collection[str]) -> Iterator[str]:
    """Lines of a docstring in reStructuredText, with a definition for each name that it explains."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lead, *items = re.split(r"(?:^|\n)- ", paragraph)
        yield from _write_paragraph(" ".join(lead.split()), names)
        for item in items:
            yield f"- {_escape(' '.join(item.split()))}"
        yield ""


def _write_paragraph(text: str, names: Collection[str]) -> Iterator[str]:
    # Parts begin with names and a colon, or with a word that says what the rest is about.
    one = "|".join(map(re.escape, names)) or r"(?!)"
    heads = re.compile(rf"(?:^|(?<=\. ))(?:((?:{one})(?:, (?:{one}))*): |(?=(?:Raises|Returns|Source:) ))")
    parts = [(found[1], found.start(), found.end()) for found in heads.finditer(text)]
    ends = [*(start for _, start, _ in parts), len(text)]
    if before := text[: ends[0]].strip():
        yield from (_escape(before), "")
    for (head, _, start), end in zip(parts, ends[1:], strict=True):
        meaning = _escape(text[start:end].strip())
        if head:
            yield from (", ".join(f"``{name}``" for name in head.split(", ")), f"    {meaning}", "")
        else:
            yield from (meaning, "")


def _escape(text: str) -> str:
    """Text in which only `code` and *stress* are marked, as reStructuredText."""
    return re.sub(r"`([^`]+)`|(\*\w[^*]*\w\*)|([\\*|`]|_(?!\w))", _replace, text)


def _replace(found: re.Match[str]) -> str:
    code, stress, sign = found.groups()
    return f"``{code}``" if code else stress or f"\\{sign}"


def rewrite(app: Sphinx, what: str, name: str, subject: Any, options: object, lines: list[str]) -> None:
    """Autodoc's event for a docstring that was read."""
    if what == "data" and not isinstance(subject, type) and "\n".join(lines).strip() == inspect.getdoc(type(subject)):
        lines.clear()  # a constant has no words of its own then, and those of its type stand elsewhere
    lines[:] = list(write_rst("\n".join(lines), list_names(subject)))


def find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> nodes.Element | None:
    """Sphinx's event for a name in a signature that leads nowhere: it may be a public one, named by its own module."""
    target = node.get("reftarget", "")
    name = target.rpartition(".")[2]
    domain = env.domains.python_domain
    if node.get("refdomain") == "py" and name in engine.__all__ and target != f"engine.{name}":
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"engine.{name}", node, shown)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("missing-reference", find_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
