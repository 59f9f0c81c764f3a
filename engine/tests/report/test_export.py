"""Exports hold every number as it is and no text that a spreadsheet would act on."""

from __future__ import annotations

import csv
import io
import math
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from engine.commands.report import main
from engine.errors import LedgerError, MissingError, UsageError
from engine.records import Record, Session, Table, read_records, write_records
from engine.report.export import SHEETS, export_estimates, export_items, export_runs
from engine.sheets import LONGEST_CELL, write_csv, write_export, write_parquet
from engine.tests.report_samples import REGISTERED, make_criterion, make_records

INF = math.inf


def read(records: list[Record], what: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(write_csv(SHEETS[what](records)).decode())))


def read_parquet(records: list[Record], what: str) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet", reason="install lm-claims[parquet] to test Parquet")
    return parquet.read_table(io.BytesIO(write_parquet(SHEETS[what](records)))).to_pylist()


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


def test_estimates_have_a_row_for_each_criterion_of_each_item(records: list[Record]) -> None:
    rows = read(records, "estimates")
    found = [(row["claim"], row["subject"], row["protocol"], row["criterion"]) for row in rows]
    assert sorted(found) == sorted((r.claim, r.subject, r.protocol, c.text) for r in records for c in r.criteria)


def test_items_have_a_row_for_each_item_skipped_ones_as_well(records: list[Record]) -> None:
    rows = read(records, "items")
    assert len(rows) == len(records)
    assert sorted(row["outcome"] for row in rows) == sorted(record.outcome for record in records)


def test_what_was_registered_is_a_word_in_each_sheet_and_whole_among_the_items(records: list[Record]) -> None:
    items = {row["claim"]: row for row in read(records, "items")}
    columns = ("registration", "registered_at", "registered_commit", "registration_note")
    assert [items["C03"][name] for name in columns] == [*astuple(REGISTERED)[:3], ""]
    assert items["C25"]["registration_note"] == "with the user's own prompts"
    assert {row["claim"]: row["registration"] for row in read(records, "estimates")}["C06"] == "amended"
    (bare,) = read([replace(records[0], registration=None)], "items")
    assert {bare[name] for name in columns} == {""}


def test_runs_have_a_row_for_each_cell_with_its_place(records: list[Record]) -> None:
    table = Table(title="T", columns=("word", "n"), rows=(("a", 1), ("b", None), ("c", INF), ("d", 0.1 + 0.2)))
    rows = read([replace(records[0], tables=(table,))], "runs")
    assert [(row["row"], row["column"], row["number"], row["text"]) for row in rows] == [
        ("1", "word", "", "a"),
        ("1", "n", "1", ""),
        ("2", "word", "", "b"),
        ("2", "n", "", ""),
        ("3", "word", "", "c"),
        ("3", "n", "inf", ""),
        ("4", "word", "", "d"),
        ("4", "n", "0.30000000000000004", ""),
    ]


NUMBERS = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, INF, -INF, math.nan, None]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("reader", [read, read_parquet], ids=["csv", "parquet"])
def test_a_number_comes_back_as_it_was(reader: Any, number: float | None, records: list[Record]) -> None:
    criterion = make_criterion("x > 1", ("x", number, -INF, INF), "inconclusive")
    (row,) = reader([replace(records[0], criteria=(criterion,))], "estimates")
    cell = row["value"]
    again = None if cell in ("", None) else float(cell)
    assert repr(again) == repr(number)
    assert [float(row[name]) for name in ("low", "high", "region_low", "region_high")] == [-INF, INF, 1.0, INF]


def test_an_infinity_in_a_table_survives_the_records_file(records: list[Record], tmp_path: Path) -> None:
    rows = (("inf", INF, "inf"), ("a", 1.0, "inf"), ("b", -INF, None))
    table = Table(title="T", columns=("token", "n", "only words"), rows=rows)
    write_records([replace(records[0], tables=(table,))], tmp_path / "records.jsonl")
    (record,) = read_records(tmp_path / "records.jsonl")
    assert record.tables == (table,)


