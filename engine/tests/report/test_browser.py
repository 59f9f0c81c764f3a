"""The site in a browser: it asks for nothing beyond itself, and filters, links, sorting and colours work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from engine.records import is_measured
from engine.report.standing import find_standings
from engine.tests.browser import SAMPLE_AND_REFERENCE, Report, Visitor, look_at_charts

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ["engine.tests.browser"]

CHOICES: dict[str, dict[str, str]] = {
    "a standing": {"standing": "does not hold"},
    "a verdict": {"verdict": "refuted"},
    "a model": {"subject": "smollm2-135m"},
    "a protocol": {"protocol": "controlled"},
    "a section": {"section": "Walks"},
    "a word of a statement": {"q": "hundredFOLD"},
    "two at once": {"verdict": "refuted", "protocol": "controlled"},
    "what nothing matches": {"verdict": "supported", "q": "no claim says this"},
}


def keep(report: Report, choice: Mapping[str, str]) -> list[str]:
    """The claims that a choice leaves: those of a standing and section, with a measured test that fits the rest."""
    found: list[str] = []
    for standing in find_standings(report.records):
        own = [r for r in report.records if r.claim == standing.claim]
        words = " ".join((own[0].claim, own[0].statement)).lower()
        said = {"standing": standing.symbol.word, "section": own[0].section}
        if any(said.get(name, value) != value for name, value in choice.items()):
            continue
        if choice.get("q", "").lower() not in words:
            continue
        asked = {name: choice[name] for name in ("verdict", "subject", "protocol") if name in choice}
        tests = [
            {"verdict": r.ruling or r.outcome, "subject": r.subject, "protocol": r.protocol}
            for r in own
            if is_measured(r) or r.outcome == "error"
        ]
        if not asked or any(all(test[name] == value for name, value in asked.items()) for test in tests):
            found.append(standing.claim)
    return sorted(found)


def read_claims(page: Page) -> list[str]:
    """The claims whose rows are not hidden."""
    rows = page.locator("#matrix [data-claim]:visible")
    return sorted(rows.evaluate_all("all => all.map((row) => row.dataset.claim)"))


def ask(page: Page, choice: Mapping[str, str]) -> None:
    for name, value in choice.items():
        field = page.locator(f"#filters [name={name}]")
        field.fill(value) if name == "q" else field.select_option(value)


@SAMPLE_AND_REFERENCE
def test_no_page_asks_for_anything_beyond_its_site_or_complains(
    reports: Mapping[str, Report], visit: Visitor, name: str
) -> None:
    for file in reports[name].pages:
        look_at_charts(visit(file))
        visit.close()


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_filter_leaves_the_claims_that_match_and_counts_them(
    reports: Mapping[str, Report], visit: Visitor, choice: dict[str, str]
) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    ask(page, choice)
    kept = keep(report, choice)
    assert read_claims(page) == kept
    assert page.locator("#shown").inner_text() == f"{len(kept)} of {len({r.claim for r in report.records})} claims"


def test_a_filter_leaves_the_tests_that_match(reports: Mapping[str, Report], visit: Visitor) -> None:
    page = visit.again(reports["sample"].file)
    ask(page, {"protocol": "controlled"})
    shown = page.locator("#matrix a.sq:visible")
    assert set(shown.evaluate_all("all => all.map((one) => one.title.split(': ')[0])")) == {"controlled"}


def test_showing_all_brings_everything_back(reports: Mapping[str, Report], visit: Visitor) -> None:
    report = reports["sample"]
    page = visit.again(report.file)
    ask(page, {"verdict": "refuted", "q": "walk"})
    page.locator("#filters [type=reset]").click()
    page.wait_for_url(lambda address: "=" not in address)
    assert read_claims(page) == keep(report, {})
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
    assert read_claims(again) == read_claims(page) == keep(report, choice)
    for name, value in choice.items():
        assert again.locator(f"#filters [name={name}]").input_value() == value


@SAMPLE_AND_REFERENCE
def test_a_square_opens_its_test(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    page = visit(reports[name].file)
    square = page.locator("#matrix a.sq").last
    claim, _, item = (square.get_attribute("href") or "").partition("#")
    square.click()
    page.wait_for_url(re.compile(re.escape(claim)))
    expect_in_view(page, f"[id='{item}']")


@pytest.mark.parametrize("at", ["C16", "C16_smollm2-135m_page"], ids=["a claim", "a test"])
def test_an_address_of_a_claim_on_the_first_page_leads_to_its_own(
    reports: Mapping[str, Report], visit: Visitor, at: str
) -> None:
    page = visit(reports["sample"].file, f"#{at}")
    page.wait_for_url(f"{reports['sample'].claim('C16').as_uri()}#{at}")


def test_a_claims_page_leads_on_to_the_next_one_and_back(reports: Mapping[str, Report], visit: Visitor) -> None:
    claims = reports["sample"].claims
    page = visit(claims[0])
    for following in claims[1:]:
        page.locator("a[rel=next]").click()
        page.wait_for_url(following.as_uri())
    assert page.locator("a[rel=next]").count() == 0
    page.locator("a[rel=prev]").click()
    page.wait_for_url(claims[-2].as_uri())
    page.locator(".crumb a").click()
    page.wait_for_url(reports["sample"].file.as_uri())


@SAMPLE_AND_REFERENCE
def test_a_link_to_a_folded_test_unfolds_it(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    page = visit(reports[name].claim("C28"), "#C28_gpt2-xl_page")
    expect_in_view(page, "#C28_gpt2-xl_page")
    assert page.locator("details:has(> ul > #C28_gpt2-xl_page)").get_attribute("open") is not None


def test_in_one_file_a_link_to_a_claim_shows_it(reports: Mapping[str, Report], visit: Visitor) -> None:
    page = visit(reports["sample"].single)
    page.locator("#matrix tbody th[scope=row] a").last.click()
    claim = page.locator("#matrix tbody [data-claim]").last.get_attribute("data-claim")
    expect_in_view(page, f"#{claim} h2")


def expect_in_view(page: Page, selector: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_be_in_viewport()


@SAMPLE_AND_REFERENCE
def test_claims_can_be_sorted_by_standing_and_back(reports: Mapping[str, Report], visit: Visitor, name: str) -> None:
    order = ["holds", "holds in part", "depends on model or protocol", "does not hold", "cannot tell yet", "not tested"]
    page = visit(reports[name].file)
    claims, _ = read_rows(page)
    by_claim, by_standing = page.locator("#matrix thead th button").all()
    by_standing.click()
    _, standings = read_rows(page)
    assert [order.index(s) for s in standings] == sorted(order.index(s) for s in standings)
    by_standing.click()
    _, standings = read_rows(page)
    assert [order.index(s) for s in standings] == sorted((order.index(s) for s in standings), reverse=True)
    by_claim.click()
    assert read_rows(page)[0] == claims
    assert page.locator("#matrix tr.section:visible").count() > 1


def read_rows(page: Page) -> tuple[list[str], list[str]]:
    """Claim and standing of each row, from top to bottom."""
    rows: list[list[str]] = page.locator("#matrix tbody [data-claim]").evaluate_all(
        "rows => rows.map((row) => [row.dataset.claim, row.dataset.standing])"
    )
    return [claim for claim, _ in rows], [standing for _, standing in rows]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_reader_can_choose_the_colours_and_other_pages_keep_them(
    reports: Mapping[str, Report], visit: Visitor, scheme: str
) -> None:
    page = visit(reports["sample"].file, scheme="dark" if scheme == "dark" else "light")

    def is_dark() -> bool:
        ground: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128

    seen = [is_dark()]
    for _ in range(3):
        page.locator("#theme").click()
        seen.append(is_dark())
    assert seen == [scheme == "dark", False, True, scheme == "dark"]
    page.locator("#theme").click()
    page.goto(reports["sample"].claims[0].as_uri())
    assert not is_dark()
