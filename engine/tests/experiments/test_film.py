"""The token film: cells, marks, escapes, folds; and the tables that it is read from."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from engine.experiments.tables import film_rows, film_table
from engine.records import CHOICES, Record, Table
from engine.report.templates import load_template
from engine.report.token_film import arrange_films
from engine.tests.report_samples import make_records

TEXTS = {1: "The", 2: " sky", 3: " is", 4: " blue", 5: "\n", 6: "<script>", 7: " The"}
START = ((4, 5, 6, 7, 3), (4, 2, 5, 6, 7))
END = ((1, 4, 5, 6, 7), (2, 4, 5, 6, 7))


def make_record(*tables: Table) -> Record:
    return replace(make_records()[0], tables=tables)


def draw_films(record: Record) -> str:
    """The films as the page shows them; '' where the record has none."""
    view = arrange_films(record)
    return load_template("film.html.j2").make_module().films(view) if view else ""  # pyright: ignore[reportAttributeAccessIssue]


def film(*units: int) -> Table:
    rows = [row for n in units for row in film_rows("trained", n, 7, (1, 2), ((0, START), (100, END)), TEXTS)]
    return film_table(rows)


class Page(HTMLParser):
    """Tags, and the cells' classes and titles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.unclosed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("input", "br"):
            self.unclosed.append(tag)
        if tag == "td":
            found = dict(attrs)
            self.cells.append((found["class"] or "", found["title"] or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag


def test_a_rank_is_found_by_id_and_not_by_text() -> None:
    # Token 3 has the text of token 4, which stands first: only the id tells them apart.
    texts = {3: " is", 4: " is"}
    (row,) = film_rows("arm", 1, 0, (3,), ((10, ((4, 9, 3),)),), texts)
    assert row == ("arm", 1, 0, 10, 1, " is", " is", "", " is", "", "", 3)


def test_a_target_that_is_not_among_the_five_has_no_rank() -> None:
    (row,) = film_rows("arm", 1, 0, (8,), ((10, ((1, 2, 3, 4, 5),)),), {})
    assert row[-1] is None


def test_a_film_has_a_row_for_each_frame_and_a_cell_for_each_position() -> None:
    page = Page(draw_films(make_record(film(1))))
    assert page.tags.count("tr") == 1 + 2
    assert [kind for kind, _ in page.cells] == ["miss", "near", "hit", "hit"]


def test_matches_are_marked_by_more_than_colour() -> None:
    drawn = draw_films(make_record(film(1)))
    assert drawn.count("<sup>✓</sup>") == 2
    assert drawn.count("<sup>2</sup>") == 1


def test_each_cell_tells_its_five_choices() -> None:
    page = Page(draw_films(make_record(film(1))))
    assert page.cells[0][1].split("\n") == ["1 ␣blue", "2 \\n", "3 <script>", "4 ␣The", "5 ␣is"]


def test_a_leading_space_is_marked_and_other_tokens_are_not() -> None:
    drawn = draw_films(make_record(film(1)))
    assert "<i>␣</i>sky" in drawn
    assert '<th scope="col">The</th>' in drawn


def test_only_the_first_film_of_a_record_is_unfolded() -> None:
    drawn = draw_films(make_record(film(1, 2, 3)))
    assert drawn.count("<details") == 3
    assert drawn.count('<details class="film" open>') == 1
    assert drawn.index("open>") < drawn.index('<details class="film">')


def test_equal_starts_of_other_runs_are_films_of_their_own() -> None:
    assert draw_films(make_record(film(1, 2))).count("<table") == 2


@pytest.mark.parametrize(
    "token",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eevil", "\x00\x1b", "a" * 100_000, "שלום"],
    ids=["script", "quote", "override", "controls", "long", "right-to-left"],
)
def test_a_hostile_token_stays_text(token: str) -> None:
    cells = tuple(token for _ in CHOICES)
    columns = ("arm", "run", "start seed", "iteration", "position", "target", *CHOICES, "rank")
    table = Table(title=token, columns=columns, rows=((token, 1, 7, 0, 1, token, *cells, 1),), kind="film")
    drawn = draw_films(make_record(table))
    page = Page(drawn)
    assert not {"script", "img"} & set(page.tags)
    assert not page.unclosed
    assert not set(drawn) & set("\u202e\x00\x1b")
    assert len(drawn) < 4000


@pytest.mark.parametrize(
    "table",
    [
        Table(title="no rows", columns=film(1).columns, rows=(), kind="film"),
        Table(
            title="older", columns=("arm", "start seed", "iteration", "tokens"), rows=(("a", 1, "0", "x"),), kind="film"
        ),
        Table(title="short rows", columns=film(1).columns, rows=(("a", 1),), kind="film"),
        Table(title="another kind", columns=film(1).columns, rows=film(1).rows, kind="runs"),
    ],
    ids=lambda table: table.title,
)
def test_what_is_no_film_draws_nothing(table: Table) -> None:
    assert draw_films(make_record(table)) == ""


def test_a_rank_that_is_no_rank_counts_as_a_miss() -> None:
    table = film(1)
    spoilt = replace(table, rows=tuple((*row[:-1], "first") for row in table.rows))
    assert {kind for kind, _ in Page(draw_films(make_record(spoilt))).cells} == {"miss"}


def test_more_films_than_the_page_can_hold_are_counted() -> None:
    assert "4 more in records.jsonl" in draw_films(make_record(film(*range(40))))
