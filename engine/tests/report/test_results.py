"""Results at a prompt and in a notebook: what they say is what the records hold, and text in them is only text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import engine
from engine.errors import LedgerError, UsageError
from engine.records import write_records
from engine.report.export import SHEETS
from engine.report.results import MOST_SHOWN, Result
from engine.tests.report_samples import make_records
from engine.tests.report_worlds import make_hostile_records

SAMPLE = make_records()


@pytest.mark.parametrize("place", ["file", "folder", "text", "records"])
def test_results_are_loaded_from_wherever_records_are(place: str, tmp_path: Path) -> None:
    write_records(SAMPLE, tmp_path / "records.jsonl")
    places = {"file": tmp_path / "records.jsonl", "folder": tmp_path, "text": str(tmp_path), "records": SAMPLE}
    assert engine.load(places[place]).records == tuple(SAMPLE)


def test_what_holds_no_records_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"records: got .*, expected a records\.jsonl file"):
        engine.load(tmp_path)


def test_verdicts_and_estimates_are_those_of_the_records() -> None:
    results = engine.load(SAMPLE)
    assert len(results) == len(results.verdicts) == len(SAMPLE)
    for result, record in zip(results, SAMPLE, strict=True):
        assert result.verdict == (record.ruling or record.outcome)
        assert results.verdicts[record.claim, record.subject, record.protocol] == result.verdict
        assert {name: (one.value, one.low, one.high, one.n) for name, one in result.estimates.items()} == {
            c.estimate: (c.value, c.low, c.high, c.n) for c in record.criteria
        }
        assert {title: frame.shape for title, frame in result.tables.items()} == {
            table.title: (len(table.rows), len(table.columns)) for table in record.tables
        }


def test_results_are_taken_by_claim_number_and_slice() -> None:
    results = engine.load(SAMPLE)
    name = SAMPLE[0].claim
    assert {r.record.claim for r in results[name.lower()]} == {name}
    assert results[-1].record == SAMPLE[-1]
    assert results[1:3].records == tuple(SAMPLE[1:3])
    with pytest.raises(KeyError):
        results["C99"]


def test_a_single_verdict_of_several_items_is_refused_in_one_line() -> None:
    one = engine.load(SAMPLE[:1])
    assert (one.verdict, one.estimates) == (one[0].verdict, one[0].estimates)
    with pytest.raises(UsageError, match="results: got 2 items, expected one, to have a single verdict; take one by"):
        assert engine.load(SAMPLE[:2]).verdict
    with pytest.raises(UsageError, match=r"to_frame: got rows='nothing', expected 'estimates' or 'items' or 'runs'"):
        one.to_frame("nothing")


@pytest.mark.parametrize("rows", sorted(SHEETS))
def test_frames_are_the_exported_tables(rows: str) -> None:
    sheet, frame = SHEETS[rows](SAMPLE), engine.load(SAMPLE).to_frame(rows)
    assert list(frame.columns) == list(sheet.columns)
    assert len(frame) == len(sheet.rows)
    assert list(frame["claim"]) == [row[0] for row in sheet.rows]


def test_at_a_prompt_a_result_takes_two_lines() -> None:
    records = [replace(SAMPLE[0], sentence="Refuted:\n" + "long " * 100), *SAMPLE[1:]]
    results = engine.load(records)
    assert repr(results[0]) == repr(results[:1]) == f"{name_item(results[0])}: refuted\n{'Refuted: ' + 'long ' * 30}…"
    head, counts = repr(results).split("\n")
    assert head.startswith(f"{len({r.claim for r in records})} claims on ")
    assert head.endswith(f": {len(records)} items")
    assert sum(int(part.split()[0]) for part in counts.split(", ")) == len(records)


def name_item(result: Result) -> str:
    protocol = result.record.protocol
    return f"{result.record.claim} on {result.record.subject}" + ("" if protocol == "direct" else f", {protocol}")


def test_a_notebook_shows_verdicts_with_their_intervals_and_counts_the_rest() -> None:
    judged = [r for r in SAMPLE if r.ruling]
    page = engine.load(SAMPLE)._repr_html_()
    assert page.count('role="img"') == sum(bool(r.criteria) for r in judged)
    assert page.count("<tr>") == 1 + len([r for r in SAMPLE if r.ruling or r.outcome == "error"])
    skipped = sum(r.outcome == "skipped" for r in SAMPLE)
    assert f"{skipped} skipped" in page
    alone = engine.load([r for r in SAMPLE if r.outcome == "skipped"])._repr_html_()
    assert alone.count("<tr>") == 1 + skipped
    many = engine.load([judged[0]] * (MOST_SHOWN + 5))._repr_html_()
    assert many.count("<tr>") == 1 + MOST_SHOWN


def test_text_in_a_notebook_is_only_text() -> None:
    hostile = '</style><script>window.hacked=1</script><img src=x onerror="hacked()">\''
    page = engine.load(make_hostile_records(hostile))._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<img" not in page
    assert 'onerror="hacked' not in page
