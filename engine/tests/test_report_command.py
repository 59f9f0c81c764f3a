"""The files that a report is written to, the Markdown table, and the command."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.records import Record, write_records
from engine.report import render, tabulate, write_report
from engine.report.__main__ import main
from engine.tests.report_samples import make_records

ROOT = Path(__file__).parents[2]
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
    assert sorted(p.name for p in (tmp_path / "taken").iterdir()) == ["index.html", "records.jsonl"]


def test_the_command_writes_where_it_is_told(
    records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in" / "records.jsonl"
    write_records(records, source)
    assert main(["render", str(source), "--out", str(tmp_path / "out"), "--rendered-at", RENDERED_AT]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "index.html")
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8") == show(records)
    assert main(["table", str(source)]) == 0
    assert capsys.readouterr().out == tabulate(records) + "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "absent.jsonl"],
        ["table", "broken.jsonl"],
        ["table", "."],
        ["draw"],
        [],
        ["render", "ok.jsonl", "--out", "ok.jsonl"],
    ],
    ids=["missing", "damaged", "a folder", "unknown command", "no command", "unwritable"],
)
def test_a_mistake_is_one_line_and_exit_4(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jsonl").write_text("{]\n")
    write_records(make_records()[:1], Path("ok.jsonl"))
    assert main(arguments) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_report_is_made_where_torch_cannot_be_imported(records: list[Record], tmp_path: Path) -> None:
    write_records(records, tmp_path / "records.jsonl")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("torch", "transformers"):
        (blocked / f"{name}.py").write_text("raise ImportError('not here')\n")
    arguments = ["report", "render", str(tmp_path / "records.jsonl"), "--rendered-at", RENDERED_AT]
    code = (
        f"import runpy, sys; sys.path[:0] = [{str(blocked)!r}, {str(ROOT)!r}]\n"
        f"sys.argv = {arguments!r}\n"
        "runpy.run_module('engine.report', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == show(records)
