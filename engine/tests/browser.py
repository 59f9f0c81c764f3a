"""A real browser that no page can leave: the system's Chromium, driven by Playwright, watched and offline.

`pytest_plugins = ["engine.tests.browser"]` in a test module gives it the fixtures `visit` and `reports`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from engine.records import Record, read_records
from engine.report import render, write_report
from engine.tests.report_worlds import make_illustrated_records

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

REFERENCE = Path(__file__).parents[2] / "reports" / "reference" / "records.jsonl"

PATIENCE_MS = 20_000
"""A page of a busy machine may take this long for one step."""

LONGEST_LOOK_S, TAB_S = 120.0, 5.0
"""Until every chart of a page has come alive, and until another tab is opened while some have not."""

FRAMES_MS = 34
"""Two frames, so that the page sees which chart is on the screen."""

DESK, PHONE = (1200, 900), (390, 844)
"""Sizes of a window, in CSS pixels."""


def find_missing() -> str:
    """What a machine lacks for these tests, and where that comes from; '' where it lacks nothing."""
    if shutil.which("chromium") is None:
        return "needs chromium on PATH: apt-get install chromium, or a link of that name to a Chrome"
    if find_spec("playwright") is None or find_spec("axe_playwright_python") is None:
        return "needs playwright and axe-playwright-python: pip install -e '.[dev]'"
    return ""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox refuses to work for root, which is what containers run as.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(kw_only=True)
class Visitor:
    """Opens files in tabs of their own and writes down whatever a report must not do.

    patience_ms: how long one step may take.
    deeds: requests other than for files of its site, messages on the console, errors, dialogs, in their order.
    kept: pages that stay open for the next test.
    """

    browser: Browser
    patience_ms: int = PATIENCE_MS
    deeds: list[str] = field(default_factory=list[str])
    contexts: list[BrowserContext] = field(default_factory=list["BrowserContext"])
    kept: dict[Path, Page] = field(default_factory=dict[Path, "Page"])

    def __call__(
        self,
        file: Path,
        at: str = "",
        *,
        window: tuple[int, int] = DESK,
        scheme: Literal["light", "dark"] = "light",
        script: bool = True,
    ) -> Page:
        """The file, opened at a hash ('#C33'). script: whether scripts run."""
        width, height = window
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=script, offline=True
        )
        context.set_default_timeout(self.patience_ms)
        self.contexts.append(context)
        page = context.new_page()
        address = file.resolve().as_uri()
        self._watch(page, find_site(file.resolve()).as_uri())
        page.goto(address + at)
        return page

    def again(self, file: Path) -> Page:
        """The file in a page that stays open, with no filter set. Opening it takes longer than most tests on it."""
        if file not in self.kept:
            self.kept[file] = self(file)
            self.contexts.pop()
        page = self.kept[file]
        page.locator("#filters [type=reset]").click()
        page.wait_for_url(lambda address: "=" not in address)
        return page

    def _watch(self, page: Page, site: str) -> None:
        def note_request(request: Request) -> None:
            if not request.url.startswith(f"{site}/"):
                self.deeds.append(f"request: {request.method} {request.url[:200]}")

        page.on("request", note_request)
        page.on("requestfailed", lambda r: self.deeds.append(f"failed: {r.url[:200]}"))
        page.on("console", lambda m: self.deeds.append(f"console: {m.type}: {m.text[:500]}"))
        page.on("pageerror", lambda e: self.deeds.append(f"error: {str(e)[:500]}"))
        page.on("websocket", lambda w: self.deeds.append(f"socket: {w.url[:200]}"))
        page.on("popup", lambda p: self.deeds.append(f"window: {p.url[:200]}"))
        page.on("download", lambda d: self.deeds.append(f"download: {d.url[:200]}"))
        page.on("dialog", lambda d: (self.deeds.append(f"dialog: {d.message[:200]}"), d.dismiss()))

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A site that was written, and what it was written from. file: its first page."""

    records: tuple[Record, ...]
    file: Path

    @property
    def pages(self) -> list[Path]:
        """All of its pages, the first one first."""
        folder = self.file.parent
        return [self.file, *sorted(p for p in folder.glob("*.html") if p != self.file), *self.claims]

    @property
    def claims(self) -> list[Path]:
        """The pages of claims."""
        return sorted((self.file.parent / "claims").glob("*.html"))

    @property
    def single(self) -> Path:
        """The report in one file, written when it is first asked for."""
        file = self.file.with_name("single.html")
        if not file.exists():
            file.write_text(render(self.records, rendered_at="2026-02-14"), encoding="utf-8")
        return file

    def claim(self, name: str) -> Path:
        return self.file.parent / "claims" / f"{name}.html"


