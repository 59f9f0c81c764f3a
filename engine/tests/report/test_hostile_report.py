"""Whatever a record says, the browser shows it as text: nothing runs, nothing is fetched, the layout holds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.errors import LedgerError
from engine.records import RECORD, read_records
from engine.report import render, write_report
from engine.tests.browser import DESK, PHONE, Visitor, look_at_charts, unfold
from engine.tests.report_samples import make_records
from engine.tests.report_tables import KINDS
from engine.tests.report_worlds import make_hostile_records
from engine.text import write_plain

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ["engine.tests.browser"]

HOSTILE = {
    "a script": "</script><script>window.hacked=1;alert(1)</script>",
    "closing tags": '</style></title></textarea></svg></code></template><img src=x onerror="window.hacked=1">',
    "an attribute's end": "\"><img src=x onerror=window.hacked=1>' onfocus='window.hacked=1' autofocus='",
    "an address that runs": "javascript:window.hacked=1//",
    "an address with signs": "#verdict=refuted&q=%zz?a=b",
    "comments": "<!--<script>--!>]]><![CDATA[ <?x ?> -->",
    "a base and a refresh": '<base href="http://example.invalid/"><meta http-equiv="refresh" content="0;url=/x">',
    "a style": "</style><style>*{display:none!important}</style>;}*{background:url(http://example.invalid/)}",
    "templates": "{{7*7}}${7*7}{% raw %}{# x #}#{7*7}<%= 7*7 %>",
    "an expression": 'datum[\'x\'];window.hacked=1;{"signal":"window.hacked=1"}',
    "quotes": "\"'`\\\"\\'&quot;&#39;&lt;&amp;lt;",
    "dots and brackets": "a.b[0]['c'].d\\.e\\[1\\]",
    "a prototype": "__proto__",
    "a constructor": "constructor",
    "a method": "hasOwnProperty",
    "right to left": "abc\u202egnp.exe\u2066 שלום مرحبا\u2069",
    "unseen": "a\u200b\u200d\ufeffb\u00ad\u2060c\U000e0041",
    "controls": "a\x00\x01\x07\x1b[31m\x7f\x85b\r\n\tc",
    "line separators": "a\u2028b\u2029c\x0b\x0cd",
    "half a pair": "\ud800x\udfff",
    "stacked accents": "e" + "\u0301" * 150,
    "a long word": "Ｗ" * 300,
    "a long text": "x" * 100_000,
    "a long line of markup": "<b>" * 33_000,
    "the page's own": "filters",
    "nothing": "",
}

GROUPS = {
    "code": (
        *("a script", "closing tags", "an attribute's end", "comments", "a base and a refresh", "a style"),
        *("an address that runs", "an address with signs", "templates", "an expression", "quotes"),
    ),
    "names and signs": (
        *("dots and brackets", "a prototype", "a constructor", "a method", "the page's own", "nothing"),
        *("right to left", "unseen", "controls", "line separators", "half a pair", "stacked accents"),
    ),
    "length": ("a long word", "a long text", "a long line of markup"),
}

MOST_BYTES = 4_000_000
"""A claim with every kind of drawing, each of a text that is cut where it is long, or several of them in one file."""

PLACES = ("h1", ".test", ".sentence", "#matrix a", ".film-table td", ".raw td", ".origin dd")
"""Where a reader ought to see each text on some page."""


def test_every_hostile_text_is_tried() -> None:
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(HOSTILE)


@pytest.mark.parametrize(
    ("names", "often"),
    [
        pytest.param(GROUPS["code"][:6], 1, id="code, once"),
        *(pytest.param(g, 3, id=f"{name}, three times", marks=pytest.mark.slow) for name, g in GROUPS.items()),
    ],
)
def test_hostile_text_is_only_text(visit: Visitor, tmp_path: Path, names: tuple[str, ...], often: int) -> None:
    """A page shows every kind of drawing as often as given, with the texts in turn."""
    texts = {name: HOSTILE[name] for name in names}
    charts = [kind for kind in KINDS if kind != "film"]
    parts = min(-(-len(texts) // often), len(charts))
    share = [["film", *charts[k::parts]] for k in range(parts)]
    records = [r for k, text in enumerate(texts.values()) for r in make_hostile_records(text, share[k % parts])]
    index = write_report(records, tmp_path, rendered_at=records[0].claim, previous=records[:3])
    single = tmp_path / "single.html"
    single.write_text(render(records, rendered_at=records[0].claim, previous=records[:3]), encoding="utf-8")
    files = [*sorted(tmp_path.glob("*.html")), *sorted((tmp_path / "claims").iterdir())]
    assert len(files) == 7 + len({record.claim for record in records})
    charts, seen = 0, dict.fromkeys(PLACES, "")
    for file in files:
        assert file.stat().st_size < MOST_BYTES
        page = visit(file)
        charts += page.locator("figure[data-chart]").count()
        unfold(page)
        look_at_charts(page)
        assert find_foreign(page) == []
        for place in PLACES:
            seen[place] += squeeze(" ".join(page.locator(place).all_inner_texts()))
        check_width(page, DESK)
        if file == index:
            use(page, next(iter(texts.values())))
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        check_width(page, PHONE)
        assert page.evaluate("typeof window.hacked") == "undefined"
        visit.close()
    assert charts > often * len(KINDS) / 2
    shown = {name: squeeze(write_plain(text[:24])) for name, text in texts.items()}
    # Long texts leave no room for raw tables: such a page says on which line of the records they are.
    places = [place for place in PLACES if place != ".raw td" or names != GROUPS["length"]]
    unseen = {(name, place) for name, text in shown.items() for place in places if text not in seen[place]}
    assert unseen == set()


def squeeze(text: str) -> str:
    return "".join(text.split())


def use(page: Page, text: str) -> None:
    """What a reader does: hover, search, choose, follow links, sort."""
    for chart in page.locator("figure.chart").all()[:3]:
        chart.hover()
    for field in page.locator("#filters select").all():
        field.select_option(index=1)
    page.locator("#filters [name=q]").fill(text[:2000])
    page.locator("#filters [type=reset]").click()
    for button in page.locator("#matrix thead button").all():
        button.click()


def check_width(page: Page, window: tuple[int, int]) -> None:
    """What is too wide for the window, unless a box of its own scrolls it."""
    wide: list[str] = page.evaluate(
        """(width) => {
            const boxed = (one) => one && (getComputedStyle(one).overflowX !== "visible" || boxed(one.parentElement));
            return document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll("body *")]
                .filter((one) => one.getBoundingClientRect().right > width + 1 && !boxed(one.parentElement))
                .slice(0, 5).map((one) => `${one.getBoundingClientRect().right}: ${one.outerHTML.slice(0, 200)}`);
        }""",
        window[0],
    )
    assert wide == []


def find_foreign(page: Page) -> list[str]:
    """Elements and attributes that no report has."""
    return page.evaluate(
        r"""() => {
            const found = [...document.querySelectorAll(
                "img, iframe, object, embed, base, link, video, audio, template, textarea, foreignObject, animate, set"
            )].map((one) => one.outerHTML.slice(0, 100));
            for (const one of document.querySelectorAll("*")) {
                for (const { name, value } of one.attributes) {
                    const leads = ["href", "xlink:href", "src", "action", "formaction", "srcdoc"].includes(name);
                    const home = /^(\.\.\/)?(#|records\.jsonl$|(claims|data|assets)\/[\w.-]+|[\w.-]+\.html)/;
                    if (name.startsWith("on") || name === "autofocus" || (leads && !home.test(value))) {
                        found.push(`${one.tagName} ${name}=${value.slice(0, 100)}`);
                    }
                }
            }
            return found;
        }"""
    )


def test_a_filter_takes_names_as_they_are(visit: Visitor, tmp_path: Path) -> None:
    names = ["constructor", "__proto__", "a.b[0]", 'it\'s "one"']
    sample = [record for record in make_records() if record.arms]
    records = [
        replace(one, subject=name, claim=f"X{k}") for k, (one, name) in enumerate(zip(sample, names, strict=False))
    ]
    page = visit(write_report(records, tmp_path, rendered_at="today"))
    for name in names:
        page.locator("#filters [name=subject]").select_option(name)
        tests = page.locator("#matrix a.sq:visible")
        assert tests.count() == 1
        assert tests.locator("..").get_attribute("data-label") == name
        if not name.isidentifier():  # an address has to escape its signs
            again = visit(tmp_path / "index.html", page.evaluate("location.hash"))
            assert again.locator("#matrix a.sq:visible").count() == 1


def test_a_file_with_half_a_pair_in_it_is_refused_in_one_line(tmp_path: Path) -> None:
    line = RECORD.dump_json(make_records()[0])
    file = tmp_path / "records.jsonl"
    file.write_bytes(re.sub(rb'"statement":"', rb'"statement":"\\ud800', line))
    with pytest.raises(LedgerError, match="unreadable fields"):
        read_records(file)
