"""The benchmarks' page and Markdown say what the figures say, and nothing in a file of figures can act."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.report.__main__ import main
from engine.report.bench import Bench, read_bench, render_bench, tabulate_bench
from engine.tests.browser import DESK, PHONE, Visitor

pytest_plugins = ["engine.tests.browser"]

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "reports" / "reference" / "bench.json"


def make_figures(**changes: Any) -> dict[str, Any]:
    """One contest: 6.1 times as fast as the literal loop would be the most that its products allow."""
    contest: dict[str, Any] = {"title": "work", "literal_s": 6.1, "engine_s": 1.22, "floor_s": 1.0}
    contest |= {"times_as_fast_as_literal": 5.0, "times_the_floor": 1.22, "faster_bar": 8, "floor_bar": 1.3}
    contest |= {"ms_a_run_step": 12.2, "peak_mb": {"literal": 1, "engine": 2, "floor": 0}}
    contest["shares"] = {"products": 0.8, "norm": 0.15, "rest": 0.05}
    costs = {"ms_a_run_step": [2, 1], "floor_ms_a_run_step": [1, 0.5]}
    growth = {"axis": "runs", "around": "one block", "sizes": [1, 4], **costs}
    about = {"measured_on": "2026-02-14", "machine": "a CPU", "cores": 2, "threads": 2}
    return about | {"contest": [contest | changes], "growth": [growth]}


def read(figures: dict[str, Any]) -> Bench:
    return Bench.model_validate(figures)


def test_a_bar_beyond_the_products_is_said_to_be_out_of_reach() -> None:
    words = "The products alone are only 6.1 times as fast as the literal loop here, so 8 is out of reach."
    assert words in render_bench(read(make_figures()))


def test_a_missed_floor_says_how_much_would_have_to_go() -> None:
    page = render_bench(read(make_figures(floor_bar=1.1)))
    assert "of its 220 ms beside them 120 would have to go" in page


def test_where_every_bar_is_met_no_reason_is_given() -> None:
    assert "Why bars are missed" not in render_bench(read(make_figures(faster_bar=4)))


def test_text_of_the_file_is_shown_and_does_not_act() -> None:
    hostile = "<script>alert(1)</script>"
    figures = make_figures(title=hostile, shares={hostile: 1.0}) | {"machine": hostile, "versions": {hostile: hostile}}
    figures["growth"][0] |= {"axis": hostile, "around": hostile}
    assert "<script" not in render_bench(read(figures))
    assert "<script" not in tabulate_bench(read(figures))


def test_equal_figures_give_equal_pages() -> None:
    assert render_bench(read(make_figures())) == render_bench(read(make_figures()))


@pytest.mark.parametrize(
    "text",
    [None, "no json", "{}", json.dumps(make_figures(engine_s=float("nan"))), json.dumps(make_figures(floor_s=0))],
    ids=["missing", "not JSON", "no figures", "NaN", "zero"],
)
def test_what_is_not_a_bench_file_is_refused_in_one_line(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert main(["bench", str(file)]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_readmes_table_is_that_of_the_kept_figures() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- bench table: .*? -->\n(.*?)<!-- end of bench table -->", readme, re.DOTALL)
    assert table is not None
    # Without a file that gives them, README has no figures.
    assert table.group(1).strip() == (tabulate_bench(read_bench(KEPT)) if KEPT.exists() else "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_fits_its_window_and_axe_finds_nothing_serious(
    visit: Visitor, tmp_path: Path, window: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    file = tmp_path / "bench.html"
    file.write_text(render_bench(read(make_figures())), encoding="utf-8")
    page = visit(file, window=window, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
