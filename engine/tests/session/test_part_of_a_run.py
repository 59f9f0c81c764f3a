"""A session of a part of the items: its report never takes the place of a whole run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.commands.report import main as report_main
from engine.records import explain_part, read_records, write_records
from engine.report.history import read_runs
from engine.session.finish import PART
from engine.tests.planted_claims import read_session, run_session, write_claim

CLAIMS = ("c91", "c92", "c93")


@pytest.fixture(name="folder")
def provide_claims(pytester: pytest.Pytester) -> Path:
    """Three claims in a folder and one in another, and the report of a whole run of them."""
    for name in CLAIMS:
        write_claim(pytester.mkdir(name), "supported", name=name, id=name.upper())
    assert run_session(pytester).ret == 0
    return pytester.path


def read_report(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def latest(folder: Path) -> Path:
    return folder / "reports" / "latest"


def claims_in(folder: Path) -> list[str]:
    return [record.claim for record in read_records(folder / "records.jsonl")]


PARTS: dict[str, tuple[str, ...]] = {
    "by a keyword": ("-k", "c91"),
    "by leaving out": ("--deselect", "c92/test_c92.py", "--deselect", "c93/test_c93.py"),
    "by a file": ("c91/test_c91.py",),
    "by a folder": ("c91",),
    "by an item": ("c91/test_c91.py::test_claim",),
    "by a slice": ("--slice", "1/3"),
}


@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS)
def test_the_report_of_a_part_goes_to_its_own_folder(
    options: tuple[str, ...], folder: Path, pytester: pytest.Pytester
) -> None:
    before = read_report(latest(folder))
    result = run_session(pytester, *options)
    assert result.ret == 0
    assert read_report(latest(folder)) == before
    assert len(claims_in(latest(folder) / PART)) == 1
    result.stdout.fnmatch_lines(
        [
            f"report: {latest(folder) / PART / 'index.html'}",
            f"it leaves out 2 items of the last whole run, whose report stays: {latest(folder) / 'index.html'}",
        ]
    )
    kept = read_runs([latest(folder)])
    assert sorted(len(run.records) for run in kept) == [1, 3]  # the history has both


def test_what_was_measured_alone_is_compared_with_the_whole_run_before(folder: Path, pytester: pytest.Pytester) -> None:
    write_claim(folder / "c91", "refuted", name="c91", id="C91")
    assert run_session(pytester, "-k", "c91").ret == 0
    page = (latest(folder) / PART / "index.html").read_text(encoding="utf-8")
    changes = page.partition('id="changes"')[2].partition("</div>")[0]
    assert "C91" in changes
    assert "supported" in changes
    assert "refuted" in changes


def test_a_whole_run_replaces_a_whole_run_also_where_claims_were_withdrawn(
    folder: Path, pytester: pytest.Pytester
) -> None:
    (folder / "c93" / "test_c93.py").unlink()
    assert run_session(pytester).ret == 0
    assert claims_in(latest(folder)) == ["C91", "C92"]
    assert not (latest(folder) / PART).exists()


def test_a_part_that_leaves_out_nothing_replaces_the_report(folder: Path, pytester: pytest.Pytester) -> None:
    assert run_session(pytester, "-k", "c9", "--effort", "smoke").ret == 0
    assert claims_in(latest(folder)) == ["C91", "C92", "C93"]
    assert {record.effort for record in read_session(pytester)} == {"smoke"}
    assert run_session(pytester, "-k", "c91").ret == 0  # and is as whole as that
    assert claims_in(latest(folder)) == ["C91", "C92", "C93"]


def test_without_a_whole_run_each_part_replaces_the_one_before(pytester: pytest.Pytester) -> None:
    for name in CLAIMS:
        write_claim(pytester.path, "supported", name=name, id=name.upper())
    for name in ("c91", "c92", "c92"):
        assert run_session(pytester, "-k", name).ret == 0
        (record,) = read_session(pytester)
        assert record.claim == name.upper()
        assert record.session is not None
        assert record.session.part
    assert run_session(pytester).ret == 0
    assert claims_in(latest(pytester.path)) == ["C91", "C92", "C93"]
    assert run_session(pytester, "-k", "c91").ret == 0
    assert claims_in(latest(pytester.path)) == ["C91", "C92", "C93"]


def test_a_session_that_stops_early_leaves_the_whole_runs_report(folder: Path, pytester: pytest.Pytester) -> None:
    before = read_report(latest(folder))
    write_claim(folder / "c91", "supported", name="c91", id="C91", error=ValueError("it breaks"))
    result = run_session(pytester, "-x")
    assert result.ret == 3
    assert read_report(latest(folder)) == before
    assert claims_in(latest(folder) / PART) == ["C91"]
    result.stdout.fnmatch_lines([f"report: {latest(folder) / PART / 'index.html'}"])


def test_a_damaged_report_is_replaced(folder: Path, pytester: pytest.Pytester) -> None:
    (latest(folder) / "records.jsonl").write_bytes(b"{")
    assert run_session(pytester, "-k", "c91").ret == 0
    assert claims_in(latest(folder)) == ["C91"]


def run_shares(pytester: pytest.Pytester, *options: str) -> list[str]:
    """The reports of three shares of a run."""
    shares: list[str] = []
    for number in (1, 2, 3):
        folder = pytester.path / f"share-{number}"
        assert run_session(pytester, "--slice", f"{number}/3", "--report-dir", str(folder), *options).ret == 0
        shares.append(str(folder))
    return shares


def test_slices_that_were_brought_together_are_a_whole_run(pytester: pytest.Pytester) -> None:
    for name in CLAIMS:
        write_claim(pytester.path, "supported", name=name, id=name.upper())
    shares = run_shares(pytester)
    assert report_main(["render", *shares, "--out", str(latest(pytester.path))]) == 0
    assert explain_part(read_records(latest(pytester.path) / "records.jsonl")) == ""
    assert run_session(pytester, "-k", "c92").ret == 0
    assert claims_in(latest(pytester.path)) == ["C91", "C92", "C93"]
    assert claims_in(latest(pytester.path) / PART) == ["C92"]


def test_some_of_the_slices_are_shown_as_a_part_and_replace_no_whole_run(
    folder: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    shares, words = run_shares(pytester), "These are 2 of the 3 items of all slices of this run."
    before = read_report(latest(folder))
    capsys.readouterr()
    assert report_main(["render", *shares[:2], "--out", str(latest(folder))]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"render: got a partial report for {latest(folder)}, which holds a whole run's report with 1 item"
    )
    assert read_report(latest(folder)) == before
    some = folder / "some"
    assert report_main(["render", *shares[:2], "--out", str(some)]) == 0
    assert capsys.readouterr().err == f"render: {words}\n"
    assert f"<b>Part of a run.</b> {words}" in (some / "index.html").read_text(encoding="utf-8")
    # What the remedy says, and the share that was left: both are whole.
    for sources in ([*shares[:2], str(latest(folder))], [str(some), shares[2]]):
        assert report_main(["render", *sources, "--out", str(folder / "all")]) == 0
        assert capsys.readouterr().err == ""
        assert claims_in(folder / "all") == ["C91", "C92", "C93"]
        assert "Part of a run" not in (folder / "all" / "index.html").read_text(encoding="utf-8")


def test_slices_of_a_part_are_a_part(pytester: pytest.Pytester) -> None:
    for name in CLAIMS:
        write_claim(pytester.path, "supported", name=name, id=name.upper())
    shares = run_shares(pytester, "-k", "c91 or c92")
    assert report_main(["render", *shares, "--out", str(pytester.path / "all")]) == 0
    records = read_records(pytester.path / "all" / "records.jsonl")
    assert [record.claim for record in records] == ["C91", "C92"]
    assert explain_part(records) == "The session was asked for a part of the items, or ended early."


def test_the_report_of_a_part_is_rendered_over_no_whole_one(folder: Path, pytester: pytest.Pytester) -> None:
    assert run_session(pytester, "-k", "c91").ret == 0
    before = read_report(latest(folder))
    assert report_main(["render", str(latest(folder) / PART), "--out", str(latest(folder))]) == 4
    assert read_report(latest(folder)) == before
    assert report_main(["render", str(latest(folder) / PART)]) == 0


def test_a_report_that_other_claims_take_the_place_of_is_told_of(folder: Path, pytester: pytest.Pytester) -> None:
    """Two projects with one folder of reports: each is the whole of its own."""
    other = pytester.mkdir("other")
    (other / "pytest.ini").write_text("[pytest]\n")
    mine = other / "c91"
    mine.mkdir()
    write_claim(mine, "supported", name="c91", id="C99")
    result = run_session(pytester, "--rootdir", str(other), "-c", str(other / "pytest.ini"), str(other))
    assert result.ret == 0
    result = run_session(
        pytester,
        *("--rootdir", str(other), "-c", str(other / "pytest.ini"), str(other)),
        *("--report-dir", str(latest(folder))),
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["the report it replaces had 3 items that this session did not find (C91, C92, C93); runs/ keeps that run"]
    )
    assert sorted(len(run.records) for run in read_runs([latest(folder)])) == [1, 3]


def test_records_from_before_there_were_parts_are_of_a_whole_run(folder: Path, pytester: pytest.Pytester) -> None:
    records = read_records(latest(folder) / "records.jsonl")
    write_records(records, latest(folder) / "records.jsonl")
    old = (latest(folder) / "records.jsonl").read_bytes().replace(b',"part":false', b"")
    (latest(folder) / "records.jsonl").write_bytes(old)
    assert run_session(pytester, "-k", "c91").ret == 0
    assert (latest(folder) / "records.jsonl").read_bytes() == old
