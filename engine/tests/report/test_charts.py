"""Charts: what is drawn from which table, the numbers in them, and that no text or number breaks them."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import altair as alt
import pytest
from lifelines import KaplanMeierFitter

from engine.records import Record, Table
from engine.report.charts import ChartView, draw_charts
from engine.report.charts.channels import Arms, fit_linear, fit_log, fit_steps
from engine.report.charts.descents import draw_hits, find_marks
from engine.report.charts.panels import PANELS, Panels, gather_panels, label, number, read_rows, trim
from engine.report.charts.theme import CONFIG
from engine.report.charts.vega import read_bundle
from engine.tests.report_samples import make_records

INF, NAN = math.inf, math.nan
Cells = tuple[str | int | float | None, ...]


def make_table(kind: str, columns: tuple[str, ...], *rows: Cells) -> Table:
    return Table(title=kind, columns=columns, rows=rows, kind=kind)


def make_record(*tables: Table, subject: str = "smollm2-135m", protocol: str = "page") -> Record:
    return replace(make_records()[0], subject=subject, protocol=protocol, tables=tables)


RUNS = ("arm", "prompt", "start seed", "model seed", "hit", "stop", "ended at", "N", "read at")
RUNS = (*RUNS, "start distance", "bound", "final distance", "recovery at the end")


def run(arm: str, hit: int | None, stop: str = "", *, ended: int = 1000, read_at: str = "hit") -> Cells:
    stop = stop or ("cap" if hit is None else "hit")
    return (arm, "a prompt", 1, 0, hit, stop, hit or ended, 1000, read_at, 9.0, 1.0, 0.9, 0.75)


TRIED = ("walk", "noise", "step", "outer steps", "arrived", "diverged", "median gain", "median r")
TRIED = (*TRIED, "median largest ‖ΔO‖₁ / m", "mean recovery", "walks", "chosen")
SEARCHES = ("group", "search", "exact rate", "low", "high", "prompts", "mean recovery")
SEARCHES = (*SEARCHES, "seconds a token", "descent steps a token", "median checks a token")
CHECKPOINTS = ("reading", "step", "seed", "value")
ALONG = [("iterations", step, seed, 1.0 + step / (30 + seed)) for seed in (0, 1, 2) for step in (0, 30, 1000)]
SAMPLES: dict[str, tuple[Table, ...]] = {
    "searches": (
        make_table(
            "searches",
            SEARCHES,
            ("page", "page", 0.0, 0.0, 0.19, 16, 0.2, 0.08, 100.0, 0.0),
            ("checked", "checked", 1.0, 0.81, 1.0, 16, 1.0, 0.32, 140.0, 32.0),
        ),
    ),
    "margins": (make_table("margins", ("search", "its distance", "ε"), ("1 block", 0.2, 2e-6), ("1 block", 0, 2e-6)),),
    "growth": (make_table("checkpoints", CHECKPOINTS, *ALONG),),
    "tokens": (make_table("checkpoints", CHECKPOINTS, *((f"recovery, {a}", b, c, d / 99) for a, b, c, d in ALONG)),),
    "updates": (
        make_table(
            "training",
            ("seed", "until step", "part", "change"),
            *((0, 400 * k, part, 0.1 / k) for k in (1, 2) for part in ("embedding", "block 1", "block 2")),
        ),
    ),
    "hits": (make_table("runs", RUNS, run("slow", 400), run("slow", None), run("fast", 20), run("fast", 0)),),
    "endings": (make_table("runs", RUNS, *(run("trained", None, read_at="N") for _ in range(5))),),
    "recovery": (
        make_table(
            "recovery",
            ("arm", "iteration", "mean recovery", "exact rate", "n"),
            *(("trained", n, n / 2000, 0.0, 12) for n in (0, 100, 1000)),
        ),
    ),
    "curves": (
        make_table(
            "curves",
            ("arm", "run", "iteration", "distance / bound", "hit"),
            *(("trained", k, n, 9 / (n + 1), 8) for k in (1, 2, 3) for n in (0, 1, 10, 100)),
        ),
    ),
    "repetition": (
        make_table(
            "repetition", ("arm", "prompt", "at the start", "at the end"), ("t", "p", 0.5, 0.1), ("t", "q", 1, 0)
        ),
    ),
    "agreement": (
        make_table(
            "agreement",
            ("arm", "prompt", "recovery", "last position recovered", "the same as after e"),
            ("found", "p", 0.5, "no", "e_N, decoded"),
            ("found", "q", 1.0, "yes", ""),
        ),
    ),
    "walks": (
        make_table(
            "walks", ("walk", "r", "r of a random step"), ("many", 300.0, 2.0), ("one", 20.0, 2.5), ("one", 0, 2)
        ),
    ),
    "tried": (make_table("tried", TRIED, ("many", 0.1, 0.25, 10, 4, 0, 12.0, 30, 0.5, 0.2, 4, "yes")),),
    "settings": (make_table("tried, text", TRIED, ("walk", 0.1, 0.25, 10, 0, 0, 1.0, 3, 0.5, 0.2, 2, "yes")),),
    "orthogonality": (make_table("orthogonal", ("walk", "relative"), ("net", 1e-9), ("net, float64", 0.0)),),
    "drift": (make_table("orthogonal", ("walk", "d_o / d_i"), ("net", 2.0), ("12 blocks", INF)),),
    "singular": (
        make_table("singular", ("walk", "run", "index", "singular value"), ("net", 1, 1, 4.0), ("net", 1, 2, 0.0)),
    ),
    "gradients": (
        make_table("gradients", ("stack", "dtype", "relative"), ("mlp", "float32", 1e-7), ("mlp", "float64", 0)),
    ),
    "kept": (make_table("kept", ("prompt", "next token", "probability", "kept"), ("p", "' a'", 0.3, 1.0)),),
    "likeliest": (make_table("likeliest", ("rank", "token", "probability"), (1, "' blue'", 0.4), (2, "' the'", 0.1)),),
    "leverage": (
        make_table("leverage", ("token", "decoded as", "leverage", "leverage of the winner"), ("a", "b", 0.3, 0.6)),
    ),
    "inverses": (make_table("inverses", ("matrix", "difference", "tolerance"), ("embedding", 1e-6, 1e-3)),),
    "decodings": (make_table("decoding", ("prompt", "greedy", "beam"), ("p", 0.5, 0.1), ("q", None, 0.2)),),
    "frequency": (
        make_table(
            "frequency", ("arm", "prompt", "mean log₁₀ frequency"), ("trained", "p", -5.0), ("trained", "q", None)
        ),
        make_table("vocabulary", ("subject", "lower quartile", "median", "upper quartile"), ("s", -7.0, -6.0, -5.0)),
    ),
}
TREND = make_table(
    "trend",
    ("item", "began", "estimate", "value", "low", "high", "ruling"),
    ("C01 · smollm2-135m", "2026-01-01", "share", 0.9, 0.8, INF, "supported"),
    ("C01 · smollm2-135m", "2026-02-01", "share", 0.7, 0.6, 0.8, "refuted"),
)


def read_svg(view: ChartView) -> ElementTree.Element:
    return ElementTree.fromstring(view.svg.replace("xlink:", ""))  # noqa: S314 (our own drawing)


def texts(view: ChartView) -> list[str]:
    return [node.text or "" for node in read_svg(view).iter() if node.tag.endswith("text")]


def spell(text: str) -> set[str]:
    """The colours that a drawing names."""
    return {part.split(")")[0] for part in text.split("var(--")[1:]}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_table_is_drawn(name: str) -> None:
    views = {view.id: view for view in draw_charts([make_record(*SAMPLES[name])], "C33")}
    view = views[f"C33-{name}"]
    root = read_svg(view)
    assert (root.get("role"), root.get("aria-label")) == ("img", view.alt)
    assert json.loads(view.spec)["datasets"]["rows"]
    assert view.caption.endswith(".")
    assert "smollm2-135m · page" in texts(view)


@pytest.mark.parametrize("name", SAMPLES)
def test_drawings_take_their_colours_from_the_page(name: str) -> None:
    for view in draw_charts([make_record(*SAMPLES[name])], "C33"):
        assert "#" not in view.svg.replace("url(#", "").replace("&#", "")
        assert spell(view.svg) <= {*(f"s{k}" for k in range(1, 7)), "ink", "soft", "line", "paper"}


def find_domains(spec: Any) -> Iterator[list[str]]:
    """Domains of the colours of arms, wherever in a specification."""
    if isinstance(spec, dict):
        colour = spec.get("color")
        if isinstance(colour, dict) and colour.get("field") == "a":
            yield colour["scale"]["domain"]
        for part in spec.values():
            yield from find_domains(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from find_domains(part)


@pytest.mark.parametrize("name", SAMPLES)
def test_whatever_is_drawn_in_the_colour_of_an_arm_has_one(name: str) -> None:
    for view in draw_charts([make_record(*SAMPLES[name])], "C33"):
        spec = json.loads(view.spec)
        drawn = {row["a"] for row in spec["datasets"]["rows"] if "a" in row}
        domains = list(find_domains(spec))
        assert all(drawn <= set(domain) for domain in domains)
        assert domains or not drawn


def test_along_training_a_seed_is_a_thin_line_and_their_median_a_thick_one() -> None:
    (view,) = [v for v in draw_charts([make_record(*SAMPLES["growth"])], "C39") if v.id == "C39-growth"]
    rows = json.loads(view.spec)["datasets"]["rows"]
    unpacked = [row for row in rows if row["k"] == "m"]
    assert len({row["r"] for row in rows if row["k"] == "l"}) == 3
    assert len(unpacked) in (1, 3)  # one row a point, or all of a line's in one
    assert "median 1 at step 0, 33.26 at step 1,000 over 3" in view.alt


def test_a_median_beyond_the_cap_is_said_so() -> None:
    late = make_table("checkpoints", CHECKPOINTS, ("iterations", 0, 0, 3.0), ("iterations", 100, 0, INF))
    (view,) = [v for v in draw_charts([make_record(late)], "C39") if v.id == "C39-growth"]
    assert "3 at step 0, beyond the cap at step 100" in view.alt


def test_a_trend_is_drawn_from_a_table_that_is_no_record_s() -> None:
    (view,) = draw_charts([make_record()], "C01", extra=(TREND,))
    assert view.id == "C01-trend"
    assert {"supported", "refuted"} <= spell(view.svg)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_table_without_a_column_that_a_drawing_reads_draws_nothing(name: str) -> None:
    """Columns of older records: each in turn is gone, and what is drawn then needs none of them."""
    table = SAMPLES[name][0]
    renamed = replace(table, columns=tuple(f"old {c}" for c in table.columns))
    assert not [v for v in draw_charts([make_record(renamed)], "C33") if v.id == f"C33-{name}"]


@pytest.mark.parametrize("cell", [None, "text", NAN, INF, -INF, 0, -1.0, 1e300, 10**400], ids=lambda c: str(c)[:9])
@pytest.mark.parametrize("name", SAMPLES)
def test_no_cell_breaks_a_drawing(name: str, cell: str | float | None) -> None:
    """Rows like the first one are added, in each of which another number becomes something else."""
    first, *others = SAMPLES[name]
    row = first.rows[0]
    spoilt = [(*row[:k], cell, *row[k + 1 :]) for k, value in enumerate(row) if not isinstance(value, str)]
    for view in draw_charts([make_record(replace(first, rows=(*spoilt, *first.rows[1:])), *others)], "C33"):
        assert "NaN" not in view.svg
        json.loads(view.spec, parse_constant=pytest.fail)


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quoted\" 'names' & more",
    "a.b[c]\\d",
    "\u202eright\u200b",
    "\x00\x1b[31m\n",
    "x" * 100_000,
    "datum.value",
]


@pytest.mark.parametrize(
    "text", HOSTILE, ids=["script", "closing", "quotes", "field", "bidi", "control", "long", "code"]
)
@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_acts_on_the_page(name: str, text: str) -> None:
    def spoil(cell: object) -> Any:
        return text if isinstance(cell, str) and cell not in ("hit", "cap", "N", "yes", "no", "chosen") else cell

    spoilt = tuple(replace(t, rows=tuple(tuple(map(spoil, row)) for row in t.rows)) for t in SAMPLES[name])
    for view in draw_charts([make_record(*spoilt, subject=text, protocol=text)], "C33"):
        assert not {n.tag.split("}")[-1] for n in read_svg(view).iter()} - {
            "svg",
            "g",
            "path",
            "text",
            "line",
            "rect",
            "circle",
        }
        assert "<" not in view.spec
        assert not set(view.svg + view.spec + view.alt) & set("\u202e\u200b\x00\x1b")
        assert len(view.svg) + len(view.spec) < 40_000


def test_more_settings_than_panels_are_counted_and_not_drawn() -> None:
    records = [make_record(*SAMPLES["kept"], subject=f"subject {k:03}") for k in range(PANELS + 30)]
    (view,) = draw_charts(records, "C05")
    assert "30 more settings are not drawn." in view.caption
    assert sum(text.startswith("subject ") for text in texts(view)) == PANELS


def test_equal_records_give_equal_charts() -> None:
    records = [make_record(*tables, subject=name) for name, tables in SAMPLES.items()]
    one, two = (
        [(view.id, view.caption, view.alt, view.svg, view.spec) for view in draw_charts(records, "C33")]
        for _ in range(2)
    )
    assert one == two


def test_charts_of_a_claim_have_ids_of_their_own() -> None:
    records = [make_record(*tables, subject=name) for name, tables in SAMPLES.items()]
    ids = [view.id for view in draw_charts(records, "C33", extra=(TREND,))]
    assert len(ids) == len(set(ids)) > 15


def test_items_of_one_subject_and_protocol_keep_their_panels_apart() -> None:
    panels = gather_panels([make_record(*SAMPLES["kept"])] * 2, "kept", ("prompt",))
    assert [panel.name for panel in panels.shown] == ["smollm2-135m · page", "smollm2-135m · page (2)"]


def test_an_arm_has_one_colour_in_all_charts_of_its_claim() -> None:
    untrained = replace(SAMPLES["recovery"][0], rows=tuple(("fast", *row[1:]) for row in SAMPLES["recovery"][0].rows))
    views = {v.id: v for v in draw_charts([make_record(*SAMPLES["hits"], untrained)], "C33")}
    # 'fast' is the second arm that the claim names, so it keeps the second colour where it is alone.
    assert "s2" in spell(views["C33-recovery"].svg)
    assert "s1" not in spell(views["C33-recovery"].svg)


def test_trained_and_untrained_have_one_colour_each_in_all_claims() -> None:
    for names in (("untrained", "trained"), ("trained", "untrained"), ("with head", "trained", "untrained")):
        rows = [{"a": name} for name in names]
        colour = Arms(names=names).colour(rows).to_dict()
        shades = dict(zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True))
        assert (shades["trained"], shades["untrained"]) == ("var(--s1)", "var(--s2)")
        assert len(set(shades.values())) == len(names)


def test_two_readings_are_drawn_without_a_line_between_them() -> None:
    columns = ("arm", "iteration", "mean recovery", "exact rate", "n")
    start, middle, end = ("a", 0, 0.1, 0, 5), ("a", 3, 0.2, 0, 5), ("a", 9, 1, 1, 5)
    two, three = make_table("recovery", columns, start, end), make_table("recovery", columns, start, middle, end)
    lines = [
        sum('stroke="var(--s1)"' in tag for tag in re.findall("<path[^>]*>", str(view.svg)))
        for table in (two, three)
        for view in draw_charts([make_record(table)], "C33")
    ]
    assert lines == [0, 2]


def steps_of(*runs: Cells) -> list[tuple[str, float, float]]:
    """Marks of one arm's curve: (kind, iteration, share)."""
    marks = find_marks(list(read_rows(make_table("runs", RUNS, *runs))))
    return [(mark.kind, mark.at, mark.share) for mark in marks]


