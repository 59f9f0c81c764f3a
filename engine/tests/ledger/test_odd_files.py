"""What else may lie under the name of a file that is read: it is named in one line, and nothing is waited for."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.arms.measurement import digest_of
from engine.claim.on_record import read_verdicts
from engine.claim.registration import read_lock
from engine.commands.ledger import main as ledger_main
from engine.commands.register import main as register_main
from engine.errors import LedgerError, UsageError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.files import MOST_BYTES, find_nearest
from engine.ledger import Ledger
from engine.ledger.maintenance import read_ledger
from engine.records import read_records
from engine.report.history import keep_run, read_runs
from engine.session.finish import finish_report
from engine.studies.bench.results import read_bench
from engine.studies.calibration.results import read_calibration
from engine.tests.ledger.test_ledger import KINDS, SAMPLE
from engine.tests.measured import Inverses
from engine.tests.planted import INVERSION
from engine.tests.planted_claims import read_session, run_session, write_claim, write_verdict
from engine.tests.report_samples import make_records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these kinds of files exist on Unix only")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "something of somebody's").touch()


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, MOST_BYTES + 1)  # a hole, which takes no room


def link_to_a_huge_file(path: Path) -> None:
    make_huge(huge := path.with_suffix(".huge"))
    path.symlink_to(huge.name)


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a folder": (make_folder, "a folder"),
    "a looped link": (make_loop, "a looped link"),
    "a pipe": (make_pipe, "no file"),
    "a socket": (make_socket, "no file"),
    "a link to a device": (link_to_a_device, "no file"),
    "a link to nothing": (link_to_nothing, "a link that leads nowhere"),
    "a huge file": (make_huge, "too large"),
    "a link to a huge file": (link_to_a_huge_file, "too large"),
}
odd = pytest.mark.parametrize(("make", "why"), ODD.values(), ids=ODD)


def plant(folder: Path, make: Callable[[Path], None]) -> Path:
    """A ledger with a sound measurement, and something odd under the name of another."""
    Ledger(folder).put(KINDS["tuning"])
    path = folder / "measurements" / SAMPLE.digest[:2] / f"{SAMPLE.digest}.json"
    path.parent.mkdir(exist_ok=True)
    make(path)
    return path


@odd
def test_a_ledgers_commands_pass_it_over_with_one_line(
    make: Callable[[Path], None], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plant(tmp_path / "l", make)
    assert ledger_main(["list", str(tmp_path / "l")]) == 0
    assert f"not to be trusted ({why}): {path}\n" in (said := capsys.readouterr().out)
    assert "measurements: 1, " in said
    assert ledger_main(["merge", str(tmp_path / "into"), str(tmp_path / "l")]) == 0
    assert f"left out, not to be trusted ({why}): {path}\ntaken 1, known 0" in capsys.readouterr().out
    assert ledger_main(["export", str(tmp_path / "l"), "--out", str(tmp_path / "arms.csv")]) == 0
    assert capsys.readouterr().err == f"left out, not to be trusted ({why}): {path}\n"
    assert len((tmp_path / "arms.csv").read_text().splitlines()) == 1 + 1
    assert [s.measurement.digest for s in read_ledger(tmp_path / "into") if s.measurement] == [KINDS["tuning"].digest]


@odd
def test_pruning_removes_it_unless_it_is_a_folder(
    make: Callable[[Path], None], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plant(tmp_path / "l", make)
    assert ledger_main(["prune", str(tmp_path / "l"), "--yes"]) == 0
    said = capsys.readouterr().out
    if why == "a folder":
        assert f"left where it is, a folder: {path}\nremoved: nothing\n" in said
        assert (path / "something of somebody's").exists()
    else:
        assert f"not to be trusted: {why}: {path}" in said
        assert not os.path.lexists(path)


@odd
def test_a_session_sets_it_aside_and_measures(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    path = plant(tmp_path / "l", make)
    ledger = Ledger(tmp_path / "l")
    assert ledger.get(INVERSION) is None
    ledger.put(SAMPLE)
    assert repr(ledger.get(INVERSION)) == repr(SAMPLE)
    assert not path.is_symlink()
    if why == "a link that leads nowhere":  # replaced: nothing is lost with it
        assert ledger.list_untrusted() == []
        return
    (line,) = ledger.list_untrusted()
    assert line == (
        f"ledger: got {path.name} ({why}), not to be trusted, expected measurements of this version; "
        f"they are set aside in {tmp_path / 'l' / 'aside'}, and measured again"
    )
    (aside,) = (tmp_path / "l" / "aside").iterdir()
    assert aside.name == f"{SAMPLE.digest}.0.{why.replace(' ', '-')}.json"


@odd
def test_beside_another_ledger_it_is_left_where_it_is(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    path = plant(tmp_path / "other", make)
    ledger = Ledger(tmp_path / "own", [tmp_path / "other"])
    assert ledger.get(INVERSION) is None
    assert os.path.lexists(path)
    assert not (tmp_path / "own" / "aside").exists()
    lines = ledger.list_untrusted()
    assert [f"({why}), not to be trusted" in line for line in lines] == [True] * (why != "a link that leads nowhere")


def test_a_session_says_what_it_set_aside(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", procedure=Inverses())
    digest = digest_of(PseudoInverseArm(subject="none", source="none", matrix="random:40x8:rank=8:seed=0"))
    path = pytester.path / ".ledger" / "measurements" / digest[:2] / f"{digest}.json"
    path.parent.mkdir(parents=True)
    make_pipe(path)
    result = run_session(pytester)
    assert result.ret == 0
    (line,) = [line for line in result.outlines if "not to be trusted" in line]
    assert line.startswith(f"ledger: got {path.name} (no file), not to be trusted, expected measurements")
    assert path.is_file()


NAMES = {
    "a line break": b"a\nb.json",
    "no text": b"\xff\xfe.json",
    "an escape": b"\x1b[31mred.json",
    "a network's leftover": b".nfs0000000000000001.json",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_file_of_any_name_is_one_line(name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(tmp_path).put(SAMPLE)
    folder = tmp_path / "measurements" / SAMPLE.digest[:2]
    Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(b"{}")
    (folder / "left.tmp").touch()
    assert ledger_main(["list", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.startswith("not to be trusted (unreadable): ")]) == 1
    assert said.isprintable() is False  # its line ends
    assert said.replace("\n", "").isprintable()


# Reports.


@odd
def test_a_report_passes_it_over_among_its_runs(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    records, told = make_records()[:2], list[str]()
    kept = keep_run(records, tmp_path)
    make(tmp_path / "runs" / "2026-01-01T000000Z_0000000.jsonl")
    assert [run.source for run in read_runs([tmp_path], warn=told.append)] == [kept.name]
    assert finish_report(records, tmp_path, tell=told.append)
    assert told[0] == told[1]
    assert told[0].startswith("history: got unreadable 2026-01-01T000000Z_0000000.jsonl, expected runs")
    assert (tmp_path / "index.html").is_file(), why


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "records": (read_records, LedgerError),
    "verdicts": (read_verdicts, LedgerError),
    "registrations": (read_lock, LedgerError),
    "a bench run": (read_bench, UsageError),
    "a calibration": (read_calibration, UsageError),
}


@odd
@pytest.mark.parametrize(("read", "refusal"), READERS.values(), ids=READERS)
def test_a_file_that_was_asked_for_is_refused_in_one_line(
    read: Callable[[Path], object], refusal: type[Exception], make: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    make(path := tmp_path / "asked")
    with pytest.raises(refusal) as caught:
        read(path)
    assert str(path) in str(caught.value), why
    assert "\n" not in str(caught.value)


@odd
def test_verdicts_that_are_no_file_are_an_error_and_not_another_folders(
    make: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    """Passed over, a claim would be held against nothing, and a drift be green."""
    claim = tmp_path / "inner" / "test_claim.py"
    claim.parent.mkdir()
    write_verdict(tmp_path, "refuted")
    make(claim.with_name("verdicts.toml"))
    assert find_nearest("verdicts.toml", claim, tmp_path) == claim.with_name("verdicts.toml"), why


def test_verdicts_that_are_no_file_fail_the_session_in_one_line_each(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    make_pipe(pytester.path / "verdicts.toml")
    assert run_session(pytester).ret == 3
    (record,) = read_session(pytester)
    assert record.outcome == "error"
    assert record.sentence.startswith(f"{pytester.path / 'verdicts.toml'}: got a pipe, not a file, expected TOML")


def test_registering_reads_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_claim(tmp_path, "supported")
    make_folder(tmp_path / "folder.py")
    make_pipe(tmp_path / "pipe.py")
    make_loop(tmp_path / "loop.py")
    assert register_main([str(tmp_path)]) == 0
    assert "1 new" in capsys.readouterr().out


@odd
def test_merged_shares_refuse_it_in_one_line(
    make: Callable[[Path], None], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.commands.report import main as report_main

    make(tmp_path / "records.jsonl")
    keep_run(make_records()[:2], tmp_path / "sound")
    (sound,) = (tmp_path / "sound" / "runs").iterdir()
    arguments = ["render", str(sound), str(tmp_path / "records.jsonl"), "--out", str(tmp_path / "merged")]
    assert report_main(arguments) == 4
    assert (said := capsys.readouterr().err).count("\n") == 1, why
    assert str(tmp_path / "records.jsonl") in said
