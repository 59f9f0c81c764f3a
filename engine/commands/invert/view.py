"""Shows a descent as it goes: the tokens that its input decodes to, its distances, and its progress.

A `View` prints plain lines for a log or a pipe. A `LiveView` draws on a terminal.
"""

from __future__ import annotations

import math
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import IO, Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from engine.experiments.inversion.arm import Snapshot
from engine.running.progress import OVERRUN
from engine.text import duration, format_number, name_escape, write_plain

QUIET_S = 15.0
"""Time between two lines of progress in a log."""

LONGEST_LINE = 10_000

CHART_ROWS, CHART_LABEL = 6, 9
"""Lines of bars in the chart of distances, and columns of the labels before them."""

TALL_ENOUGH = CHART_ROWS + 8
"""Lines of a terminal that has room for the chart below the tokens."""

NARROWEST_TOKEN, WIDEST_TOKEN, LONGEST_TOKEN = 5, 12, 24
"""Columns of a token in a table, at least and at most, and the most that a line shows of one."""

NUMBER_WIDTHS, NUMBERS_WIDTH, INDENT = (9, 8, 8), 31, 2
"""Columns of iteration, bounds and L², of all three with the space after each, and before tokens that stand below."""


class Match(Enum):
    """How a decoded token compares with the prompt's: a mark, a colour, and a meaning."""

    RIGHT = ("✓", "green", "right")
    NEAR = ("~", "yellow", "right one in the top five")
    WRONG = ("×", "red", "neither")

    def __init__(self, mark: str, style: str, meaning: str) -> None:
        self.mark, self.style, self.meaning = mark, style, meaning


@dataclass(kw_only=True)
class Trajectory:
    """One descent, as far as it has been read.

    target: token ids of the prompt. decoded_target: what the codec decodes the prompt's own embeddings to.
    slots: iterations at which the curve is drawn; the last one is N. text: gives the text of a token id.
    curve: iteration → distance, at the slots that were reached. bound, distance: NaN until they are known.
    hit: first iteration below the bound. shown: iterations whose snapshot was shown.
    """

    target: tuple[int, ...]
    decoded_target: tuple[int, ...]
    slots: tuple[int, ...]
    text: Callable[[int], str]
    bound: float = math.nan
    distance: float = math.nan
    curve: dict[int, float] = field(default_factory=dict[int, float])
    hit: int | None = None
    shown: set[int] = field(default_factory=set[int])

    def extend(self, first: int, distances: Sequence[float]) -> None:
        """Add the distances of the iterations from `first` on."""
        for n, distance in enumerate(distances, first):
            if self.hit is None and distance < self.bound:
                self.hit = n
            self.distance = distance
        last = first + len(distances)
        self.curve |= {n: distances[n - first] for n in self.slots if first <= n < last}

    def show(self, snapshot: Snapshot, view: View) -> None:
        """Show a snapshot, unless it was shown before."""
        if snapshot.iteration not in self.shown:
            self.shown.add(snapshot.iteration)
            view.show_snapshot(self, snapshot)

    def compare(self, snapshot: Snapshot) -> list[Match]:
        """How the decoded token at each position compares with the prompt's."""
        return [compare_token(target, top) for target, top in zip(self.target, snapshot.top, strict=True)]

    def mark_prompt(self) -> list[str]:
        """A mark for each token of the prompt: '!' where its own embedding decodes to another token, else ' '."""
        pairs = zip(self.target, self.decoded_target, strict=True)
        return [" " if target == decoded else "!" for target, decoded in pairs]


@dataclass(frozen=True, kw_only=True)
class SummaryLine:
    """A labelled sentence. verbatim: it will be copied, so no line break may be put into it."""

    label: str
    text: str
    style: str = ""
    verbatim: bool = False


@dataclass(kw_only=True)
class ProgressStage:
    """Something that takes time.

    total: its iterations; None if it has none. expected_s: an estimate of its whole time, used until the first reading.
    may_end_early: the estimates are upper limits.
    """

    label: str
    total: int | None = None
    expected_s: float = 0.0
    may_end_early: bool = False
    began: float = field(default_factory=time.monotonic)
    moved: float = 0.0
    done: int = 0

    def move(self, iteration: int) -> None:
        """Note that an iteration has been reached."""
        self.done, self.moved = iteration, time.monotonic()

    def left(self) -> str:
        """The time left, in words, at the pace so far."""
        now, total = time.monotonic(), self.total or 0
        about = "at most" if self.may_end_early else "about"
        if not self.done:
            seconds = self.began + self.expected_s - now
            if seconds < 1:
                return "longer than expected" if now - self.began >= 1 else "a moment"
            return f"{about} {duration(seconds)} left"
        since = now - self.moved
        seconds = (self.moved - self.began) * (total - self.done) / self.done - since
        if self.done < total:  # a reading that is overdue will not come at once
            seconds = max(seconds, since * OVERRUN)
        return f"{about} {duration(seconds)} left" if seconds >= 1 else "almost done"


