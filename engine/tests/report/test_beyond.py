"""A card points to the claim that says more, with its counts; where that is not on the page it points nowhere."""

from __future__ import annotations

from dataclasses import replace

from engine.records import RECORD, Record, SeeAlso, Table, dump_record
from engine.report.render import render
from engine.report.views import arrange_claims, count_recoveries
from engine.tests.report_samples import make_records

COLUMNS = ("group", "search", "exact rate", "prompts")
LADDER = Table(
    title="Searches side by side",
    columns=COLUMNS,
    rows=(("1 block", "page", 0.0, 16), ("1 block", "checked", 1.0, 16), ("1 block", "without Adam", 0.875, 16)),
    kind="searches",
)
WORDS = "This measures one method; the ladder adds others."


def draw(records: list[Record]) -> str:
    return render(records, title="LM Claims", rendered_at="2026-02-14 10:02 UTC")


def make_pair() -> list[Record]:
    first = make_records()[0]
    pointing = replace(first, claim="C33", beyond=SeeAlso(claim="A03", words=WORDS))
    return [pointing, replace(first, claim="A03", tables=(LADDER,))]


def test_the_first_and_the_best_search_are_told() -> None:
    _, ladder = make_pair()
    expected = "smollm2-135m, 1 block. page: 0 of 16 prompts exactly; checked: 16 of 16 prompts exactly."
    assert list(count_recoveries(ladder)) == [expected]
    alone = replace(LADDER, rows=LADDER.rows[:1])
    assert list(count_recoveries(replace(ladder, tables=(alone,)))) == []


def test_a_card_links_to_the_claim_that_says_more() -> None:
    views = {view.record.claim: view for view in arrange_claims(make_pair())}
    see_also = views["C33"].see_also
    assert see_also is not None
    assert (see_also.words, see_also.claim, see_also.view.anchor) == (WORDS, "A03", views["A03"].anchor)
    assert views["A03"].see_also is None
    page = draw(make_pair())
    assert f'{WORDS} <a href="#{views["A03"].anchor}">A03</a>' in page
    assert "checked: 16 of 16 prompts exactly" in page


def test_a_claim_that_is_not_on_the_page_is_not_linked() -> None:
    pointing, _ = make_pair()
    (view,) = arrange_claims([pointing])
    assert view.see_also is None
    assert WORDS not in draw([pointing])


def test_what_a_card_points_to_is_kept_and_older_records_have_none() -> None:
    pointing, other = make_pair()
    assert RECORD.validate_json(dump_record(pointing)).beyond == pointing.beyond
    older = dump_record(other).replace(b',"beyond":null', b"")
    assert b"beyond" not in older
    assert RECORD.validate_json(older).beyond is None