HITS = (5, 5, 30, 120, 120, 121, 700)


def test_shares_that_have_hit_are_those_of_kaplan_and_meier() -> None:
    steps = steps_of(*(run("arm", h) for h in HITS), *(run("arm", None) for _ in range(4)))
    fitter = KaplanMeierFitter().fit([*HITS, *(1000,) * 4], [1] * len(HITS) + [0] * 4)
    for kind, iteration, share in steps:
        if kind == "s":
            assert share == pytest.approx(1 - float(fitter.predict(iteration)))
    assert [step for step in steps if step[0] == "c"] == [("c", 1000, pytest.approx(7 / 11))]


def test_a_run_that_diverged_stays_in_the_denominator() -> None:
    steps = steps_of(run("arm", 10), run("arm", None, "diverged", ended=50), run("arm", 100), run("arm", None))
    # Two of four hit; the lost one had no hit before iteration 50, where one of four had.
    assert steps == [("s", 0, 0), ("s", 10, 0.25), ("s", 100, 0.5), ("s", 1000, 0.5), ("c", 1000, 0.5), ("x", 50, 0.25)]


def test_a_run_that_hit_and_diverged_afterwards_has_hit() -> None:
    assert ("x" not in {kind for kind, *_ in steps_of(run("arm", 10, "diverged"), run("arm", 20))}) is True