class View:
    """Plain lines without escape codes."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._stage, self._printed_at = ProgressStage(label=""), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def say(self, sentence: str) -> None:
        """Show a sentence of its own."""
        print(write_plain(sentence, LONGEST_LINE), file=self._out, flush=True)

    def begin(self, stage: ProgressStage) -> None:
        """Show what takes time from now on."""
        self._stage, self._printed_at = stage, time.monotonic()
        self.say(f"{stage.label}, {stage.left()}" if stage.expected_s else stage.label)

    def advance(self, iteration: int) -> None:
        """Show how far the stage is."""
        stage = self._stage
        stage.move(iteration)
        if stage.moved - self._printed_at >= QUIET_S:
            self._printed_at = stage.moved
            self.say(f"{stage.label}: iteration {iteration} of {stage.total}, {stage.left()}")

    def show_prompt(self, trajectory: Trajectory) -> None:
        """Show the prompt's tokens. From here on each `advance` may also read the trajectory's curve."""
        self.say("✓ the prompt's token   ~ the prompt's is among the top five   × it is not")
        tokens = (show_token(trajectory.text(i)) for i in trajectory.target)
        self.say(f"prompt {' '.join(map(str.__add__, trajectory.mark_prompt(), tokens))}")

    def show_snapshot(self, trajectory: Trajectory, snapshot: Snapshot) -> None:
        """Show the tokens that the input decodes to at one iteration."""
        self.say(write_snapshot(trajectory, snapshot))

    def show_summary(self, lines: Sequence[SummaryLine]) -> None:
        """Show what was found."""
        for line in lines:
            self.say(f"{line.label:<9}{line.text}")


class LiveView(View):
    """Draws on a terminal: tokens and sentences scroll, and the chart and the progress are redrawn below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console.file)
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            _TimeLeft(),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("", total=None, stage=self._stage)
        self._trajectory: Trajectory | None = None
        # Drawn when the trajectory changes, so that the thread that redraws never reads a changing one.
        self._chart = Text()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        self._console.print(Text(write_plain(sentence, LONGEST_LINE)))

    def begin(self, stage: ProgressStage) -> None:
        self._stage = stage
        self._progress.reset(self._task, description=write_plain(stage.label), total=stage.total, stage=stage)

    def advance(self, iteration: int) -> None:
        self._stage.move(iteration)
        self._progress.update(self._task, completed=iteration)
        if (trajectory := self._trajectory) is not None:
            self._chart = draw_chart(trajectory, self._console.width)
            bounds = write_bounds(trajectory.distance, trajectory.bound)
            self._progress.update(self._task, description=f"iteration {iteration}, {bounds} bounds")

    def show_prompt(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        legend = [Text(f"{match.mark} {match.meaning}  ", style=match.style) for match in Match]
        if "!" in trajectory.mark_prompt():
            legend.append(Text("! the codec itself misses it"))
        self._console.print(Text.assemble("decoded at each position:  ", *legend))
        self._console.print(draw_prompt(trajectory, self._console.width))

    def show_snapshot(self, trajectory: Trajectory, snapshot: Snapshot) -> None:
        self._console.print(draw_snapshot(trajectory, snapshot, self._console.width))

    def show_summary(self, lines: Sequence[SummaryLine]) -> None:
        self._live.stop()
        if self._trajectory is not None:
            self._console.print(Padding(draw_chart(self._trajectory, self._console.width), (1, 0)))
        for line in lines:
            if line.verbatim:
                self._console.print(Text(f"{line.label}\n", style="bold"), Text(line.text), sep="", soft_wrap=True)
                continue
            grid = Table.grid(padding=(0, 1))
            grid.add_column(width=8, style="bold")
            grid.add_column(overflow="fold")
            grid.add_row(line.label, Text(line.text, style=line.style))
            self._console.print(grid)

    def _render(self) -> RenderableType:
        small = self._console.height < TALL_ENOUGH
        return self._progress if small or not self._chart else Group(self._chart, self._progress)


class _TimeLeft(ProgressColumn):
    """The time left, in the words of a log."""

    def render(self, task: Task) -> Text:
        stage: ProgressStage = task.fields["stage"]
        return Text(stage.left() if stage.total else "", style="cyan", no_wrap=True)


def choose_view(*, live: bool, environment: Mapping[str, str] = os.environ, on_stderr: bool = False) -> View:
    """A live view on a terminal with colours, unless `live` is off or CI or NO_COLOR is set; else plain lines.

    on_stderr: leave standard output to the measurement.
    """
    out = sys.stderr if on_stderr else sys.stdout
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    plain = environment.get("NO_COLOR") or environment.get("CI") or not out.isatty() or console.is_dumb_terminal
    return LiveView(console) if live and not plain else View(out)


def compare_token(target: int, top: Sequence[int]) -> Match:
    """How the most activated tokens at a position, largest first, compare with the target."""
    if top[0] == target:
        return Match.RIGHT
    return Match.NEAR if target in top else Match.WRONG


def write_bounds(distance: float, bound: float) -> str:
    """A distance in units of the bound, which a very small σ may round to 0."""
    return format_number(distance / bound if bound else math.inf)


def show_token(text: str, limit: int = LONGEST_TOKEN) -> str:
    """A token's text in at most `limit` columns: with visible spaces, and nothing that could act on a terminal."""
    visible = "∅" if not text else ""
    for character in write_plain(text):
        if character == " ":
            visible += "␣"
        else:
            visible += name_escape(character) if unicodedata.category(character) == "Zs" else character
    return visible if cell_len(visible) <= limit else set_cell_size(visible, limit - 1).rstrip() + "…"


def write_snapshot(trajectory: Trajectory, snapshot: Snapshot) -> str:
    """A snapshot as one line for a log."""
    line = (
        f"iteration {snapshot.iteration:>{len(str(trajectory.slots[-1]))}}  "
        f"{write_bounds(snapshot.distance, trajectory.bound):>8} bounds  L² {format_number(snapshot.l2):>8}"
    )
    if not math.isfinite(snapshot.l2):
        return f"{line}  diverged"
    matches = trajectory.compare(snapshot)
    tokens = (f"{m.mark}{show_token(trajectory.text(top[0]))}" for m, top in zip(matches, snapshot.top, strict=True))
    return f"{line}  {matches.count(Match.RIGHT)}/{len(matches)}  {' '.join(tokens)}"


def draw_prompt(trajectory: Trajectory, width: int) -> RenderableType:
    """The head of a table of snapshots: what its columns are, and the prompt's tokens."""
    numbers = [Text(name, style="dim") for name in ("iteration", "bounds", "L²")]
    marks = zip(trajectory.mark_prompt(), trajectory.target, strict=True)
    tokens = [Text(mark + show_token(trajectory.text(i), WIDEST_TOKEN), style="bold") for mark, i in marks]
    return _draw_row(trajectory, numbers, tokens, width)


def draw_snapshot(trajectory: Trajectory, snapshot: Snapshot, width: int) -> RenderableType:
    """A row of the table: numbers, and the decoded tokens under the prompt's."""
    distance = write_bounds(snapshot.distance, trajectory.bound)
    numbers = [Text(str(snapshot.iteration)), Text(distance), Text(format_number(snapshot.l2))]
    if not math.isfinite(snapshot.l2):
        return _draw_row(trajectory, [*numbers, Text("diverged", style="red")], [], width)
    matches = trajectory.compare(snapshot)
    tokens = [
        Text(match.mark + show_token(trajectory.text(top[0]), WIDEST_TOKEN), style=match.style)
        for match, top in zip(matches, snapshot.top, strict=True)
    ]
    count = Text(f"{matches.count(Match.RIGHT)} of {len(matches)} right", style="dim")
    return _draw_row(trajectory, [*numbers, count], tokens, width)


def _draw_row(trajectory: Trajectory, numbers: Sequence[Text], tokens: Sequence[Text], width: int) -> RenderableType:
    """Numbers, and beside them the tokens if they fit.

    The tokens of a longer prompt go below, in as many lines as they need, with each position in a place of its own.
    A fourth of `numbers` is shown only where tokens do not stand.
    """
    # All rows of a trajectory have the same columns: wide enough for the prompt's tokens, and wider if there is room.
    count = len(trajectory.target)
    longest = max(cell_len(show_token(trajectory.text(i), WIDEST_TOKEN)) for i in trajectory.target)
    room = (width - NUMBERS_WIDTH) // count - 2  # a token stands between its mark and a space
    column = 1 + max(NARROWEST_TOKEN, longest, min(room, WIDEST_TOKEN))
    beside = NUMBERS_WIDTH + count * (column + 1) <= width
    in_line = count if beside else max(1, (width - INDENT) // (column + 1))
    grid = Table.grid(padding=(0, 1))
    for _ in range(in_line):
        grid.add_column(width=column, no_wrap=True, overflow="ellipsis")
    for first in range(0, len(tokens), in_line):
        grid.add_row(*tokens[first : first + in_line])
    row = Table.grid(padding=(0, 2))
    for number_width in NUMBER_WIDTHS:
        row.add_column(width=number_width, justify="right", no_wrap=True)
    if beside and tokens:
        row.add_row(*numbers[:3], grid)
        return row
    row.add_column(no_wrap=True)
    row.add_row(*numbers)
    return Group(row, Padding(grid, (0, 0, 0, INDENT))) if tokens else row


def draw_chart(trajectory: Trajectory, width: int) -> Text:
    """Distances as bars on a logarithmic scale, the bound as a line across them, and the hit below its column.

    The chart has columns for all slots and bars for those that were reached; it is empty before the first. Slots grow
    geometrically, so the axis of iterations is logarithmic, too.
    """
    slots, hit, heights = trajectory.slots, trajectory.hit, list[float | None]()
    for n in slots:
        if n not in trajectory.curve:
            heights.append(None)
            continue
        ratio = trajectory.curve[n] / trajectory.bound if trajectory.bound else math.inf
        # A diverged distance gets the top of the scale, and a distance of 0 its bottom, so both stay in the chart.
        heights.append(math.log10(max(ratio, 1e-9)) if math.isfinite(ratio) else 6.0)
    reached = [height for height in heights if height is not None]
    if not reached:
        return Text()

    # Split the rows at the bound so that a row covers as few powers of ten as possible.
    highest, lowest = max(reached), min(reached)
    if highest <= 0 or lowest >= 0:
        above = 0 if highest <= 0 else CHART_ROWS
    else:
        above = min(range(1, CHART_ROWS), key=lambda rows: max(highest / rows, -lowest / (CHART_ROWS - rows)))
    below = CHART_ROWS - above
    unit = max(highest / above if above else 0.0, -lowest / below if below else 0.0) or 1.0

    each = max(1, min(3, (width - CHART_LABEL - 2) // len(slots)))  # columns of a slot
    lines: list[Text] = []
    for row in range(CHART_ROWS):
        floor, last = (above - 1 - row) * unit, row == CHART_ROWS - 1
        label = ""
        if (row == 0 and above) or (last and below):
            edge = 10 ** (floor + unit) if row == 0 and above else 10**floor
            label = f"{format_number(float(f'{edge:.2g}'))}×"
        line = Text(f"{label:>{CHART_LABEL}} ", style="dim")
        for height in heights:
            if height is None:
                line.append(" " * each)
                continue
            eighths = round(8 * min(1.0, max(0.0, (height - floor) / unit)))
            bar = " ▁▂▃▄▅▆▇█"[max(eighths, int(last))]
            line.append(bar * each, style="green" if height < 0 else "cyan")
        lines.append(line)
    bound = Text(f"{'bound':>{CHART_LABEL}} ", style="bold")
    for height in heights:
        crossed = height is not None and height > 0
        bound.append(("─" if crossed else "┄") * each, style="cyan" if crossed else "dim")
    lines.insert(above, bound)

    end, whole = str(slots[-1]), each * len(slots)
    axis = Text(" " * (CHART_LABEL + 1))
    if hit is None:
        axis.append(f"0{'log scale':^{max(0, whole - 1 - len(end))}}{end}", style="dim")
    else:
        place, words = each * next(k for k, n in enumerate(slots) if n >= hit), f"hit at {hit}"
        # The words stand left of the mark where there is room.
        marked = f"{f'{words} ▲':>{place + 1}}" if place > len(words) else f"{'':>{place}}▲ {words}"
        axis.append(marked, style="green")
        if len(marked) + len(end) < whole:
            axis.append(f"{end:>{whole - len(marked)}}", style="dim")
    return Text("\n").join([*lines, axis])
