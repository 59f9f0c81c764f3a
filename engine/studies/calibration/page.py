"""The figures of simulated claims, from the file that `lm-claims calibrate` keeps: a page, and Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report.charts.vega import VegaRenderer
from engine.report.pages import render_page, write_rows
from engine.studies.calibration.figures import COVERED_FROM
from engine.studies.calibration.results import ACROSS, BARS, INSIDE, OUTSIDE, SIDES, Calibration, World
from engine.text import format_number, format_percent, write_markdown_cell


def render_calibration(calibration: Calibration) -> str:
    """One self-contained page without a script: equal figures give equal bytes."""
    from engine.studies.calibration.charts import draw_decided, draw_false

    worlds = calibration.worlds
    estimands = [[w for w in worlds if w.estimand == name] for name in dict.fromkeys(w.estimand for w in worlds)]
    with VegaRenderer(2 * len(estimands)) as renderer:
        render = renderer.submit
        return render_page(
            "calibration.html.j2",
            calibration=calibration,
            worlds=worlds,
            bars=BARS,
            covered_from=COVERED_FROM,
            across=[SIDES[position] for position in ACROSS],
            beside=(OUTSIDE, INSIDE),
            at_edge=[draw_false(group, worlds, f"false-{k}", render) for k, group in enumerate(estimands)],
            beside_edge=[draw_decided(group, f"decided-{k}", render) for k, group in enumerate(estimands)],
        )


def tabulate_calibration(calibration: Calibration) -> str:
    """Markdown: a row for each kind of claim, the bars, and what misses them."""
    n = calibration.size
    head = (
        "simulated claims",
        "false at the edge, at most (upper end)",
        f"covered from n = {COVERED_FROM}, at least",
        f"decided at n = {n}: outside, inside",
        f"mean units of {n}: outside, edge, inside",
    )
    lines = write_rows(head, (tuple(_write_row(world, n)) for world in calibration.worlds))
    missed = [f"{world.name}: {'; '.join(world.misses)}." for world in calibration.worlds if world.misses]
    changes = ", with changes" if calibration.dirty else ""
    commit = f", commit {calibration.commit[:12]}{changes}" if calibration.commit else ""
    about = f"{calibration.claims:,} claims, simulated {calibration.measured_on}{commit}."
    told = [calibration.sentence, f"{BARS} {calibration.standing} {' '.join(missed)}", about]
    return "\n".join(
        [*lines, *(line for words in told for line in ("", write_markdown_cell(words.strip(), 1200, commits=True)))]
    )


def _write_row(world: World, n: int) -> Iterator[str]:
    yield write_markdown_cell(world.name)
    worst = world.worst
    share = (
        "—" if worst is None else f"{format_percent(worst.false)} ({format_percent(worst.false_high)}), n = {worst.n}"
    )
    yield f"{share} {'✗' if world.misses else '✓'}"
    yield format_percent(world.least_covered)
    yield ", ".join(map(format_percent, world.list_sides(n, "decided", (OUTSIDE, INSIDE))))
    yield ", ".join(format_number(units, 3) for units in world.list_sides(n, "units"))
