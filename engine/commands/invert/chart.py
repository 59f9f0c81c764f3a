"""A curve of distances in text: bars on a logarithmic scale, the bound as a line across them, the hit under it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from engine.text import format_number

ROWS = 6
"""Lines of bars, those above and below the bound together."""

LABEL = 9
EIGHTHS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Rows above and below the bound, and how many powers of ten each of them covers."""

    above: int
    below: int
    unit: float


def draw_chart(curve: Mapping[int, float], bound: float, slots: Sequence[int], hit: int | None, *, width: int) -> Text:
    """Distance over bound at each of `slots` that `curve` has reached, and empty columns up to the last slot.

    Slots grow geometrically, so the iterations' axis is logarithmic too.
    """
    logs = [_log(curve[n] / bound if bound else math.inf) if n in curve else None for n in slots]
    known = [value for value in logs if value is not None]
    if not known:
        return Text()
    scale = _choose_scale(max(known), min(known))
    each = max(1, min(3, (width - LABEL - 2) // len(slots)))
    lines = [_draw_row(logs, scale, row, each) for row in range(scale.above)]
    lines.append(_draw_bound(logs, each))
    lines += [_draw_row(logs, scale, scale.above + row, each) for row in range(scale.below)]
    return Text("\n").join([*lines, _draw_axis(slots, hit, each)])


def _log(ratio: float) -> float:
    # What has diverged is off the scale, and a distance of 0 below it: both stay on the page.
    if not math.isfinite(ratio):
        return 6.0
    return math.log10(max(ratio, 1e-9))


def _choose_scale(highest: float, lowest: float) -> _Scale:
    if highest <= 0:
        return _Scale(above=0, below=ROWS, unit=-lowest / ROWS or 1.0)
    if lowest >= 0:
        return _Scale(above=ROWS, below=0, unit=highest / ROWS)
    above = min(range(1, ROWS), key=lambda rows: max(highest / rows, -lowest / (ROWS - rows)))
    return _Scale(above=above, below=ROWS - above, unit=max(highest / above, -lowest / (ROWS - above)))


def _draw_row(logs: Sequence[float | None], scale: _Scale, row: int, each: int) -> Text:
    """One line of bars; row 0 is the highest."""
    floor = (scale.above - 1 - row) * scale.unit
    last = row == scale.above + scale.below - 1
    top, bottom = row == 0 and scale.above > 0, last and scale.below > 0
    label = 10 ** (floor + scale.unit) if top else 10**floor if bottom else None
    line = Text(f"{'' if label is None else format_number(float(f'{label:.2g}')) + '×':>{LABEL}} ", style="dim")
    for value in logs:
        if value is None:
            line.append(" " * each)
            continue
        eighths = round(8 * min(1.0, max(0.0, (value - floor) / scale.unit)))
        line.append(EIGHTHS[max(eighths, int(last))] * each, style=_colour(value))
    return line


def _draw_bound(logs: Sequence[float | None], each: int) -> Text:
    line = Text(f"{'bound':>{LABEL}} ", style="bold")
    for value in logs:
        crossed = value is not None and value > 0
        line.append(("─" if crossed else "┄") * each, style="cyan" if crossed else "dim")
    return line


def _draw_axis(slots: Sequence[int], hit: int | None, each: int) -> Text:
    """The hit under its column, and where the axis begins and ends."""
    width = each * len(slots)
    end = str(slots[-1])
    if hit is None:
        return Text(f"{'':>{LABEL}} 0{'log scale':^{max(0, width - 1 - len(end))}}{end}", style="dim")
    place = each * next(k for k, n in enumerate(slots) if n >= hit)
    words = f"hit at {hit}"
    fits_left = place >= len(words) + 1
    line = f"{words + ' ▲':>{place + 1}}" if fits_left else f"{'▲ ' + words:>{place + 2 + len(words)}}"
    text = Text(f"{'':>{LABEL}} ").append(line, style="green")
    return text.append(f"{end:>{width - len(line)}}", style="dim") if len(line) + len(end) < width else text


def _colour(value: float) -> str:
    return "green" if value < 0 else "cyan"
