"""Charts in a browser: still drawings that come alive when they are reached, and stay where their script is broken."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.tests.browser import Report, Visitor, look_at_charts, unfold

pytest_plugins = ["engine.tests.browser"]

ALIVE = "figure.chart[data-chart=interactive]"


def test_only_charts_in_sight_are_alive(reports: Mapping[str, Report], visit: Visitor) -> None:
    page = visit(reports["sample"].claim("C06"))
    unfold(page)
    page.wait_for_timeout(300)
    charts = page.locator("figure.chart")
    assert page.locator(ALIVE).count() < charts.count()
    charts.last.scroll_into_view_if_needed()
    page.locator(f"#{charts.last.get_attribute('id')}[data-chart=interactive] .stage svg").wait_for()


def test_every_chart_comes_alive_with_its_name_and_without_its_still(
    reports: Mapping[str, Report], visit: Visitor
) -> None:
    seen = 0
    for file in reports["sample"].claims:
        page = visit(file)
        unfold(page)
        names = page.locator("figure.chart svg[role=img]").evaluate_all("all => all.map((one) => one.ariaLabel)")
        look_at_charts(page)
        assert page.locator("figure.chart").count() == page.locator(ALIVE).count() == len(names)
        alive = page.locator(f"{ALIVE} svg[role=img]")
        assert alive.evaluate_all("all => all.map((one) => one.ariaLabel)") == names
        assert alive.evaluate_all("all => all.filter((one) => one.getBoundingClientRect().width < 200).length") == 0
        seen += len(names)
        visit.close()
    assert seen > 5


def test_a_chart_that_never_comes_alive_is_named_and_not_waited_for(visit: Visitor, tmp_path: Path) -> None:
    file = tmp_path / "alone.html"
    file.write_text("<!doctype html><title>A chart without a script</title><figure id=alone data-chart>drawn</figure>")
    with pytest.raises(AssertionError, match="neither interactive nor still: alone"):
        look_at_charts(visit(file), patience_s=0.2)


@pytest.mark.parametrize("chart", ["C03-recovery", "C03-hits", "C25-walks", "C01-kept"])
def test_a_mark_tells_its_values(reports: Mapping[str, Report], visit: Visitor, chart: str) -> None:
    page = visit(reports["sample"].claim(chart.partition("-")[0]))
    unfold(page)
    page.locator(f"#{chart}").scroll_into_view_if_needed()
    page.locator(f"#{chart}[data-chart=interactive]").wait_for()
    page.locator(f"#{chart} .stage .mark-symbol.role-mark path").last.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert re.search(r"\d", tip.inner_text())


@pytest.mark.parametrize(
    "script", ["throw new Error('broken')", "const vegaEmbed = ", None], ids=["error", "cut", "gone"]
)
def test_where_the_bundle_is_broken_the_still_drawings_stay(
    reports: Mapping[str, Report], visit: Visitor, tmp_path: Path, script: str | None
) -> None:
    (tmp_path / "claims").mkdir()
    file = shutil.copy(reports["sample"].claim("C06"), tmp_path / "claims")
    if script is not None:
        (tmp_path / "assets").mkdir()
        (tmp_path / "assets" / "charts.js").write_text(script, encoding="utf-8")
    page = visit(Path(file))
    unfold(page)
    for chart in page.locator("figure.chart").all()[:3]:
        chart.scroll_into_view_if_needed()
        assert chart.locator("svg[role=img]").is_visible()
    assert page.locator("#theme").is_visible(), "the page's own script runs"
    assert visit.deeds
    visit.deeds.clear()


def test_a_script_that_the_page_does_not_know_by_its_hash_does_not_run(
    reports: Mapping[str, Report], visit: Visitor, tmp_path: Path
) -> None:
    for name, source in {"index": reports["sample"].file, "claim": reports["sample"].claim("C06")}.items():
        html = source.read_text(encoding="utf-8")
        file = tmp_path / f"{name}.html"
        file.write_text(html.replace("</body>", "<script>window.hacked = 1</script></body>"), encoding="utf-8")
        assert visit(file).evaluate("typeof window.hacked") == "undefined"
        assert "Content Security Policy" in " ".join(visit.deeds)
        visit.deeds.clear()


def test_the_pages_allow_no_evaluation_and_no_inline_handlers(reports: Mapping[str, Report], visit: Visitor) -> None:
    for file in (reports["sample"].file, reports["sample"].claim("C06")):
        page = visit(file)
        button = "const b = document.createElement('button'); b.setAttribute('onclick', 'window.hacked = 1');"
        page.evaluate(f"() => {{ {button} document.body.append(b); b.click(); }}")
        assert page.evaluate("typeof window.hacked") == "undefined"
        assert "inline event handler" in " ".join(visit.deeds)
        visit.deeds.clear()
