"""What strangers' files say acts on nobody: not on a terminal, not on GitHub, and not on files beside it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from engine.commands.ledger import main as ledger_main
from engine.commands.report import main as report_main
from engine.ledger import Ledger
from engine.records import read_records, write_records
from engine.report.markdown import tabulate
from engine.session.summary import print_verdicts
from engine.tests.ledger.test_ledger import RUNS
from engine.tests.planted import INVERSION, make_inversion, make_measurement
from engine.tests.planted_claims import run_session, write_claim, write_verdict
from engine.tests.report_samples import make_records
from engine.tests.whole.test_workflow_targets import GH, MAKE, REFERENCE, make, provide_folder, stub
from engine.text import write_markdown_cell

__all__ = ["provide_folder"]

ACTING = {
    "a colour": "\x1b[31mred",
    "a title": "\x1b]0;taken\x07",
    "a way back": "over\r\x1b[2Kit",
    "another line": "one\ntwo",
    "right to left": "gnp\u202eexe",
    "unseen": "a\u200b\u2060\U000e0041b",
    "a C1 control": "\x9b31mred",
}


def make_ledger(folder: Path, text: str, *, recovery: float) -> Path:
    """A ledger whose only measurement says `text` wherever a file of somebody else's may say anything."""
    arm = replace(INVERSION, settings=replace(INVERSION.settings, subject=f"local:{text}", source=text))
    measurement = make_measurement(arm, make_inversion([replace(RUNS[0], recovery=recovery)]), measured_at=text)
    told = replace(measurement.provenance, device=text, machine=text, commit=text)
    Ledger(folder).put(replace(measurement, provenance=told))
    return folder


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
def test_a_ledgers_commands_print_nothing_that_acts(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_ledger(tmp_path / f"one{text}", text, recovery=0.5)
    other = make_ledger(tmp_path / "other", text, recovery=0.25)
    (one / "measurements" / "ab").mkdir(exist_ok=True)
    (one / "measurements" / "ab" / f"{text}.json").write_bytes(b"{")
    for words in (
        ["list", str(one), "--arms"],
        ["merge", str(other), str(one)],
        ["prune", str(one), "--subject", f"local:{text}", "--before", "2026-01-01"],
        ["export", str(one), "--out", str(tmp_path / f"{text}.csv")],
    ):
        assert ledger_main(words) == 0
        told = capsys.readouterr()
        said = told.out + told.err
        assert said.replace("\n", "").isprintable(), words
        assert text not in said
    assert "differing 1" in (ledger_main(["merge", str(other), str(one)]), capsys.readouterr().out)[1]


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
def test_a_session_prints_nothing_that_acts(text: str) -> None:
    """A subject's name is a path, and an error may quote a file."""
    lines: list[str] = []

    class Terminal:
        def ensure_newline(self) -> None: ...

        def section(self, title: str) -> None:
            lines.append(title)

        def write(self, text: str, **_: bool) -> None:
            lines.append(text)

        def write_line(self, text: str) -> None:
            lines.append(text)

    first, second = make_records()[:2]
    print_verdicts(
        [replace(first, claim=text, subject=f"local:{text}", outcome="error", sentence=text), replace(second)],
        Terminal(),
    )
    assert all(line.isprintable() for line in lines)
    assert not any(text in line for line in lines)


def test_junit_and_failures_hold_nothing_that_acts(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", error=ValueError("\x1b[31mred\u202e"))
    path = write_verdict(pytester.path, "refuted")
    assert path.exists()
    result = run_session(pytester, "--junitxml", "junit.xml", "-o", "junit_family=xunit1")
    assert result.ret == 3
    junit = (pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert re.search(r'<property name="sentence" value="ValueError: \\u001b\[31mred\\u202e"', junit)


# GitHub.

CALLING = {
    "a mention": ("by @team now", "by @&#8203;team now"),
    "a team": ("@org/team", "@&#8203;org/team"),
    "an issue": ("fixes #1", "fixes #&#8203;1"),
    "another project's issue": ("owner/repo#1", "owner/repo#&#8203;1"),
    "an old issue": ("GH-12 gh-3", "GH-&#8203;12 gh-&#8203;3"),
    "a commit": ("0123456789abcdef", "012345&#8203;6789ab&#8203;cdef"),
    "a commit behind a point": ("0.123456a 1234567", "0.123456&#8203;a 123456&#8203;7"),
    "decimals": ("0.0007937 and -12.12345678", "0.0007937 and -12.12345678"),
    "another project's commit": ("o/r@deadbeef", "o/r@&#8203;deadbe&#8203;ef"),
    "an address": ("https://example.invalid/x", "https:&#8203;//example.invalid/x"),
    "an address without a scheme": ("www.example.invalid", "www&#8203;.example.invalid"),
    "a mailbox": ("me@example.invalid", "me@&#8203;example.invalid"),
    "an emoji": (":tada: :+1:", ":&#8203;tada: :&#8203;+1:"),
    "a formula": ("$x$ and $$y$$", None),
    "a formula in code": ("$`x`$", None),
    "a footnote": ("[^1]", "\\[^1]"),
    "an image": ("![a](b)", "![a\\](b)"),
    "an element": ("<details open><img src=x>", "&lt;details open&gt;&lt;img src=x&gt;"),
    "a comment": ("<!-- hidden -->", "&lt;!-- hidden --&gt;"),
    "an entity": ("&#64;team", "&amp;#&#8203;64;team"),
    "an escaped mention": ("\\@team", "\\\\@&#8203;team"),
    "another cell": ("a | b", "a \\| b"),
    "a commit in capitals": ("DEADBEEFCAFE", "DEADBE&#8203;EFCAFE"),
}
"""What GitHub makes something of, and the cell that says the same and calls nobody."""

LIVE = re.compile(
    r"@\w|#\w|\bGH-\d|://|\bwww\.|:[\w+-]+:|(?<![\w])(?!(?<=\d\.)\d+\b)[0-9a-f]{7,40}(?![\w])|\$[^\s$][^$]*\$",
    re.IGNORECASE,
)
"""GitHub's rules, as its documentation has them, for the text that is left of a page's Markdown."""


def read_cell(cell: str) -> tuple[str, set[str]]:
    """The text that a browser shows of a cell, and the elements that it is in. Source: CommonMark, by markdown-it."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| head |\n| --- |\n| {cell} |\n")
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    return unescape(re.sub(r"<[^>]*>", "", body)).strip(), set(re.findall(r"<([a-z]+)", body)) - {"tr", "td"}


@pytest.mark.parametrize(("text", "cell"), CALLING.values(), ids=CALLING)
def test_a_cell_on_github_calls_nobody_and_reads_as_it_was_written(text: str, cell: str | None) -> None:
    written = write_markdown_cell(text)
    if cell is not None:
        assert written == cell
    shown, elements = read_cell(written)
    assert shown.replace("\u200b", "") == text
    assert elements <= {"span"}
    if "$" in text:  # each stands in an element of its own, as GitHub's documentation asks for
        assert written.count("<span>&#36;</span>") == text.count("$")
        assert "$" not in written
    else:
        assert LIVE.search(shown) is None


def test_the_tables_of_the_reference_run_are_what_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/results.md holds it: no number or name of the suite calls anybody."""
    assert report_main(["table", str(REFERENCE)]) == 0
    assert "&#8203;" not in capsys.readouterr().out


def make_large(folder: Path, claims: int) -> Path:
    """A stranger's report of many claims, each with a row of some kilobytes."""
    record = make_records()[0]
    long = "é" * 300
    records = [replace(record, claim=f"X{k:03}", statement=long, document=long, tables=()) for k in range(claims)]
    write_records(records, folder / "records.jsonl")
    return folder


@pytest.mark.parametrize("most", [5_000, 65_536, 1_000_000])
def test_a_table_keeps_to_its_size_and_says_what_it_leaves_out(most: int, tmp_path: Path) -> None:
    records = read_records(make_large(tmp_path, 500) / "records.jsonl")
    table = tabulate(records, most=most)
    assert len(table.encode()) < most  # with its last line break
    whole = tabulate(records).splitlines()
    kept = [line for line in table.splitlines() if line in whole]
    assert len(kept) > 2
    if len(kept) == len(whole):
        assert table.splitlines() == whole
        return
    assert table.splitlines()[len(kept) :] == [
        "",
        f"Left out to save room: {502 - len(kept)} of 500 claims. The run's report, index.html, has them all.",
    ]
    left = len(next(line for line in whole[2:] if line not in kept).encode()) + 1
    assert len(table.encode()) + left > most - 150  # nothing that fits is left out


needs_make = pytest.mark.skipif(MAKE is None, reason="runs where make is installed")


@needs_make
def test_a_comment_keeps_to_what_github_takes(folder: Path) -> None:
    stub(folder / "gh", GH)
    (folder / "report").mkdir()
    make_large(folder / "report", 300)
    ran = make(folder, "comment", REPORT=str(folder / "report"), HEAD="a:b", COMMIT="c0ffee", NUMBER="7")
    assert ran.returncode == 0, ran.stderr
    sent = (folder / "sent.md").read_text(encoding="utf-8")
    assert 60_000 < len(sent.encode()) <= 65_536
    assert "Left out to save room: " in sent


@needs_make
def test_a_summary_keeps_to_what_github_takes(folder: Path) -> None:
    (folder / "reports" / "latest").mkdir(parents=True)
    make_large(folder / "reports" / "latest", 3_000)
    ran = make(folder, "summary", GITHUB_STEP_SUMMARY=str(folder / "the summary.md"))
    assert ran.returncode == 0, ran.stderr
    assert 1_000_000 < (folder / "the summary.md").stat().st_size <= 1_048_576
    assert "Left out" not in make(folder, "summary").stdout  # a terminal takes all


@needs_make
@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_in_a_strangers_report_is_not_written_through(there: bool, folder: Path) -> None:
    stub(folder / "gh", GH)
    (folder / "report").mkdir()
    write_records(read_records(REFERENCE)[:3], folder / "report" / "records.jsonl")
    victim = folder / "victim"
    if there:
        victim.write_text("untouched", encoding="utf-8")
    (folder / "report" / "comment.md").symlink_to(victim)
    ran = make(folder, "comment", REPORT=str(folder / "report"), HEAD="a:b", COMMIT="c0ffee", NUMBER="7")
    assert ran.returncode == 0, ran.stderr
    assert (folder / "sent.md").read_text(encoding="utf-8").startswith("| claim |")
    assert (victim.read_text(encoding="utf-8") if there else victim.exists()) == ("untouched" if there else False)
    assert sorted(path.name for path in (folder / "report").iterdir()) == ["comment.md", "records.jsonl"]


@needs_make
def test_records_that_are_a_link_out_of_a_strangers_report_are_not_read(folder: Path) -> None:
    stub(folder / "gh", GH)
    (folder / "report").mkdir()
    (folder / "report" / "records.jsonl").symlink_to(REFERENCE)
    ran = make(folder, "comment", REPORT=str(folder / "report"), HEAD="a:b", COMMIT="c0ffee", NUMBER="7")
    assert (ran.returncode, "comment: skipped: REPORT holds no records.jsonl of its own" in ran.stdout) == (0, True)
    assert not os.path.lexists(folder / "sent.md")
