"""The token film: what every position decodes to as a descent or walk goes on.

film.html.j2 draws it as plain HTML that works without a script, and film.css styles it: the five choices of a row
unfold below its tokens on keyboard focus or when its box is ticked, and stand in every cell's tooltip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from markupsafe import Markup

from engine.records import CHOICES, Record, Table
from engine.text import cut, write_html, write_plain

LONGEST_TOKEN = 24
"""Characters of a token that are shown."""

FILMS, FRAMES, POSITIONS = 36, 12, 48
"""The most of each that a record shows, so that none can swamp the page."""

_COLUMNS = ("arm", "run", "start seed", "position", "target", *CHOICES, "rank")


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One position of a frame: the target's text, the five decoded ones, and the target's rank among them."""

    target: str
    choices: tuple[str, ...]
    rank: int | None

    @property
    def css_class(self) -> str:
        return "miss" if self.rank is None else "hit" if self.rank == 1 else "near"

    @property
    def sign(self) -> str:
        """Of a match, so that colour alone does not show it."""
        return "" if self.rank is None else "✓" if self.rank == 1 else str(self.rank)

    @property
    def tooltip(self) -> str:
        """The five choices, a line each."""
        return "\n".join(f"{k} {write_token(text)}" for k, text in enumerate(self.choices, 1) if text)


@dataclass(frozen=True, kw_only=True)
class FilmView:
    """One run, as far as the page shows it. step: what counts its frames, such as 'iteration'.

    frames: each with its number and a cell for every position. right, positions: how many positions of the last frame
    decode to their target, and how many there are.
    """

    name: str
    step: str
    frames: tuple[tuple[str, tuple[CellView, ...]], ...]
    right: int
    positions: int

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(cell.target for cell in self.frames[0][1])


@dataclass(frozen=True, kw_only=True)
class FilmsView:
    """The films of a record. more: how many it has beyond those."""

    shown: tuple[FilmView, ...]
    more: int


def arrange_films(record: Record) -> FilmsView | None:
    """The films of a record; None where it has none."""
    films = [film for table in record.tables if table.kind == "film" for film in _read_films(table)]
    return FilmsView(shown=tuple(films[:FILMS]), more=max(0, len(films) - FILMS)) if films else None


def _read_films(table: Table) -> Iterator[FilmView]:
    """Films of a table, in its order; none where a column is missing."""
    places = {name: k for k, name in enumerate(table.columns)}
    steps = [name for name in table.columns if name not in _COLUMNS]
    if len(steps) != 1 or any(name not in places for name in _COLUMNS):
        return
    rows = [row for row in table.rows if len(row) == len(table.columns)]
    arm, run, seed, step, target, rank = (places[n] for n in ("arm", "run", "start seed", steps[0], "target", "rank"))

    def read_cell(row: Sequence[str | float | None]) -> CellView:
        found = row[rank]
        return CellView(
            target=str(row[target]),
            choices=tuple(str(row[places[name]]) for name in CHOICES),
            rank=int(found) if isinstance(found, int | float) and 1 <= found <= len(CHOICES) else None,
        )

    for (name, _, start), own in groupby(rows, key=lambda row: (row[arm], row[run], row[seed])):
        frames = [(str(n), tuple(map(read_cell, cells))) for n, cells in groupby(own, key=lambda row: row[step])]
        last = frames[-1][1]
        if len(frames) > FRAMES:  # the first, the last, and evenly spaced ones between them
            frames = [frames[round(k * (len(frames) - 1) / (FRAMES - 1))] for k in range(FRAMES)]
        width = len(frames[0][1][:POSITIONS])
        yield FilmView(
            name=f"{write_plain(str(name), 80)}, start {write_plain(str(start), 20)}",
            step=steps[0],
            frames=tuple((number[:20], cells[:width]) for number, cells in frames),
            right=sum(cell.rank == 1 for cell in last),
            positions=len(last),
        )


@lru_cache(maxsize=8192)
def write_token(token: str) -> str:
    """A token as plain text: a leading space marked, invisible characters as escapes, cut."""
    rest = token.removeprefix(" ")
    head, remark = cut(rest, LONGEST_TOKEN)
    return ("␣" if rest != token else "") + write_plain(head) + ("…" if remark else "")


@lru_cache(maxsize=8192)
def show_token(token: str) -> Markup:
    """The same as markup."""
    rest = token.removeprefix(" ")
    head, remark = cut(rest, LONGEST_TOKEN)
    return (Markup("<i>␣</i>") if rest != token else Markup()) + write_html(head) + ("…" if remark else "")
