"""The templates of the pages, and the files that go into them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, cast

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from engine.records import Table
from engine.report.overview import list_registrations
from engine.report.token_film import show_token
from engine.report.words import find_symbol, name_protocol
from engine.text import (
    format_duration,
    format_interval,
    format_number,
    format_percent,
    write_html,
    write_plain,
)


def read_data(name: str) -> str:
    """A file of this package, as text."""
    return files("engine.report").joinpath(name).read_text(encoding="utf-8")


@cache
def load_template(name: str) -> Template:
    """A template of this package. Its filters make text of other people inert: `show` as markup, `plain` without."""
    environment = Environment(
        loader=FunctionLoader(read_data),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja types the dict by the filters that it ships; these are others.
    filters = cast("dict[str, Any]", environment.filters)
    filters.update(
        show=write_html,
        plain=write_plain,
        token=show_token,
        number=format_number,
        percent=format_percent,
        interval=format_interval,
        duration=format_duration,
        place="{:.2f}%".format,
        symbol=find_symbol,
        protocol=lambda name: write_plain(name_protocol(name), 80),
        registrations=list_registrations,
        numeric=_find_numeric,
        millions=lambda count: f"{count / 1e6:,.{0 if count >= 1e7 else 2}f} million",
    )
    return environment.get_template(name)


def _find_numeric(table: Table, rows: int) -> set[int]:
    """Columns that hold no text in the first rows."""
    texts = {k for row in table.rows[:rows] for k, cell in enumerate(row) if isinstance(cell, str)}
    return set(range(len(table.columns))) - texts