def find_site(file: Path) -> Path:
    """The folder of a page's site."""
    return file.parent.parent if file.parent.name == "claims" else file.parent


def unfold(page: Page) -> None:
    """Open whatever is folded, and lay out what a browser leaves until it is scrolled to."""
    page.evaluate(
        """() => {
            for (const fold of document.querySelectorAll("details")) fold.open = true;
            const style = document.createElement("style");
            style.textContent = "* { content-visibility: visible !important }";
            document.head.append(style);
        }"""
    )


def look_at_charts(page: Page, patience_s: float = LONGEST_LOOK_S) -> None:
    """Scroll to every chart that is not hidden, until each is interactive or has given up.

    Raises AssertionError with the charts that are neither after `patience_s`. The waiting is done here and never in the
    page, whose own clocks may stand still while Chromium does not draw it: what waited there could wait for ever.
    """
    began = tab_at = time.monotonic()
    while left := page.evaluate(NOT_YET_ALIVE):
        for chart in left:
            now = time.monotonic()
            assert now < began + patience_s, f"neither interactive nor still: {', '.join(left)}"
            if now > tab_at + TAB_S:
                # Where the machine is busy, Chromium without a window may stop to draw, and draws again with a new tab.
                page.context.new_page().close()
                tab_at = now
            page.evaluate("(chart) => document.getElementById(chart).scrollIntoView()", chart)
            page.wait_for_timeout(FRAMES_MS)


NOT_YET_ALIVE = """() => [...document.querySelectorAll("figure[data-chart]")]
    .filter((figure) => figure.checkVisibility() && !figure.dataset.chart).map((figure) => figure.id)"""


def find_violations(page: Page, **options: Any) -> list[str]:
    """What axe finds, with three places each. options: axe's own."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{v['id']}: {node['target']} {node['failureSummary'][:300]}" for v in found for node in v["nodes"][:3]]


class Reports(dict[str, Report]):
    """Reports by name, each written when it is first asked for: 'sample', the invented session with a table of every
    kind, and 'reference', the reference run as the code at hand shows it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Report:
        records = make_illustrated_records() if name == "sample" else read_records(REFERENCE)
        file = write_report(records, self._folder / name, rendered_at="2026-02-14")
        self[name] = Report(records=tuple(records), file=file)
        return self[name]


SAMPLE_AND_REFERENCE = pytest.mark.parametrize("name", ["sample", pytest.param("reference", marks=pytest.mark.slow)])
"""The reference run has seven times as many pages."""


@pytest.fixture(name="reports", scope="session")
def provide_reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return Reports(tmp_path_factory.mktemp("reports"))


@pytest.fixture(name="browser", scope="module")
def provide_browser() -> Iterator[Browser]:
    """One browser for all tests of a module."""
    if missing := find_missing():
        pytest.skip(missing)
    with open_browser() as browser:
        yield browser


@pytest.fixture(name="visitor", scope="module")
def provide_visitor(browser: Browser) -> Visitor:
    return Visitor(browser=browser)


@pytest.fixture(name="visit")
def provide_visit(visitor: Visitor) -> Iterator[Visitor]:
    """Opens files; at its end the test fails if any of them did what a report must not do."""
    visitor.deeds.clear()
    try:
        yield visitor
    finally:
        visitor.close()
    assert dict(Counter(visitor.deeds)) == {}
