"""The report in a browser: it asks for nothing, and its filters, links, sorting and colours do what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from engine.records import Record
from engine.tests.browser import SAMPLE_AND_REFERENCE, Report, Visitor, look_at_charts, verdict_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ["engine.tests.browser"]

Name = tuple[str, str, str]
"""Claim, subject, protocol."""

CHOICES: dict[str, dict[str, str]] = {
    "a verdict": {"verdict": "refuted"},
    "what was skipped": {"verdict": "skipped"},
    "a subject": {"subject": "smollm2-135m"},
    "a protocol": {"protocol": "controlled"},
    "a section": {"section": "Walks"},
    "a registration": {"registration": "amended"},
    "a word of a statement": {"q": "hundredFOLD"},
    "a word of a sentence": {"q": "needs a gpu"},
    "two at once": {"verdict": "refuted", "protocol": "controlled"},
    "what nothing matches": {"verdict": "supported", "q": "no record says this"},
}


def match(record: Record, choice: Mapping[str, str]) -> bool:
    said = {
        "verdict": verdict_of(record),
        "subject": record.subject,
        "protocol": record.protocol,
        "section": record.section,
        "registration": record.registration.status if record.registration else "",
    }
    words = " ".join((*said.values(), record.claim, record.statement, record.sentence)).lower()
    return all(value.lower() in words if name == "q" else said[name] == value for name, value in choice.items())


def keep(report: Report, choice: Mapping[str, str]) -> list[Name]:
    return sorted((r.claim, r.subject, r.protocol) for r in report.records if match(r, choice))


def read_items(page: Page) -> list[Name]:
    """The items that are not hidden."""
    found: list[list[str]] = page.evaluate(
        """[...document.querySelectorAll("[data-verdict]")].filter((item) => !item.closest("[hidden]"))
            .map((item) => [item.closest("article").dataset.claim, item.dataset.subject, item.dataset.protocol])"""
    )
    return sorted((claim, subject, protocol) for claim, subject, protocol in found)


def ask(page: Page, choice: Mapping[str, str]) -> None:
    for name, value in choice.items():
        field = page.locator(f"#filters [name={name}]")
        field.fill(value) if name == "q" else field.select_option(value)


@SAMPLE_AND_REFERENCE
def test_a_page_asks_for_nothing_and_does_not_complain(
    reports: Mapping[str, Report], visit: Visitor, name: str
) -> None:
    page = visit(reports[name].file)
    look_at_charts(page)
    assert len(read_items(page)) == len(reports[name].records)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_filter_leaves_the_items_that_match_and_counts_them(
    reports: Mapping[str, Report], visit: Visitor, choice: dict[str, str]
) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    ask(page, choice)
    kept = keep(report, choice)
    assert read_items(page) == kept
    assert page.locator("#shown").inner_text() == f"{len(kept)} of {len(report.records)} items"
    claims = page.locator("article.claim:visible").evaluate_all("all => all.map((one) => one.dataset.claim)")
    assert claims == sorted({claim for claim, _, _ in kept})


@SAMPLE_AND_REFERENCE
def test_the_overview_follows_the_filter(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    report = reports[name]
    page = visit.again(report.file)
    choice = {"subject": "smollm2-135m", "protocol": "page"}
    ask(page, choice)
    rows = page.locator("#matrix [data-claim]:visible").evaluate_all("all => all.map((row) => row.dataset.claim)")
    assert sorted(rows) == sorted({claim for claim, _, _ in keep(report, choice)})
    links: list[str] = page.locator("#matrix :not(.waiting) > a:visible").evaluate_all(
        "all => all.map((a) => a.hash.slice(1))"
    )
    items = [link for link in links if "_" in link]
    assert items
    assert {tuple(link.split("_")) for link in items} <= set(keep(report, choice))


def test_showing_all_brings_everything_back(reports: Mapping[str, Report], visit: Visitor) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    ask(page, {"verdict": "refuted", "q": "walk"})
    page.locator("#filters [type=reset]").click()
    page.wait_for_url(lambda address: "=" not in address)
    assert read_items(page) == keep(report, {})
    assert page.locator("#shown").inner_text() == f"{len(report.records)} items"
    assert page.locator("#filters [name=q]").input_value() == ""


@pytest.mark.parametrize(
    "choice",
    [{"verdict": "refuted", "subject": "smollm2-135m"}, {"protocol": "page", "q": "top five & more?"}, {"q": "α = β"}],
    ids=["choices", "signs that addresses use", "signs beyond ASCII"],
)
def test_a_filter_is_in_the_address_and_an_address_filters(
    reports: Mapping[str, Report], visit: Visitor, choice: dict[str, str]
) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    ask(page, choice)
    again = visit(report.file, page.evaluate("location.hash"))
    assert read_items(again) == read_items(page) == keep(report, choice)
    for name, value in choice.items():
        assert again.locator(f"#filters [name={name}]").input_value() == value


def test_a_tally_filters_by_its_verdict(reports: Mapping[str, Report], visit: Visitor) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    tallies = page.locator("a[data-filter]")
    assert tallies.count() == len({verdict_of(r) for r in report.records})
    for tally in tallies.all():
        word = tally.get_attribute("data-filter") or ""
        tally.click()
        kept = keep(report, {"verdict": word})
        assert read_items(page) == kept
        assert re.match(r"\d+", tally.inner_text().strip()).group() == str(len(kept))  # pyright: ignore


@SAMPLE_AND_REFERENCE
def test_a_link_to_a_claim_shows_it(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    claims = sorted({record.claim for record in reports[name].records})
    page = visit(reports[name].file, f"#{claims[-1]}")
    expect_in_view(page, f"#{claims[-1]} h3")
    for claim in (claims[0], claims[len(claims) // 2], claims[-1]):
        page.locator(f"#matrix a[href='#{claim}']").click()
        expect_in_view(page, f"#{claim} h3")


@SAMPLE_AND_REFERENCE
def test_a_link_to_a_folded_item_unfolds_it(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    page = visit(reports[name].file, "#C28_gpt2-xl_page")
    expect_in_view(page, "#C28_gpt2-xl_page")
    assert page.locator("details:has(> ul > #C28_gpt2-xl_page)").get_attribute("open") is not None


@SAMPLE_AND_REFERENCE
def test_a_link_to_an_item_that_the_filter_hides_shows_it(
    reports: Mapping[str, Report], visit: Visitor, name: str
) -> None:
    hidden = next(r for r in reversed(reports[name].records) if r.ruling == "refuted")
    item = f"{hidden.claim}_{hidden.subject}_{hidden.protocol}"
    page = visit(reports[name].file, "#verdict=supported")
    assert not page.locator(f"#{item}").is_visible()
    page.evaluate("(item) => { location.hash = item }", item)
    expect_in_view(page, f"#{item} h4")


def expect_in_view(page: Page, selector: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_be_in_viewport()


@SAMPLE_AND_REFERENCE
def test_the_overview_can_be_sorted_by_each_subject_and_back(
    reports: Mapping[str, Report], visit: Visitor, name: str
) -> None:
    order = ["supported", "partly supported", "inconclusive", "refuted", "not run at this effort", "error", "skipped"]
    page = visit.again(reports[name].file)
    claims = read_column(page, 0)
    buttons = page.locator("#matrix thead th button")
    for column in range(1, buttons.count()):
        buttons.nth(column).click()
        first = [order.index(word) if word else len(order) for word in read_column(page, column)]
        assert first == sorted(first)
        assert len(set(first)) > 1
        buttons.nth(column).click()
        assert [order.index(w) if w else len(order) for w in read_column(page, column)] == sorted(first, reverse=True)
    buttons.first.click()
    assert read_column(page, 0) == claims


def read_column(page: Page, column: int) -> list[str]:
    """The claim of each row, or the first verdict that it has in a column."""
    if column == 0:
        return page.locator("#matrix tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.claim)")
    return page.locator("#matrix tbody tr").evaluate_all(
        """(rows, column) => rows.map((row) => {
            const link = row.cells[column].querySelector("a");
            return link ? document.getElementById(link.hash.slice(1)).dataset.verdict : "";
        })""",
        column,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_reader_can_choose_the_colours(reports: Mapping[str, Report], visit: Visitor, scheme: str) -> None:
    page = visit(reports["sample"].file, scheme="dark" if scheme == "dark" else "light")

    def is_dark() -> bool:
        ground: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128

    seen = [is_dark()]
    for _ in range(3):
        page.locator("#theme").click()
        seen.append(is_dark())
    assert seen == [scheme == "dark", False, True, scheme == "dark"]
