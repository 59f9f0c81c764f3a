"""The files that a report is written to, the Markdown table, and the command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.commands.report import main
from engine.errors import LedgerError
from engine.records import Record, Session, read_records, write_records
from engine.report import render, tabulate, write_report
from engine.report.history import keep_run, read_runs
from engine.report.site import arrange_report, render_site
from engine.report.words import sort_records
from engine.tests.planted import NAN
from engine.tests.report_pages import show_site
from engine.tests.report_samples import PROVENANCE, make_records

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = str(ROOT / "reports" / "reference" / "records.jsonl")
RENDERED_AT = "2026-02-14 10:02 UTC"


def show(records: list[Record]) -> str:
    return render(records, title="LM Claims", rendered_at=RENDERED_AT)


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


def test_the_table_has_a_row_per_claim_and_no_cell_breaks_out(records: list[Record]) -> None:
    lines = tabulate([*records, replace(records[0], claim="C99", statement="a|b\n<b>`x`</b> *y* [l](m)")]).splitlines()
    assert len(lines) == 2 + len({record.claim for record in records}) + 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert r"a\|b\\n&lt;b&gt;\`x\`&lt;/b&gt; \*y\* [l\](m)" in lines[-1]
    assert "✓ supported, iterations ratio = 412 [236.5, ∞]" in "\n".join(lines)
    assert all(line.endswith(" |") and line.startswith("| ") for line in lines)


def test_the_table_says_of_every_item_what_it_came_to(records: list[Record]) -> None:
    table = tabulate(records)
    for record in records:
        assert record.subject in table
    assert "<br>" in table
    for words in ("– skipped", "○ not run at this effort"):
        assert (words in table) == any(words.endswith(str(r.ruling or r.outcome)) for r in records)


def test_a_folder_that_cannot_be_written_is_one_line(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match=r"report: got .*, expected a folder that can be written; choose another"):
        write_report(records, tmp_path / "file" / "report", rendered_at="now")
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    with pytest.raises(LedgerError, match=r"index\.html"):
        write_report(records, tmp_path / "taken", rendered_at="now")
    assert read_records(tmp_path / "taken" / "records.jsonl") == sort_records(records)


def test_the_command_writes_where_it_is_told(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in" / "records.jsonl"
    write_records(records, source)
    assert main(["render", str(source), "--out", str(tmp_path / "out"), "--rendered-at", RENDERED_AT]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "index.html")
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8") == show_site(records)["index.html"]
    single = tmp_path / "mail" / "report.html"
    assert main(["render", str(source), "--single-file", str(single), "--rendered-at", RENDERED_AT]) == 0
    assert capsys.readouterr().out.strip() == str(single)
    assert [path.name for path in single.parent.iterdir()] == ["report.html"]
    assert single.read_text(encoding="utf-8") == show(records)
    assert main(["render", str(source), "--single-file", str(single), "--out", str(tmp_path)]) == 4
    assert capsys.readouterr().err.startswith("render: got --single-file and --out, expected one of them")
    assert main(["table", str(source)]) == 0
    assert capsys.readouterr().out == tabulate(records) + "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "absent.jsonl"],
        ["table", "broken.jsonl"],
        ["table", "cut.jsonl"],
        ["render", "cut.jsonl", "--out", "out"],
        ["table", "."],
        *([["table", "ok.jsonl", f"--most={room}"] for room in ("-5", "0", "10", "399", "1e9", "a")]),
        ["draw"],
        [],
        ["render", "ok.jsonl", "--out", "ok.jsonl"],
        ["render", "ok.jsonl", "absent.jsonl", "--out", "out"],
        ["render", "ok.jsonl", "--previous", "broken.jsonl"],
        ["compare", "ok.jsonl"],
        ["compare", "ok.jsonl", "broken.jsonl"],
        ["compare", "ok.jsonl", "ok.jsonl", "--out", "ok.jsonl"],
        ["export", "ok.jsonl"],
        ["export", "ok.jsonl", "--out", "x.xlsx"],
        ["export", "ok.jsonl", "--out", "x.csv", "--what", "all"],
        ["export", "absent\u202e\x1b[31m.jsonl", "--out", "x.csv"],
    ],
    ids=lambda arguments: " ".join(arguments) or "no command",
)
def test_a_mistake_is_one_line_and_exit_4(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jsonl").write_text("{]\n")
    write_records(make_records()[:1], Path("ok.jsonl"))
    Path("cut.jsonl").write_bytes(2 * Path("ok.jsonl").read_bytes()[:-20])
    assert main(arguments) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


def date(records: list[Record], began: str, **changes: Any) -> list[Record]:
    """The records as a session of that moment judged them."""
    session = Session(began=began, commit="f" * 40, dirty=False)
    return [replace(record, session=session, **changes) for record in records]


def test_several_sources_are_rendered_as_one(records: list[Record], tmp_path: Path) -> None:
    newer = replace(PROVENANCE, measured_at="2026-03-01T00:00:00Z")
    again = [replace(record, provenance=newer, effort="full") for record in records[:3]]
    write_records(records[1:], tmp_path / "a" / "records.jsonl")
    write_records(again, tmp_path / "b.jsonl")
    sources = [str(tmp_path / "a"), str(tmp_path / "b.jsonl")]
    assert main(["render", *sources, "--out", str(tmp_path / "out"), "--rendered-at", RENDERED_AT]) == 0
    expected = show_site([*again, *records[3:]])["index.html"]
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8") == expected
    assert read_records(tmp_path / "out" / "records.jsonl") == sort_records([*again, *records[3:]])


def test_several_sources_need_a_folder_of_their_own(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_records(records, tmp_path / name / "records.jsonl")
    before = (tmp_path / "a" / "records.jsonl").read_bytes()
    assert main(["render", str(tmp_path / "a"), str(tmp_path / "b")]) == 4
    assert capsys.readouterr().err.startswith("render: got 2 sources of records, expected a folder ")
    assert (tmp_path / "a" / "records.jsonl").read_bytes() == before


def test_a_report_folder_is_rendered_with_its_history(records: list[Record], tmp_path: Path) -> None:
    runs = [date(records, f"2026-02-0{day}T00:00:00Z", effort=f"day {day}") for day in (1, 2, 3)]
    for run in runs:
        keep_run(run, tmp_path)
    write_records(runs[2], tmp_path / "records.jsonl")
    assert main(["render", str(tmp_path), "--rendered-at", RENDERED_AT]) == 0
    history = read_runs([tmp_path])
    assert len(history) == 3

    def show_with(previous: list[Record]) -> dict[str, bytes]:
        return render_site(
            arrange_report(runs[2], title="LM Claims", rendered_at=RENDERED_AT, previous=previous, history=history)
        )

    for page in ("index.html", "trends.html", "compare.html"):
        assert (tmp_path / page).read_bytes() == show_with(runs[1])[page]
    given = ["--previous", str(tmp_path / "runs" / history[0].source)]
    assert main(["render", str(tmp_path), "--rendered-at", RENDERED_AT, *given]) == 0
    assert (tmp_path / "index.html").read_bytes() == show_with(runs[0])["index.html"]


def test_records_of_a_later_schema_are_one_line(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records([replace(records[0], schema=2)], tmp_path / "records.jsonl")
    assert main(["table", str(tmp_path)]) == 4
    assert "records of schema 2, expected records of schema 1; render with the version" in capsys.readouterr().err


def test_lines_that_are_repeated_count_once(records: list[Record], tmp_path: Path) -> None:
    write_records(records, file := tmp_path / "records.jsonl")
    file.write_bytes(2 * file.read_bytes())
    assert read_records(file) == records


def read_text(page: str) -> str:
    return re.sub(r"<[^>]*>", "", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL))


def lose_numbers(record: Record) -> Record:
    """Nothing is a number any more."""
    numbers = ("region_low", "region_high", "value", "low", "high")
    criteria = tuple(replace(c, **dict.fromkeys(numbers, NAN)) for c in record.criteria)
    tables = tuple(
        replace(t, rows=tuple(tuple(NAN if isinstance(c, float) else c for c in row) for row in t.rows))
        for t in record.tables
    )
    return replace(record, criteria=criteria, tables=tables, cost_s=NAN)


def test_records_whose_numbers_are_none_are_read_and_shown_as_dashes(records: list[Record], tmp_path: Path) -> None:
    write_records([lose_numbers(record) for record in records], file := tmp_path / "records.jsonl")
    # As another program writes it: NaN is no JSON, and read all the same.
    file.write_bytes(re.sub(rb'"(nan)"', b"NaN", file.read_bytes()))
    text = read_text(show(read_records(file)))
    assert "— [—, —]" in text
    assert text.lower().count("nan") == read_text(show(records)).lower().count("nan")  # of sentences that say so
    for what in ("estimates", "items", "runs"):
        assert main(["export", str(file), "--what", what, "--out", str(tmp_path / f"{what}.csv")]) == 0
    assert main(["compare", str(file), str(file), "--out", str(tmp_path)]) == 0


def test_half_a_character_costs_no_records(records: list[Record], tmp_path: Path) -> None:
    write_records([replace(records[0], sentence="x\udcffy", cost_s=float("inf")), records[1]], tmp_path / "r.jsonl")
    assert read_records(tmp_path / "r.jsonl") == [replace(records[0], sentence="x?y", cost_s=float("inf")), records[1]]


def test_records_that_name_no_session_no_registration_and_no_kind_of_table_are_read(tmp_path: Path) -> None:
    lines = (ROOT / "reports" / "reference" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    plain = json.loads(next(line for line in lines if '"tables":[{' in line))
    plain.pop("session", None)
    plain.pop("registration", None)
    for table in plain["tables"]:
        table.pop("kind", None)
    (tmp_path / "records.jsonl").write_text(json.dumps(plain), encoding="utf-8")
    (record,) = read_records(tmp_path / "records.jsonl")
    assert (record.session, record.registration) == (None, None)
    assert {table.kind for table in record.tables} == {""}


REFUSE = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "accelerate", "gguf"}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv.pop(1))
sys.argv.insert(1, "report")
runpy.run_module("engine", run_name="__main__", alter_sys=True)
"""
COMMANDS = {
    "render": ("render", "--out", "out", "--rendered-at", RENDERED_AT),
    "table": ("table",),
    "compare": ("compare", REFERENCE, "--out", "out"),
    "estimates": ("export", "--out", "out/estimates.csv"),
    "items": ("export", "--what", "items", "--out", "out/items.csv"),
    "runs": ("export", "--what", "runs", "--out", "out/runs.csv"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_command_works_where_no_model_library_can_be_imported(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-c", REFUSE, str(ROOT), arguments[0], REFERENCE, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert arguments[0] == "table" or list((tmp_path / "out").iterdir())
