"""What the pages of kept figures share: reading the figures, writing the page, rows of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import UsageError, explain
from engine.files import read_whole, write_whole
from engine.report.templates import load_template, read_data

Share = Annotated[float, Field(ge=0, le=1)]
Word = Annotated[str, Field(min_length=1)]


class Figures(BaseModel):
    """A file of figures: every number is finite, and unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


F = TypeVar("F", bound=Figures)


def read_figures(kind: type[F], path: Path, *, who: str, remedy: str) -> F:
    """The figures in a file. Raises UsageError when it cannot be read or holds no figures of this kind.

    who: the command, which gives the file its name. remedy: how such a file is made.
    """
    expected = f"a {who}.json file"
    try:
        return kind.model_validate_json(read_whole(path))
    except OSError as error:
        got = f"{path}: {error.strerror}"
        raise UsageError(explain(who=who, got=got, expected=expected, remedy=remedy)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "file"
        got = f"{path}: {place}: {first['msg']}"
        raise UsageError(explain(who=who, got=got, expected=expected, remedy=remedy)) from error


def render_page(template: str, **values: Any) -> str:
    """One self-contained page without a script: a template that extends page.html.j2, with the report's style."""
    return load_template(template).render(style=read_data("style.css"), **values)


def write_page(page: str, path: Path) -> Path:
    """Write a page, whole or not at all. Raises LedgerError when its folder cannot be written."""
    write_whole(path, page.encode(errors="replace"))
    return path


def write_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table. head, rows: cells in which nothing breaks the table."""
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
