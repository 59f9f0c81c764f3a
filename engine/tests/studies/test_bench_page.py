"""The benchmarks' page and Markdown say what the figures say, and nothing in a file of figures can act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.studies.bench.page import render_bench, tabulate_bench
from engine.studies.bench.results import Bench, read_bench
from engine.tests.kept_figures import make_bench

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "reports" / "reference" / "bench.json"


def read(figures: dict[str, Any]) -> Bench:
    return Bench.model_validate(figures)


def test_a_bar_beyond_the_products_is_said_to_be_out_of_reach() -> None:
    words = "The products alone are only 6.1 times as fast as the literal loop here, so 8 is out of reach."
    assert words in render_bench(read(make_bench()))


def test_a_missed_floor_says_how_much_would_have_to_go() -> None:
    page = render_bench(read(make_bench(floor_bar=1.1)))
    assert "of its 220 ms beside them 120 would have to go" in page


def test_where_every_bar_is_met_no_reason_is_given() -> None:
    assert "Why bars are missed" not in render_bench(read(make_bench(faster_bar=4)))


def test_text_of_the_file_is_shown_and_does_not_act() -> None:
    hostile = "<script>alert(1)</script>"
    figures = make_bench(title=hostile, shares={hostile: 1.0}) | {"machine": hostile, "versions": {hostile: hostile}}
    figures["growth"][0] |= {"axis": hostile, "around": hostile}
    assert "<script" not in render_bench(read(figures))
    assert "<script" not in tabulate_bench(read(figures))


def test_equal_figures_give_equal_pages() -> None:
    assert render_bench(read(make_bench())) == render_bench(read(make_bench()))


def test_the_kept_table_is_that_of_the_kept_figures() -> None:
    assert KEPT.with_suffix(".md").read_text(encoding="utf-8").strip() == tabulate_bench(read_bench(KEPT))