def test_arms_that_never_hit_are_drawn_along_zero() -> None:
    assert steps_of(run("arm", None), run("arm", None)) == [("s", 0, 0), ("s", 1000, 0), ("c", 1000, 0)]


def test_arms_read_at_n_are_not_in_the_chart_of_hits() -> None:
    assert draw_hits(Panels(shown=()), Arms(names=())) is None
    ids = {v.id for v in draw_charts([make_record(*SAMPLES["endings"])], "C33")}
    assert ids == {"C33-endings"}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (None, None),
        ("1", None),
        (NAN, None),
        (1e200, INF),
        (-1e200, -INF),
        (10**400, INF),
        (1e-200, 0),
    ],
    ids=lambda c: str(c)[:9],
)
def test_a_cell_is_a_number_that_an_axis_can_hold(cell: Any, expected: float | None) -> None:
    assert number(cell) == expected


def test_a_logarithmic_axis_has_places_for_zero_and_infinity() -> None:
    scale = fit_log([0.0, 1.0, 100.0, INF])
    assert scale.low < scale.place(0.0) < 1.0
    assert 100.0 < scale.place(INF) < scale.high


def test_an_axis_of_iterations_that_span_little_is_linear() -> None:
    assert not fit_steps([0, 20, 40, 45, 50, 60, 100]).logarithmic
    assert fit_steps([0, 30, 100, 300, 1000]).logarithmic


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [-2.0, 3.0], [1e-9, 1e9], [INF]], ids=str)
def test_every_axis_holds_its_values_and_has_ticks_in_order(values: list[float]) -> None:
    for scale in (fit_log(values), fit_linear(values)):
        assert scale.low < scale.high
        assert list(scale.ticks) == sorted(scale.ticks)
        assert all(scale.low <= scale.place(v) <= scale.high for v in values)


