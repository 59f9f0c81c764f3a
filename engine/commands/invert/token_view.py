"""A film of a descent: what the input decodes to as it goes, kept as it comes in and drawn as text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from engine.experiments.inversion.arm import InversionRun, Snapshot
from engine.text import format_number, name_escape, write_plain

NARROWEST, WIDEST = 5, 12
"""Columns of a token's cell, its mark and the space after it apart."""

PLAIN = 24
"""Most columns of a token where nothing is lined up."""


class Match(Enum):
    """How a decoded token stands to the prompt's: its mark, and its colour where there are colours."""

    RIGHT = ("✓", "green")
    NEAR = ("~", "yellow")
    WRONG = ("×", "red")

    @property
    def mark(self) -> str:
        return self.value[0]

    @property
    def style(self) -> str:
        return self.value[1]


LEGEND = "✓ the prompt's token   ~ the prompt's is among the top five   × it is not"


@dataclass(kw_only=True)
class Film:
    """One descent, as far as it has been seen.

    target: the prompt's ids. given_back: what the codec decodes e itself to. text: what an id says.
    slots: iterations at which the curve is drawn. curve: iteration → distance, at the slots that were seen.
    bound, distance: NaN until they are known. shown: iterations whose frame was shown. hit: first one below the bound.
    """

    target: tuple[int, ...]
    given_back: tuple[int, ...]
    slots: tuple[int, ...]
    text: Callable[[int], str]
    bound: float = math.nan
    distance: float = math.nan
    curve: dict[int, float] = field(default_factory=dict[int, float])
    shown: set[int] = field(default_factory=set[int])
    hit: int | None = None

    @property
    def iterations(self) -> int:
        return self.slots[-1]

    def read(self, first: int, distances: Sequence[float]) -> None:
        """Take in the distances of the iterations from `first` on."""
        for n, distance in enumerate(distances, first):
            if self.hit is None and distance < self.bound:
                self.hit = n
            self.distance = distance
        last = first + len(distances)
        self.curve |= {n: distances[n - first] for n in self.slots if first <= n < last}

    def settle(self, run: InversionRun) -> None:
        """Take over what a finished run says."""
        self.bound, self.hit = run.bound, run.hit
        self.curve = dict(zip(self.slots, run.curve, strict=False))  # a run that left early has a shorter curve

    def matches(self, snapshot: Snapshot) -> list[Match]:
        """How the decoded token at each position stands to the prompt's."""
        return [judge(target, top) for target, top in zip(self.target, snapshot.top, strict=True)]


def write_bounds(distance: float, bound: float) -> str:
    """A distance in units of the bound, which a very small σ may round to 0."""
    return format_number(distance / bound if bound else math.inf)


def judge(target: int, top: Sequence[int]) -> Match:
    """How the most activated tokens at a position, largest first, stand to the target."""
    if top[0] == target:
        return Match.RIGHT
    return Match.NEAR if target in top else Match.WRONG


def show_token(text: str, limit: int = PLAIN) -> str:
    """A token's text in at most `limit` columns: spaces visible, nothing in it that could act on a terminal."""
    plain = "".join(map(_show_space, write_plain(text))) or "∅"
    return plain if cell_len(plain) <= limit else set_cell_size(plain, limit - 1).rstrip() + "…"


def _show_space(character: str) -> str:
    if character == " ":
        return "␣"
    return name_escape(character) if unicodedata.category(character) == "Zs" else character


def write_frame(film: Film, snapshot: Snapshot) -> str:
    """One line for a log."""
    lead = (
        f"iteration {snapshot.iteration:>{len(str(film.iterations))}}  "
        f"{write_bounds(snapshot.distance, film.bound):>8} bounds  L² {format_number(snapshot.l2):>8}"
    )
    if not math.isfinite(snapshot.l2):
        return f"{lead}  diverged"
    matches = film.matches(snapshot)
    words = (f"{m.mark}{show_token(film.text(top[0]))}" for m, top in zip(matches, snapshot.top, strict=True))
    return f"{lead}  {matches.count(Match.RIGHT)}/{len(matches)}  {' '.join(words)}"


def write_target(film: Film) -> str:
    """The prompt's tokens for a log; an exclamation mark where the codec does not give e's own token back."""
    pairs = zip(film.target, film.given_back, strict=True)
    return " ".join(f"{' ' if i == back else '!'}{show_token(film.text(i))}" for i, back in pairs)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How wide a film's columns are. cell: columns of one token, mark and space included. count: of positions.

    Where a whole prompt fits beside its numbers, it stands there; a longer one goes below them, in as many lines as
    it needs, each position under its own place in the prompt.
    """

    width: int
    cell: int
    count: int

    @property
    def beside(self) -> bool:
        return LEAD + self.count * self.cell <= self.width

    @property
    def per_line(self) -> int:
        return self.count if self.beside else max(1, (self.width - INDENT) // self.cell)


LEAD, INDENT = 31, 2


def lay_out(film: Film, width: int) -> Layout:
    """Columns that fit a terminal of this width: the prompt's tokens decide, and what room there is."""
    longest = max(cell_len(show_token(film.text(i), WIDEST)) for i in film.target)
    least = 2 + max(NARROWEST, longest)
    room = (width - LEAD) // len(film.target)
    return Layout(width=width, cell=max(least, min(room, 2 + WIDEST)), count=len(film.target))


def draw_target(film: Film, layout: Layout) -> Text:
    """The film's head: what the columns are, and the prompt's tokens."""
    pairs = zip(film.target, film.given_back, strict=True)
    cells = [(" " if i == back else "!", film.text(i), "bold") for i, back in pairs]
    head = Text(f"{'iteration':>9}  {'bounds':>8}  {'L²':>8}  ", style="dim")
    return _join(head, cells, layout)


def draw_frame(film: Film, snapshot: Snapshot, layout: Layout) -> Text:
    """One frame: numbers, and the decoded tokens under the prompt's."""
    distance, l2 = write_bounds(snapshot.distance, film.bound), format_number(snapshot.l2)
    head = Text(f"{snapshot.iteration:>9}  {distance:>8}  {l2:>8}  ")
    if not math.isfinite(snapshot.l2):
        return head.append("diverged", style="red")
    matches = film.matches(snapshot)
    if not layout.beside:
        head.append(f"{matches.count(Match.RIGHT)} of {len(matches)} right", style="dim")
    cells = [(m.mark, film.text(top[0]), m.style) for m, top in zip(matches, snapshot.top, strict=True)]
    return _join(head, cells, layout)


def _join(head: Text, cells: Sequence[tuple[str, str, str]], layout: Layout) -> Text:
    """Numbers and cells (mark, text, style) in as many lines as they need."""
    drawn = [
        Text(f"{mark}{set_cell_size(show_token(text, layout.cell - 2), layout.cell - 2)} ", style=style)
        for mark, text, style in cells
    ]
    if layout.beside:
        return Text.assemble(head, *drawn, no_wrap=True)
    starts = range(0, len(drawn), layout.per_line)
    lines = [Text.assemble(" " * INDENT, *drawn[first : first + layout.per_line]) for first in starts]
    return Text("\n").join([head, *lines])
