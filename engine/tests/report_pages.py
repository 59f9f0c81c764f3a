"""The report's pages as tests read them: parsed, and told apart from one another."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from engine.records import Record
from engine.report.site import arrange_report, render_single, render_site

RENDERED_AT = "2026-02-14 10:02 UTC"

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Ids, links, tags, scripts and text of a page; fails on a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            self.scripts += [data] if self._open[-1] == "script" else []
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def show_single(records: Sequence[Record], previous: Sequence[Record] = ()) -> str:
    """The report in one file."""
    return render_single(arrange_report(records, title="LM Claims", rendered_at=RENDERED_AT, previous=previous))


def show_site(records: Sequence[Record], previous: Sequence[Record] = ()) -> dict[str, str]:
    """The pages of the site by their paths, without data and scripts."""
    report = arrange_report(records, title="LM Claims", rendered_at=RENDERED_AT, previous=previous)
    return {path: content.decode() for path, content in render_site(report).items() if path.endswith(".html")}


def read_site(records: Sequence[Record], previous: Sequence[Record] = ()) -> str:
    """All that the site's pages say."""
    return " ".join(Page(page).text for page in show_site(records, previous).values())