def test_an_integer_that_a_double_would_change_is_text(records: list[Record]) -> None:
    table = Table(title="T", columns=("n",), rows=((2**53,), (2**53 + 1,)))
    rows = read([replace(records[0], tables=(table,))], "runs")
    assert [(row["number"], row["text"]) for row in rows] == [(str(2**53), ""), ("", str(2**53 + 1))]


FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "＝1+1", "  =1+1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_calculate_is_marked_as_text(text: str, records: list[Record]) -> None:
    (row,) = read([replace(records[0], statement=text)], "items")
    assert row["statement"] == f"'{text}"


def test_negative_numbers_are_no_formulas(records: list[Record]) -> None:
    criterion = make_criterion("x > -3", ("x", -1.5, -INF, -1.0), "supported")
    (row,) = read([replace(records[0], criteria=(criterion,))], "estimates")
    assert (row["value"], row["low"], row["region_low"]) == ("-1.5", "-inf", "-3.0")


def test_hostile_text_is_inert_and_stays_in_its_cell(records: list[Record]) -> None:
    text = 'a"b,c\r\n"d\x00\x1b[31m\u202e\t<b>' + "x" * 100_000
    sheet = write_csv(export_items([replace(records[0], statement=text, sentence="\t=1+1")])).decode()
    assert len(sheet.splitlines()) == 2
    assert all(character.isprintable() for character in sheet.replace("\n", ""))
    (row,) = csv.DictReader(io.StringIO(sheet))
    assert row["statement"].startswith('a"b,c\\r\\n"d\\u0000\\u001b[31m\\u202e\\t<b>xxx')
    assert len(row["statement"]) < LONGEST_CELL + 200
    assert row["sentence"] == "\\t=1+1"


def test_parquet_keeps_text_as_it_is_and_types_its_columns(records: list[Record]) -> None:
    text = "=1+1\r\n\u202e" + "x" * 100_000
    session = Session(began="2026-11-24T10:06:18+00:00", commit="f" * 40, dirty=True, numerics=2)
    (row,) = read_parquet([replace(records[0], statement=text, session=session)], "items")
    assert row["statement"] == text
    assert (row["session_dirty"], row["numerics"], row["threads"]) == (True, 2, 2)
    assert isinstance(row["cost_s"], float)


@pytest.mark.parametrize("what", SHEETS)
def test_parquet_and_csv_hold_the_same_rows(what: str, records: list[Record]) -> None:
    rows = read_parquet(records, what)
    assert len(rows) == len(read(records, what))
    assert rows
    assert list(rows[0]) == list(SHEETS[what](records).columns)


@pytest.mark.parametrize("write", [write_csv, write_parquet], ids=["csv", "parquet"])
@pytest.mark.parametrize("what", SHEETS)
def test_equal_records_in_any_order_give_equal_bytes(what: str, write: Any, records: list[Record]) -> None:
    if write is write_parquet:
        pytest.importorskip("pyarrow", reason="install lm-claims[parquet] to test Parquet")
    assert write(SHEETS[what](records)) == write(SHEETS[what](make_records()[::-1]))
    assert write(SHEETS[what]([]))


def test_without_pyarrow_the_extra_is_named(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingError, match=r"^export: got no pyarrow, .*; pip install 'lm-claims\[parquet\]'"):
        write_export(export_estimates(records), tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_parquet_cannot_hold_is_one_line(records: list[Record]) -> None:
    pytest.importorskip("pyarrow", reason="install lm-claims[parquet] to test Parquet")
    criterion = make_criterion("x > 1", ("x", 1.0, 1.0, 1.0), "supported", n=10**30)
    with pytest.raises(LedgerError, match=r"^export: got .*, expected numbers of 64 bits; "):
        write_parquet(export_estimates([replace(records[0], criteria=(criterion,))]))


def test_a_format_that_is_not_known_is_one_line(records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^export: got --out x\.xlsx, expected a name that ends in \.csv or \.parq"):
        write_export(export_runs(records), tmp_path / "x.xlsx")


def test_the_command_merges_its_sources_and_writes_the_file(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(records[:4], tmp_path / "a" / "records.jsonl")
    write_records(records[2:], tmp_path / "b.jsonl")
    out = tmp_path / "new" / "estimates.csv"
    assert main(["export", str(tmp_path / "a"), str(tmp_path / "b.jsonl"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes() == write_csv(export_estimates(records))