def test_numbers_are_written_with_four_digits() -> None:
    assert (trim(1234.5678), trim(2.0), trim(1 / 3), trim(1e20)) == (1235, 2, 0.3333, 1e20)


def test_labels_are_cut_and_visible() -> None:
    assert label("a\nb" * 40, 8) == "a\\nba\\nba\\n…"


def test_the_bundle_can_stand_in_a_script_element_and_asks_for_nothing() -> None:
    script = read_bundle()()
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert "__CONFIG__" not in script


def test_charts_and_films_are_drawn_without_torch() -> None:
    code = "import sys, engine.report.token_film, engine.report.charts.registry\n"
    code += "assert not {'torch', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_altair_is_only_loaded_by_those_who_draw() -> None:
    code = "import sys, engine.report.charts\nassert 'altair' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("subjects", [pytest.param("a", marks=pytest.mark.slow), "abc"], ids=["one", "panels"])
@pytest.mark.parametrize("name", SAMPLES)
def test_declarations_are_valid_vega_lite(name: str, subjects: str) -> None:
    """Drawing leaves validation out for speed."""
    for view in draw_charts([make_record(*SAMPLES[name], subject=s) for s in subjects], "C33"):
        alt.Chart.from_dict(json.loads(view.spec) | {"config": CONFIG}, validate=True)


