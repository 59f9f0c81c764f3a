"""The token film: what every position decodes to as a descent or walk goes on, cell by cell.

Plain HTML that works without a script: the five choices of a row unfold below its tokens on keyboard focus or when its
box is ticked, and stand in every cell's tooltip. `film.css` beside this file styles it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from markupsafe import Markup, escape

from engine.records import CHOICES, Record, Table
from engine.text import cut, write_html, write_plain

TOKEN = 24
"""Characters of a token that are shown."""

FILMS, FRAMES, POSITIONS = 36, 12, 48
"""The most of each that is drawn, so that no record can swamp the page."""

_KNOWN = ("arm", "run", "start seed", "position", "target", *CHOICES, "rank")
_KEY = (
    '<p class="film-key"><span class="hit">right</span> <span class="near">among the five, with its rank</span> '
    '<span class="miss">not among them</span> <i>␣</i> a leading space</p>'
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One position of a frame: the target's text, the five decoded ones, and the target's rank among them."""

    target: str
    choices: tuple[str, ...]
    rank: int | None


@dataclass(frozen=True, kw_only=True)
class Film:
    """One unit: its frames in their order, each with a cell for every position."""

    arm: str
    run: str
    seed: str
    counted: str
    frames: tuple[tuple[str, tuple[Cell, ...]], ...]


def draw_films(record: Record) -> Markup:
    """The films of a record, the first one unfolded; '' where it has none."""
    films = [film for table in record.tables if table.kind == "film" for film in _read_films(table)]
    if not films:
        return Markup()
    left = len(films) - FILMS
    more = f'<p class="small">{left} more in records.jsonl.</p>' if left > 0 else ""
    drawn = "".join(_draw_film(film, unfolded=k == 0) for k, film in enumerate(films[:FILMS]))
    return Markup('<div class="films">' + _KEY + drawn + more + "</div>")  # noqa: S704 (every cell is escaped)


def _read_films(table: Table) -> Iterator[Film]:
    """Films of a table, in its order; none where a column is missing."""
    places = {name: k for k, name in enumerate(table.columns)}
    counted = [name for name in table.columns if name not in _KNOWN]
    if len(counted) != 1 or any(name not in places for name in _KNOWN):
        return
    rows = [row for row in table.rows if len(row) == len(table.columns)]
    arm, run, seed, step = (places[name] for name in ("arm", "run", "start seed", counted[0]))
    for (name, number, start), unit in groupby(rows, key=lambda row: (row[arm], row[run], row[seed])):
        frames = groupby(unit, key=lambda row: row[step])
        yield Film(
            arm=str(name),
            run=str(number),
            seed=str(start),
            counted=counted[0],
            frames=tuple((str(n), tuple(_read_cell(row, places) for row in cells)) for n, cells in frames),
        )


def _read_cell(row: Sequence[str | float | None], places: dict[str, int]) -> Cell:
    rank = row[places["rank"]]
    return Cell(
        target=str(row[places["target"]]),
        choices=tuple(str(row[places[name]]) for name in CHOICES),
        rank=int(rank) if isinstance(rank, int | float) and 1 <= rank <= len(CHOICES) else None,
    )


def _draw_film(film: Film, *, unfolded: bool) -> str:
    first = film.frames[0][1][:POSITIONS]
    sentence = "".join(cell.target for cell in first)
    head = "".join(f'<th scope="col">{_show(cell.target)}</th>' for cell in first)
    body = "".join(_draw_frame(film, n, cells[: len(first)]) for n, cells in _spread(film.frames))
    name = f"{write_plain(film.arm, 80)}, start {write_plain(film.seed, 20)}"
    label = escape(f"Decoded tokens: {name}")
    cells = film.frames[-1][1]
    back = f"{sum(cell.rank == 1 for cell in cells)} of {len(cells)} right at the end"
    # A summary as long as a prompt would not be one.
    said = f"<b>{escape(name)}</b> <q>{write_html(sentence.strip(), 60)}</q> {back}"
    return (
        f'<details class="film"{" open" if unfolded else ""}><summary>{said}</summary>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="film-table">'
        f'<thead><tr><th scope="col">{escape(film.counted)}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _spread(frames: Sequence[tuple[str, tuple[Cell, ...]]]) -> list[tuple[str, tuple[Cell, ...]]]:
    """The first and the last frame, and no more than there is room for between them."""
    if len(frames) <= FRAMES:
        return list(frames)
    return [frames[round(k * (len(frames) - 1) / (FRAMES - 1))] for k in range(FRAMES)]


def _draw_frame(film: Film, n: str, cells: Sequence[Cell]) -> str:
    # The box keeps the row unfolded; its label is the frame's number, its name for those who listen says what it does.
    shown = escape(n[:20])
    box = f'<input type="checkbox" aria-label="all five choices at {escape(film.counted)} {shown}">'
    return f'<tr><th scope="row"><label>{box}{shown}</label></th>{"".join(map(_draw_cell, cells))}</tr>'


@lru_cache(maxsize=8192)
def _draw_cell(cell: Cell) -> str:
    match, mark = _mark(cell)
    five = escape("\n".join(f"{k} {_show_plain(text)}" for k, text in enumerate(cell.choices, 1) if text))
    return f'<td class="{match}" title="{five}">{_show(cell.choices[0])}{mark}</td>'


def _mark(cell: Cell) -> tuple[str, str]:
    """Class and sign of a match, so that it is not told by colour alone."""
    if cell.rank is None:
        return "miss", ""
    return ("hit", "<sup>✓</sup>") if cell.rank == 1 else ("near", f"<sup>{cell.rank}</sup>")


@lru_cache(maxsize=8192)
def _show(token: str) -> Markup:
    """A token in its cell: a leading space marked, what is invisible as escapes, cut."""
    rest = token.removeprefix(" ")
    head, remark = cut(rest, TOKEN)
    mark = Markup("<i>␣</i>") if rest != token else Markup()
    return mark + write_html(head) + ("…" if remark else "")


def _show_plain(token: str) -> str:
    """The same without markup, for a tooltip."""
    rest = token.removeprefix(" ")
    head, remark = cut(rest, TOKEN)
    return ("␣" if rest != token else "") + write_plain(head) + ("…" if remark else "")
