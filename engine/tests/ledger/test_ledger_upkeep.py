"""Whole ledgers: looked through, brought together without a loss, tidied only when told to."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from engine.arms.arm import weights_of
from engine.arms.measurement import Measurement, digest_of
from engine.commands.ledger import main
from engine.ledger import Ledger
from engine.ledger.maintenance import find_leftovers, merge, read_ledger
from engine.tests.ledger.test_ledger import KINDS, OTHER, SAMPLE
from engine.tests.planted import INVERSION, TUNING

NAMES = ("inversion", "tuning", "round trip")


def make_ledger(folder: Path, *measurements: Measurement) -> Path:
    ledger = Ledger(folder)
    for measurement in measurements:
        ledger.put(measurement)
    return folder


def path_of(folder: Path, measurement: Measurement) -> Path:
    digest = digest_of(measurement.arm)
    return folder / "measurements" / digest[:2] / f"{digest}.json"


def holds(folder: Path) -> dict[str, str]:
    return {s.measurement.digest: repr(s.measurement) for s in read_ledger(folder) if s.measurement is not None}


def test_a_merge_is_a_union_and_leaves_its_sources_alone(tmp_path: Path) -> None:
    one = make_ledger(tmp_path / "one", KINDS["inversion"], KINDS["tuning"])
    other = make_ledger(tmp_path / "other", KINDS["tuning"], KINDS["round trip"])
    before = {path: path.read_bytes() for path in (*one.rglob("*.json"), *other.rglob("*.json"))}
    done = merge(tmp_path / "both", [one, other])
    assert holds(tmp_path / "both") == {digest_of(KINDS[name].arm): repr(KINDS[name]) for name in NAMES}
    assert [len(part) for part in (done.taken, done.known, done.differing, done.refused)] == [3, 1, 0, 0]
    assert {path: path.read_bytes() for path in before} == before


def test_a_merge_keeps_what_is_there_and_says_where_numbers_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into, other = make_ledger(tmp_path / "into", SAMPLE), make_ledger(tmp_path / "other", OTHER)
    assert main(["merge", str(into), str(other)]) == 0
    assert holds(into) == {SAMPLE.digest: repr(SAMPLE)}
    said = capsys.readouterr().out
    assert f"kept as it was, other numbers were measured at {OTHER.provenance.measured_at}: {OTHER.digest}" in said
    assert "taken 0, known 0, differing 1, left out 0" in said


def test_the_same_numbers_from_another_run_are_known(tmp_path: Path) -> None:
    again = replace(SAMPLE, elapsed_s=99.0, provenance=replace(SAMPLE.provenance, machine="another"))
    into = make_ledger(tmp_path / "into", SAMPLE)
    done = merge(into, [make_ledger(tmp_path / "other", again)])
    assert repr(done.known) == repr([again])  # NaN equals NaN in it
    assert holds(into) == {SAMPLE.digest: repr(SAMPLE)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"{", "unreadable", id="cut"),
        pytest.param(b'{"schema": 99, "content": "", "measurement": {}}', "other-schema", id="of a newer schema"),
        pytest.param(b'{"schema": 1, "content": "", "measurement": {}}', "invalid", id="without an arm"),
    ],
)
def test_what_cannot_be_trusted_is_named_and_not_taken(
    content: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_ledger(tmp_path / "other", SAMPLE, KINDS["tuning"])
    (path := path_of(other, SAMPLE)).write_bytes(content)
    assert main(["merge", str(tmp_path / "into"), str(other)]) == 0
    assert f"left out, not to be trusted ({reason}): {path}" in capsys.readouterr().out
    assert holds(tmp_path / "into") == {digest_of(TUNING): repr(KINDS["tuning"])}
    assert path.read_bytes() == content


def test_a_measurement_under_another_name_is_not_taken(tmp_path: Path) -> None:
    other = make_ledger(tmp_path / "other", SAMPLE)
    path_of(other, SAMPLE).rename(path_of(other, SAMPLE).with_name(f"{'0' * 40}.json"))
    assert [stored.reason for stored in merge(tmp_path / "into", [other]).refused] == ["other-arm"]


def test_of_sources_one_of_which_is_no_ledger_nothing_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_ledger(tmp_path / "other", SAMPLE)
    assert main(["merge", str(tmp_path / "into"), str(other), str(tmp_path / "absent")]) == 4
    said = capsys.readouterr().err
    assert said.startswith("ledger: got ")
    assert said.count("\n") == 1
    assert not (tmp_path / "into").exists()


def test_a_list_counts_and_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_ledger(tmp_path / "l", *(KINDS[name] for name in NAMES))
    assert main(["list", str(folder), "--arms"]) == 0
    said = capsys.readouterr().out
    # Three of 1.5 s each; and 4.5 is rounded to the even number.
    assert "measurements: 3, 4 s of measuring, from 2026-01-02T03:04:05+00:00 to 2026-01-02T03:04:05+00:00" in said
    for name in NAMES:
        assert KINDS[name].digest[:10] in said
    head, first = said.splitlines()[len(NAMES) : len(NAMES) + 2]
    assert head.split() == ["subject", "kind", "device", "arms", "time", "measured"]
    # Each heading ends or begins where its column does.
    assert head.index("kind") == first.index(first.split()[1])
    assert len(head) == len(first)


def test_an_empty_ledger_is_listed_as_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(make_ledger(tmp_path / "l"))]) == 0
    assert capsys.readouterr().out == "measurements: 0, 0 s of measuring\n"


def test_pruning_removes_nothing_unless_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_ledger(tmp_path / "l", SAMPLE, KINDS["tuning"])
    path_of(folder, SAMPLE).write_bytes(b"{")
    (unfinished := path_of(folder, SAMPLE).with_suffix(".abc.unfinished")).touch()
    lock, aside = folder / "locks" / f"{digest_of(TUNING)}.lock", folder / "aside" / f"{'0' * 40}.0.altered.json"
    aside.parent.mkdir()
    for path in (lock, aside):
        path.touch()
    leftovers = [path_of(folder, SAMPLE), unfinished, lock, aside]
    assert main(["prune", str(folder)]) == 0
    said = capsys.readouterr().out
    for words in ("not to be trusted: unreadable", "never finished", "set aside: altered", "1 lock that nobody holds"):
        assert words in said
    assert all(path.exists() for path in leftovers)
    assert main(["prune", str(folder), "--yes"]) == 0
    assert not any(path.exists() for path in leftovers)
    assert holds(folder) == {digest_of(TUNING): repr(KINDS["tuning"])}


def test_what_a_session_holds_is_left(tmp_path: Path) -> None:
    folder = make_ledger(tmp_path / "l", SAMPLE)
    path_of(folder, SAMPLE).with_suffix(".abc.unfinished").touch()
    with FileLock(folder / "locks" / f"{SAMPLE.digest}.lock"):
        assert find_leftovers(folder) == []
    assert {leftover.why for leftover in find_leftovers(folder)} == {"never finished", "lock that nobody holds"}


def test_measurements_go_by_subject_and_by_age_only_when_asked(tmp_path: Path) -> None:
    old = replace(SAMPLE, provenance=replace(SAMPLE.provenance, measured_at="2025-01-01T00:00:00+00:00"))
    folder = make_ledger(tmp_path / "l", old, KINDS["tuning"])
    both = (old, KINDS["tuning"])
    subject = weights_of(TUNING)[0]
    assert find_leftovers(folder) == []
    assert [x.path for x in find_leftovers(folder, before="2026-01-01")] == [path_of(folder, old)]
    found = find_leftovers(folder, subjects=[subject])
    assert {x.path for x in found} == {path_of(folder, m) for m in both if weights_of(m.arm)[0] == subject}
    assert find_leftovers(folder, subjects=["another"]) == []


def test_an_export_has_a_row_for_each_measurement(tmp_path: Path) -> None:
    folder = make_ledger(tmp_path / "l", *(KINDS[name] for name in NAMES))
    assert main(["export", str(folder), "--out", str(tmp_path / "arms.csv")]) == 0
    with (tmp_path / "arms.csv").open(newline="") as file:
        rows = {row["kind"]: row for row in csv.DictReader(file)}
    assert rows.keys() == set(NAMES)
    row = rows["inversion"]
    assert row["digest"] == digest_of(INVERSION)
    assert row["content"] == SAMPLE.content()
    assert (row["subject"], row["source"]) == weights_of(INVERSION)
    assert row["iterations"] == str(INVERSION.settings.iterations)
    assert row["units"] == str(len(INVERSION.units))
    assert row["elapsed_s"] == "1.5"
    assert rows["round trip"]["stack"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "ledger: got ", id="no command"),
        pytest.param(["lose"], "list, merge, prune or export", id="another command"),
        pytest.param(["list", "absent"], "expected a ledger; check the path; pytest claims makes one", id="no ledger"),
        pytest.param(["prune", "--before", "soon"], "no date like 2026-01-31", id="no date"),
        pytest.param(["export", "{ledger}", "--out", "a.txt"], "ends in .csv or .parquet", id="another format"),
    ],
)
def test_a_wrong_use_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_ledger(tmp_path / "l", SAMPLE)
    assert main([word.format(ledger=folder) for word in words]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
