"""The ledger gives back what it was given, trusts nothing else, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.arms.measurement import SCHEMA, Measurement, digest_of
from engine.errors import LedgerError
from engine.experiments.inversion.arm import Stop
from engine.experiments.tuning.arm import StepOutcome, TuningResult
from engine.ledger import Ledger
from engine.tests.disks import read_only
from engine.tests.planted import (
    INF,
    INVERSION,
    NAN,
    PSEUDO_INVERSE,
    ROUND_TRIP,
    TUNING,
    UNITS,
    make_inverse,
    make_inversion,
    make_measurement,
    make_outcome,
    make_round_trip,
    make_run,
)

RUNS = (
    make_run(UNITS[0], hit=7),
    make_run(UNITS[1], recovery=0.1 + 0.2, final_distance=NAN, stop=Stop.DIVERGED),
)
OUTCOMES: tuple[StepOutcome, ...] = (
    make_outcome(0.25, [None, 3], INF),
    make_outcome(0.5, [1, 2], 5e-324),
    make_outcome(1.0, [None, None], 1.7976931348623157e308, lost=True),
)
KINDS = {
    "inversion": make_measurement(INVERSION, make_inversion(RUNS)),
    "infinite curve": make_measurement(INVERSION, make_inversion([make_run(u, final_distance=INF) for u in UNITS])),
    "below zero": make_measurement(INVERSION, make_inversion([make_run(u, final_distance=-INF) for u in UNITS])),
    "tuning": make_measurement(TUNING, TuningResult(outcomes=OUTCOMES, read_to=40)),
    "round trip": make_measurement(ROUND_TRIP, make_round_trip(2)),
    "pseudo-inverse": make_measurement(PSEUDO_INVERSE, make_inverse(difference=NAN, excess=INF)),
}
SAMPLE = KINDS["inversion"]


def find_file(ledger: Ledger) -> Path:
    (path,) = (ledger.folder / "measurements").rglob("*.json")
    return path


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    envelope = json.loads(path.read_text(encoding="utf-8"))
    change(envelope)
    path.write_text(json.dumps(envelope), encoding="utf-8")


@pytest.mark.parametrize("measurement", KINDS.values(), ids=KINDS)
def test_every_kind_of_result_comes_back_as_it_was(measurement: Measurement, tmp_path: Path) -> None:
    Ledger(tmp_path).put(measurement)
    again = Ledger(tmp_path).get(measurement.arm)
    # repr shows every digit of every number, and NaN equals NaN in it.
    assert repr(again) == repr(measurement)
    assert again is not None
    assert again.content() == measurement.content()
    assert measurement.arm in Ledger(tmp_path)


def test_the_stored_file_is_plain_json(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(KINDS["pseudo-inverse"])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    json.loads(find_file(ledger).read_text(encoding="utf-8"), parse_constant=refuse)


def test_an_arm_that_was_not_measured_is_not_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)
    assert ledger.get(TUNING) is None
    assert ledger.get(replace(INVERSION, step=0.25)) is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00" + path.read_bytes())


def double(path: Path) -> None:
    path.write_bytes(2 * path.read_bytes())


def age(path: Path) -> None:
    rewrite(path, lambda envelope: envelope.update(schema=0))


def renew(path: Path) -> None:
    rewrite(path, lambda envelope: envelope.update(schema=SCHEMA + 1))


def lose_number(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"]["runs"][0].update(recovery=NAN))


def exceed(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"]["runs"][0].update(hit=INF))


def take_for_ever(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"].update(elapsed_s=INF))


def take_no_number(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"].update(elapsed_s="nan"))


def end_before_it_began(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"].update(elapsed_s=-1.0))


def alter(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"]["runs"][0].update(hit=8))


def alter_last_digit(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"]["runs"][1].update(recovery=0.3))


def alter_setting(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["arm"].update(step=0.25))


def misname(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"]["runs"][0].update(hit="soon"))


def drop(path: Path) -> None:
    rewrite(path, lambda envelope: envelope["measurement"]["result"].pop("runs"))


def listed(path: Path) -> None:
    path.write_text("[1, 2]")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(cut, "unreadable", id="cut in the middle"),
        pytest.param(empty, "unreadable", id="empty"),
        pytest.param(scramble, "unreadable", id="not text"),
        pytest.param(listed, "unreadable", id="a list"),
        pytest.param(nested, "unreadable", id="nested without end"),
        pytest.param(double, "unreadable", id="twice in one file"),
        pytest.param(age, "other-schema", id="an older schema"),
        pytest.param(renew, "other-schema", id="a newer schema"),
        pytest.param(misname, "invalid", id="a word for a number"),
        pytest.param(drop, "invalid", id="a field gone"),
        pytest.param(alter, "altered", id="altered number"),
        pytest.param(alter_last_digit, "altered", id="altered last digit"),
        pytest.param(alter_setting, "other-arm", id="altered setting"),
        pytest.param(lose_number, "altered", id="NaN for a finite number"),
        pytest.param(exceed, "invalid", id="infinity for a count"),
        pytest.param(take_for_ever, "invalid", id="an infinite duration"),
        pytest.param(take_no_number, "invalid", id="NaN for a duration"),
        pytest.param(end_before_it_began, "invalid", id="a negative duration"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_set_aside_as_it_is(
    damage: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)
    path = find_file(ledger)
    damage(path)
    damaged = path.read_bytes()
    assert ledger.get(INVERSION) is None
    assert not path.exists()
    (kept,) = (tmp_path / "aside").iterdir()
    assert kept.name == f"{SAMPLE.digest}.0.{reason}.json"
    assert kept.read_bytes() == damaged
    ledger.put(SAMPLE)
    assert repr(ledger.get(INVERSION)) == repr(SAMPLE)


def test_a_second_damaged_file_does_not_replace_the_first_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for _ in range(2):
        ledger.put(SAMPLE)
        cut(find_file(ledger))
        assert ledger.get(INVERSION) is None
    assert sorted(p.name for p in (tmp_path / "aside").iterdir()) == [
        f"{SAMPLE.digest}.{number}.unreadable.json" for number in (0, 1)
    ]


def test_a_record_under_another_arms_name_is_set_aside(tmp_path: Path) -> None:
    ledger, other = Ledger(tmp_path), replace(INVERSION, step=0.25)
    ledger.put(SAMPLE)
    digest = digest_of(other)
    place = tmp_path / "measurements" / digest[:2] / f"{digest}.json"
    place.parent.mkdir(exist_ok=True)
    find_file(ledger).rename(place)
    assert ledger.get(other) is None
    assert [p.name for p in (tmp_path / "aside").iterdir()] == [f"{digest}.0.other-arm.json"]


def test_a_file_that_another_worker_set_aside_first_is_only_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)
    cut(find_file(ledger))
    replace_file = os.replace

    def come_second(source: Path, target: Path) -> None:
        replace_file(source, target)
        replace_file(source, target)  # raises: the file is gone

    monkeypatch.setattr(os, "replace", come_second)
    assert ledger.get(INVERSION) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)
    before = find_file(ledger).read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(LedgerError, match=r"^ledger: got .*No space left on device, expected room .*; free some space"):
        ledger.put(replace(SAMPLE, result=make_inversion(RUNS[:1])))
    assert find_file(ledger).read_bytes() == before
    assert [p.name for p in (tmp_path / "measurements").rglob("*.*")] == [find_file(ledger).name]


def test_what_a_killed_session_left_of_an_arm_is_cleared_once_the_arm_is_held(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)
    path = find_file(ledger)
    left, others = path.with_name(f"{path.stem}.a1b2.unfinished"), path.with_name("another.c3d4.unfinished")
    for unfinished in (left, others):
        unfinished.write_bytes(path.read_bytes()[:100])
    ledger.put(SAMPLE)
    assert left.exists()  # it may be what another machine is just writing
    with ledger.lock_arm(INVERSION):
        pass
    assert sorted(path.parent.iterdir()) == sorted([path, others])


FULL_DISK = """
import resource, sys
from pathlib import Path
from engine.errors import LedgerError
from engine.ledger import Ledger
from engine.tests.ledger.test_ledger import SAMPLE
ledger = Ledger(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    ledger.put(SAMPLE)
except LedgerError as error:
    print(error)
"""


def test_a_disk_that_is_full_half_way_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="file size limits exist on Unix only")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("ledger: got ")
    assert len(told.splitlines()) == 1
    assert not [p for p in (tmp_path / "measurements").rglob("*") if p.is_file()]


@pytest.mark.parametrize("place", ["file", "file/below", "file/a/b"])
def test_a_folder_that_cannot_be_made_is_one_line(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        LedgerError, match=r"^--ledger: got .*, expected a folder that can be written; choose"
    ) as caught:
        Ledger(tmp_path / place)
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    Ledger(tmp_path)
    with (
        read_only(tmp_path / "measurements"),
        pytest.raises(
            LedgerError, match=r"^--ledger: got .*(Permission denied|Read-only file system), expected a folder"
        ),
    ):
        Ledger(tmp_path)


def test_a_stored_file_that_the_disk_does_not_give_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(SAMPLE)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("engine.ledger.store.read_whole", fail)
    with pytest.raises(LedgerError, match=r"^ledger: got .*, expected a readable file; fix its permissions"):
        ledger.get(INVERSION)


def test_ledgers_merge_by_copying_files(tmp_path: Path) -> None:
    kinds = ("inversion", "tuning", "round trip", "pseudo-inverse")
    for folder, names in (("one", kinds[:2]), ("other", kinds[1:])):
        for name in names:
            Ledger(tmp_path / folder).put(KINDS[name])
    shutil.copytree(tmp_path / "one" / "measurements", tmp_path / "both" / "measurements")
    shutil.copytree(tmp_path / "other" / "measurements", tmp_path / "both" / "measurements", dirs_exist_ok=True)
    both = Ledger(tmp_path / "both")
    assert [repr(both.get(KINDS[name].arm)) for name in kinds] == [repr(KINDS[name]) for name in kinds]


OTHER = replace(SAMPLE, result=make_inversion(RUNS[:1]))
"""Another measurement of the same arm."""


def test_every_ledger_is_read_and_only_the_first_written(tmp_path: Path) -> None:
    Ledger(tmp_path / "a").put(SAMPLE)
    Ledger(tmp_path / "b").put(OTHER)
    Ledger(tmp_path / "c").put(KINDS["tuning"])
    ledger = Ledger(tmp_path / "a", [tmp_path / "b", tmp_path / "c"])
    assert repr(ledger.get(INVERSION)) == repr(SAMPLE)  # the first ledger wins
    assert repr(Ledger(tmp_path / "empty", [tmp_path / "b", tmp_path / "a"]).get(INVERSION)) == repr(OTHER)
    assert repr(ledger.get(TUNING)) == repr(KINDS["tuning"])
    assert ledger.get(ROUND_TRIP) is None
    ledger.put(KINDS["round trip"])
    assert sorted(path.name for path in (tmp_path / "a" / "measurements").rglob("*.json")) == sorted(
        f"{digest_of(arm)}.json" for arm in (INVERSION, ROUND_TRIP)
    )
    assert len(list((tmp_path / "c" / "measurements").rglob("*.json"))) == 1


def test_a_file_of_another_ledger_that_cannot_be_trusted_stays_where_it_is(tmp_path: Path) -> None:
    other = Ledger(tmp_path / "b")
    other.put(SAMPLE)
    cut(path := find_file(other))
    before = sorted((tmp_path / "b").rglob("*"))
    assert Ledger(tmp_path / "a", [tmp_path / "b"]).get(INVERSION) is None
    assert sorted((tmp_path / "b").rglob("*")) == before
    Ledger(tmp_path / "c").put(OTHER)
    assert repr(Ledger(tmp_path / "a", [tmp_path / "b", tmp_path / "c"]).get(INVERSION)) == repr(OTHER)
    assert path.exists()


def test_a_damaged_file_of_the_first_ledger_is_set_aside_and_the_second_asked(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "a")
    first.put(SAMPLE)
    cut(find_file(first))
    Ledger(tmp_path / "b").put(OTHER)
    assert repr(Ledger(tmp_path / "a", [tmp_path / "b"]).get(INVERSION)) == repr(OTHER)
    assert len(list((tmp_path / "a" / "aside").iterdir())) == 1


def test_another_ledger_needs_no_more_than_its_measurements(tmp_path: Path) -> None:
    Ledger(tmp_path / "b").put(SAMPLE)
    (tmp_path / "b" / "locks").rmdir()
    ledger = Ledger(tmp_path / "a", [tmp_path / "b"])
    with ledger.lock_arm(INVERSION):
        assert INVERSION in ledger
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["measurements"]


@pytest.mark.parametrize("place", ["absent", "empty", "file"])
def test_another_ledger_that_is_none_is_one_line(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"^--ledger: got .*, expected a ledger to read besides .*; check the path"):
        Ledger(tmp_path / "a", [tmp_path / place])


TWO_WORKERS = """
import sys, time
from pathlib import Path
from engine.running.scheduler import Scheduler, NoProgress
from engine.running.executors.base import Sequential
from engine.ledger import Ledger
from engine.tests.planted import INVERSION, TUNING
from engine.tests.ledger.test_ledger import KINDS
from engine.tests.running.test_scheduler import Ask, make_job

class Slow(Sequential):
    def run(self, arm):
        with Path(sys.argv[2]).open("a") as file:
            file.write(arm.kind + "\\n")
        time.sleep(0.5)
        return KINDS[arm.kind]

job = make_job(Ask(asks=((INVERSION, TUNING),)))
Path(sys.argv[3]).touch()
while not Path(sys.argv[4]).exists():
    time.sleep(0.01)
Scheduler(Ledger(Path(sys.argv[1])), Slow, progress=NoProgress()).run([job])
assert job.evidence is not None, job.error
print([m.content() for m in job.evidence.measurements])
"""


def test_two_processes_on_one_ledger_measure_an_arm_once(tmp_path: Path) -> None:
    told, ready = tmp_path / "measured", (tmp_path / "ready 0", tmp_path / "ready 1")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_WORKERS, *map(str, (tmp_path / "ledger", told, ready[k], ready[1 - k]))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in (0, 1)
    ]
    answers = {worker.communicate(timeout=60)[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(told.read_text().split()) == ["inversion", "tuning"]
    assert answers == {str([KINDS["inversion"].content(), KINDS["tuning"].content()]) + "\n"}