def test_panels_that_would_hold_one_row_each_become_one_panel() -> None:
    records = [make_record(*SAMPLES["endings"], subject=s) for s in ("a", "b")]
    (view,) = draw_charts(records, "C06")
    assert {"trained", "a · page", "b · page"} <= set(texts(view))
    assert "facet" not in json.loads(view.spec)


def test_a_chart_wider_than_half_the_page_says_so() -> None:
    few, many = (
        draw_charts([make_record(*SAMPLES["kept"], subject=f"s{k}") for k in range(n)], "C05")[0] for n in (4, 5)
    )
    assert ('class="wide"' in few.svg, 'class="wide"' in many.svg) == (False, True)


def test_a_ladder_shows_each_rungs_count_and_price() -> None:
    (view,) = draw_charts([make_record(*SAMPLES["searches"])], "A03")
    words = texts(view)
    assert {"page", "checked", "80 ms · 100 steps", "320 ms · 140 steps · 32 checks"} <= set(words)
    assert "page: 0 of 16 exact" in view.alt
    assert "checked: 16 of 16 exact" in view.alt


def test_searches_of_several_groups_stand_in_panels_of_their_own() -> None:
    rows = [
        ("1 block", "page", 0.0, 0.0, 0.2, 16, 0.2, 1, 1, 0),
        ("12 blocks", "page", 0.5, 0.3, 0.7, 16, 0.6, 1, 1, 0),
    ]
    (view,) = draw_charts([make_record(make_table("searches", SEARCHES, *rows))], "A03")
    assert {"smollm2-135m · page · 1 block", "smollm2-135m · page · 12 blocks"} <= set(texts(view))
    alone = [("1 block", "1 block", 1.0, 0.8, 1.0, 16, 1.0, 1, 1, 32), ("all", "all", 1.0, 0.6, 1.0, 8, 1.0, 9, 9, 32)]
    (view,) = draw_charts([make_record(make_table("searches", SEARCHES, *alone))], "A01")
    assert "1 block: 16 of 16 exact; " in view.alt
    assert "all: 8 of 8 exact" in view.alt
