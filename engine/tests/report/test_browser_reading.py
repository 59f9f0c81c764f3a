"""The report for every reader: without scripts, by keyboard, in either colours, on a phone, on paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from engine.records import Record
from engine.tests.browser import (
    DESK,
    PHONE,
    SAMPLE_AND_REFERENCE,
    Report,
    Visitor,
    find_violations,
    look_at_charts,
    unfold,
)
from engine.text import format_number

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ["engine.tests.browser"]

TABLET = (1024, 768)

MOST_STOPS = 60
"""Tab stops before the first claim."""


def squeeze(text: str) -> str:
    return " ".join(text.split())


def say(record: Record) -> list[str]:
    """What a reader must find of a record: its sentence, and every number of its criteria."""
    numbers = [format_number(x) for c in record.criteria for x in (c.value, c.low, c.high) if x is not None]
    counts = [str(c.n) for c in record.criteria if c.n is not None and c.value is not None]
    return [squeeze(record.sentence[:500]), *numbers, *counts]


@SAMPLE_AND_REFERENCE
def test_without_scripts_every_verdict_and_number_can_be_read(
    reports: Mapping[str, Report], visit: Visitor, name: str
) -> None:
    assert not visit(reports[name].file, script=False).locator("#filters").is_visible()
    texts: dict[tuple[str, str, str], str] = {}
    for file in reports[name].claims:
        page = visit(file, script=False)
        unfold(page)
        found: list[list[str]] = page.locator("article [data-verdict]").evaluate_all(
            """all => all.map((item) => [
                item.closest("article").dataset.claim, item.dataset.subject, item.dataset.protocol, item.innerText,
            ])"""
        )
        texts |= {(claim, subject, protocol): squeeze(text) for claim, subject, protocol, text in found}
        visit.close()
    missing = {
        (r.claim, r.subject, r.protocol): words
        for r in reports[name].records
        if (words := [w for w in say(r) if w not in texts[r.claim, r.subject, r.protocol]])
    }
    assert missing == {}


@SAMPLE_AND_REFERENCE
def test_without_scripts_every_chart_is_a_drawing(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    seen = 0
    for file in reports[name].claims:
        page = visit(file, script=False)
        unfold(page)
        charts: list[list[Any]] = page.locator("figure.chart").evaluate_all(
            """all => all.map((one) => {
                const drawing = one.querySelector("svg[role=img]"), box = drawing?.getBoundingClientRect();
                return [one.id, box?.width ?? 0, box?.height ?? 0, drawing?.getAttribute("aria-label")?.length ?? 0];
            })"""
        )
        assert [chart for chart in charts if min(chart[1:]) < 20] == []
        seen += len(charts)
        visit.close()
    assert seen > 5


@pytest.mark.parametrize("each", ["kind", pytest.param("single one", marks=pytest.mark.slow)])
def test_without_scripts_everything_folded_can_be_opened(
    reports: Mapping[str, Report], visit: Visitor, each: str
) -> None:
    known: set[str] = set()
    for file in reports["sample"].claims:
        page = visit(file, script=False)
        folds = page.locator("details")
        kinds: list[str] = folds.evaluate_all("all => all.map((fold) => fold.className)")
        for number, kind in enumerate(kinds):
            fold = folds.nth(number)
            if each == "kind" and kind in known:
                continue
            known.add(kind)
            if not fold.locator("> summary").is_visible():
                continue  # in a fold that is closed itself
            if fold.get_attribute("open") is None:
                fold.locator("> summary").press("Enter")
            assert fold.locator("> :not(summary)").first.is_visible()
        visit.close()
    assert len(known) > 4


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        pytest.param("light", {"rules": {"color-contrast": {"enabled": False}}}, id="but for contrast"),
        pytest.param("light", {}, id="whole", marks=pytest.mark.slow),
        pytest.param("dark", {"runOnly": ["color-contrast"]}, id="dark colours", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(
    reports: Mapping[str, Report], visit: Visitor, scheme: Literal["light", "dark"], options: dict[str, Any]
) -> None:
    for file in [*reports["sample"].pages, reports["sample"].single]:
        assert find_violations(visit(file, scheme=scheme), **options) == [], file.name
        visit.close()


def test_the_keyboard_reaches_the_first_claim_soon(reports: Mapping[str, Report], visit: Visitor) -> None:
    page = visit(reports["reference"].file)
    stops: list[str] = []
    while len(stops) <= MOST_STOPS and "claim" not in stops:
        page.keyboard.press("Tab")
        stop = read_focus(page)
        assert stop["seen"], stop
        assert stop["ring"], stop
        stops.append(stop["name"])
    assert stops[0] == "skip"
    wanted = ["skip", "standing", "verdict", "subject", "protocol", "section", "q", "claim"]
    assert [stop for stop in stops if stop in wanted] == wanted


def read_focus(page: Page) -> dict[str, Any]:
    """What has the focus, whether it is in sight and whether it is marked."""
    return page.evaluate(
        """() => {
            const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
            const within = box.left >= 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
            let name = at.name || at.outerHTML.slice(0, 80);
            if (at.matches(".skip")) name = "skip";
            if (at.matches("#matrix tbody a")) name = "claim";
            const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
            return { name, ring, seen: within && box.width > 0 };
        }"""
    )


def test_the_skip_link_leads_past_the_head(reports: Mapping[str, Report], visit: Visitor) -> None:
    for file in reports["sample"].pages:
        page = visit(file)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('nav.bar') === null"), file.name
        visit.close()


@SAMPLE_AND_REFERENCE
def test_nothing_is_wider_than_the_window(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    for file in reports[name].pages:
        page = visit(file, window=PHONE)
        unfold(page)
        if name == "sample":
            look_at_charts(page)
        # The open page is made wider, since opening it again takes far longer.
        for width, height in (PHONE, TABLET, DESK):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
        visit.close()


@SAMPLE_AND_REFERENCE
def test_no_page_takes_much_paper(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    for file in reports[name].pages:
        page = visit(file)
        page.emulate_media(media="print")
        assert not page.locator("nav.bar").is_visible()
        sheets = page.pdf(format="A4").count(b"/Type /Page\n")
        assert 0 < sheets <= 60, file.name
        visit.close()


@pytest.mark.slow
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots_for_people_to_look_at(
    reports: Mapping[str, Report],
    visit: Visitor,
    tmp_path: Path,
    window: tuple[int, int],
    scheme: Literal["light", "dark"],
) -> None:
    """They stay in pytest's temporary folder, which --basetemp names."""
    for file in (reports["reference"].file, reports["reference"].claim("C33")):
        page = visit(file, window=window, scheme=scheme)
        page.wait_for_timeout(200)
        page.screenshot(path=tmp_path / f"{file.stem}-{scheme}-{window[0]}.png")
    assert len(list(tmp_path.glob("*.png"))) == 2


@SAMPLE_AND_REFERENCE
def test_no_question_is_cut_off_on_a_phone(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    page = visit(reports[name].file, window=PHONE)
    ends: list[float] = page.locator("#overview .question").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert ends
    assert max(ends) <= PHONE[0]


@pytest.mark.parametrize("window", [DESK, TABLET], ids=["desk", "tablet"])
def test_the_heads_of_columns_stay_in_sight(
    reports: Mapping[str, Report], visit: Visitor, window: tuple[int, int]
) -> None:
    page = visit(reports["reference"].file, window=window)
    seen: list[float] = page.evaluate(
        """() => {
            const table = document.querySelector("table.claims"), box = table.closest(".scroll");
            box.scrollIntoView();
            box.scrollTop = 1500;
            if (!box.scrollTop) scrollBy(0, 1500);
            const head = table.querySelector("thead th:nth-child(2)").getBoundingClientRect();
            return [head.top, head.bottom];
        }"""
    )
    assert -1 <= seen[0] <= seen[1] <= window[1]
