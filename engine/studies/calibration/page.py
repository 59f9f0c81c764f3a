"""The figures of simulated claims, from the file that `lm-claims calibrate` keeps: a page, and Markdown."""

from __future__ import annotations

from engine.report.charts.vega import VegaRenderer
from engine.report.pages import render_page, write_rows
from engine.studies.calibration.results import (
    ACROSS,
    BARS,
    COVERED_FROM,
    INSIDE,
    OUTSIDE,
    SIDES,
    Calibration,
    SimulationRun,
)
from engine.text import format_number, format_percent, write_markdown_cell


def render_calibration(calibration: Calibration) -> str:
    """One self-contained page without a script: equal figures give equal bytes."""
    from engine.studies.calibration.charts import draw_decided, draw_false  # the table needs no drawing library

    scenarios = calibration.scenarios
    estimands = dict.fromkeys(scenario.estimand for scenario in scenarios)
    groups = [[scenario for scenario in scenarios if scenario.estimand == name] for name in estimands]
    with VegaRenderer(2 * len(groups)) as renderer:
        return render_page(
            "calibration.html.j2",
            calibration=calibration,
            scenarios=scenarios,
            bars=BARS,
            covered_from=COVERED_FROM,
            across=[SIDES[position] for position in ACROSS],
            beside=(OUTSIDE, INSIDE),
            at_edge=[draw_false(group, scenarios, f"false-{k}", renderer.submit) for k, group in enumerate(groups)],
            beside_edge=[draw_decided(group, f"decided-{k}", renderer.submit) for k, group in enumerate(groups)],
        )


def tabulate_calibration(calibration: Calibration) -> str:
    """Markdown: a row for each scenario, the bars, and which scenarios miss them."""
    n, scenarios = calibration.size, calibration.scenarios
    head = (
        "simulated claims",
        "false at the edge, at most (upper end)",
        f"covered from n = {COVERED_FROM}, at least",
        f"decided at n = {n}: outside, inside",
        f"mean units of {n}: outside, edge, inside",
    )
    rows: list[tuple[str, ...]] = []
    for scenario in scenarios:
        worst, false = scenario.worst, "—"
        if worst is not None:
            false = f"{format_percent(worst.false)} ({format_percent(worst.false_high)}), n = {worst.n}"
        rows.append(
            (
                write_markdown_cell(scenario.name),
                f"{false} {'✗' if scenario.misses else '✓'}",
                format_percent(scenario.least_covered),
                ", ".join(map(format_percent, scenario.list_sides(n, "decided", (OUTSIDE, INSIDE)))),
                ", ".join(format_number(units, 3) for units in scenario.list_sides(n, "units")),
            )
        )
    missed = [f"{scenario.name}: {'; '.join(scenario.misses)}." for scenario in scenarios if scenario.misses]
    about = f"{'; '.join(map(_describe_run, calibration.runs))}."
    lines = write_rows(head, rows)
    for words in (calibration.sentence, f"{BARS} {calibration.standing} {' '.join(missed)}", about):
        lines += ["", write_markdown_cell(words.strip(), 1200, commits=True)]
    return "\n".join(lines)


def _describe_run(run: SimulationRun) -> str:
    changes = ", with changes" if run.dirty else ""
    commit = f", commit {run.commit[:12]}{changes}" if run.commit else ""
    return f"{run.claims:,} claims, simulated {run.measured_on}{commit}"
