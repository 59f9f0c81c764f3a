"""A still drawing says what Vega says, and what the page shows once it is alive: only coordinates are rounded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page

from engine.records import Table
from engine.report.charts import ChartView, draw_charts
from engine.report.charts.drawing import inline_svg, svg_job
from engine.tests.browser import SAMPLE_AND_REFERENCE, Report, Visitor, look_at_charts, unfold
from engine.tests.report.test_charts import SAMPLES, make_record, make_table, texts

pytest_plugins = ["engine.tests.browser"]


def draw(*tables: Table, name: str) -> ChartView:
    return {view.id: view for view in draw_charts([make_record(*tables)], "C33")}[f"C33-{name}"]


def say(svg: str) -> list[str]:
    """Every text of Vega's own drawing."""
    root = ElementTree.fromstring(svg.replace("xlink:", ""))  # noqa: S314 (Vega's drawing)
    return [node.text or "" for node in root.iter() if node.tag.endswith("text")]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_still_drawing_says_what_vega_says(name: str) -> None:
    view = draw(*SAMPLES[name], name=name)
    assert texts(view) == say(svg_job(json.loads(view.spec))())


def test_a_logarithmic_axis_is_labelled_with_its_powers() -> None:
    sizes = [(f"stack {k}", "float32", 10.0**-k) for k in range(5)]  # 1 down to 0.0001
    view = draw(make_table("gradients", ("stack", "dtype", "relative"), *sizes), name="gradients")
    assert {text for text in texts(view) if re.fullmatch(r"[\d.]+", text)} == {"0.001", "1"}  # every third power


def test_coordinates_have_one_decimal_and_what_is_told_all_of_theirs() -> None:
    svg = (
        '<svg width="100" height="50" viewBox="0 0 100 50"><g transform="translate(0.1234,5.678)">'
        '<path aria-label="d=&quot;0.1234&quot; at 0.0001" d="M1.2345,-6.789L1e-7,3" opacity="0.25"/>'
        '<text x="12.345" y="6.789">-0.0001 d="0.0001" translate(0.0001) id="clip7" 2026-01-02</text>'
        '<g clip-path="url(#clip0)"/></g></svg>'
    )
    still = str(inline_svg(svg, id="C33-x", label="0.0001 to 1"))
    assert 'aria-label="0.0001 to 1"' in still
    assert '<g transform="translate(0.1,5.7)">' in still
    assert '<path d="M1.2,-6.8L1e-7,3" opacity="0.25"/>' in still
    assert '<text x="12.3" y="6.8">-0.0001 d="0.0001" translate(0.0001) id="clip7" 2026-01-02</text>' in still
    assert "url(#C33-x-clip0)" in still


def read_labels(page: Page) -> dict[str, list[str]]:
    """By chart, what its drawing says, in whatever order it is painted."""
    return page.locator("figure.chart").evaluate_all(
        """all => Object.fromEntries(all.map((one) =>
            [one.id, [...one.querySelectorAll("svg[role=img] text")].map((text) => text.textContent).sort()]))"""
    )


@SAMPLE_AND_REFERENCE
def test_a_chart_says_the_same_still_and_alive(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    seen = 0
    for file in reports[name].claims:
        still_page = visit(file, script=False)
        still = read_labels(still_page)
        page = visit(file)
        unfold(page)
        look_at_charts(page)
        assert page.locator("figure.chart[data-chart=still]").count() == 0
        alive = read_labels(page)
        assert {chart: (said, alive[chart]) for chart, said in still.items() if said != alive[chart]} == {}
        seen += len(still)
        visit.close()
    assert seen > 5
