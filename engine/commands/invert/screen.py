"""A view for a terminal: the film scrolls, the curve and the progress stay below it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from engine.commands.invert.chart import ROWS, draw_chart
from engine.commands.invert.token_view import Film, Layout, Match, draw_frame, draw_target, lay_out, write_bounds
from engine.commands.invert.view import ProgressStage, SummaryLine
from engine.experiments.inversion.arm import Snapshot
from engine.text import write_plain

TALL_ENOUGH = ROWS + 8
"""Lines of a terminal that has room for the curve beside the film."""


class Screen:
    """Draws on a rich console. What is finished is printed once and scrolls; the rest is redrawn below it."""

    def __init__(self, console: Console) -> None:
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
        self._stage = ProgressStage(label="")
        self._task = self._progress.add_task("", stage=self._stage)
        self._spinner: Spinner | None = Spinner("dots")
        self._film: Film | None = None
        self._layout: Layout | None = None
        # Made where the film is written, so that the thread that redraws never reads what is just changing.
        self._chart = Text()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        self._console.print(Text(write_plain(sentence, limit=10_000)))

    def begin(self, stage: ProgressStage) -> None:
        words = write_plain(stage.label)
        self._spinner = None if stage.total else Spinner("dots", Text(words))
        self._progress.reset(self._task, description=words, total=stage.total, stage=stage)
        self._stage = stage

    def advance(self, iteration: int) -> None:
        self._stage.move(iteration)
        self._progress.update(self._task, completed=iteration)
        film = self._film
        if film is not None:
            self._chart = self._draw_chart(film)
            at = write_bounds(film.distance, film.bound)
            self._progress.update(self._task, description=f"iteration {iteration}, {at} bounds")

    def open(self, film: Film) -> None:
        self._film, self._layout = film, lay_out(film, self._console.width)
        self._console.print(_draw_legend(film), draw_target(film, self._layout), sep="\n")

    def show(self, film: Film, snapshot: Snapshot) -> None:
        assert self._layout is not None
        self._console.print(draw_frame(film, snapshot, self._layout))

    def tell(self, lines: list[SummaryLine]) -> None:
        self._live.stop()
        if self._film is not None:
            self._console.print(Padding(self._draw_chart(self._film), (1, 0)))
        for line in lines:
            if line.verbatim:
                # Never wrapped by us: what is to be copied has to come back in one piece.
                self._console.print(Text(f"{line.label}\n", style="bold"), Text(line.text), sep="", soft_wrap=True)
            else:
                self._console.print(_draw_line(line))

    def _render(self) -> RenderableType:
        if self._spinner is not None:
            return self._spinner
        small = self._console.height < TALL_ENOUGH
        return self._progress if small or not self._chart else Group(self._chart, self._progress)

    def _draw_chart(self, film: Film) -> Text:
        return draw_chart(film.curve, film.bound, film.slots, film.hit, width=self._console.width)


class _TimeLeft(ProgressColumn):
    """The time left as a log tells it."""

    def render(self, task: Task) -> Text:
        stage: ProgressStage = task.fields["stage"]
        return Text(stage.left(), style="cyan", no_wrap=True)


def _draw_line(line: SummaryLine) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=8, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(line.label, Text(line.text, style=line.style))
    return grid


def _draw_legend(film: Film) -> Text:
    words = {Match.RIGHT: "right", Match.NEAR: "right one in the top five", Match.WRONG: "neither"}
    parts = [Text(f"{match.mark} {meaning}  ", style=match.style) for match, meaning in words.items()]
    if film.target != film.given_back:
        parts.append(Text("! not even e itself decodes to it"))
    return Text.assemble("decoded at each position:  ", *parts)
