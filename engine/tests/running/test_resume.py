"""A session that is killed, interrupted or not alone ends with the numbers of one that had its peace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from filelock import FileLock, Timeout
from transformers import GPT2Config, GPT2LMHeadModel

from engine.models.tokenizers import missing_gpt2_vocabulary
from engine.records import Record, read_records
from engine.tests.measured import (
    Inverses,
    date_files,
    end,
    plant_folder,
    read_contents,
    start_session,
    stored_in,
    wait_for,
)

CLAIM = """
from engine import CONTROLLED, PAGE, Above, Claim, HitRatio, Inversions, Sample, Stack, Units, Verdict

GRID = (0.01, 0.02, 0.04)
CLAIM = Claim(
    id="T03",
    section="none",
    sentence="The head makes it slower.",
    estimand="ratio of hits",
    document="nothing",
    procedure=Inversions(
        samples=(
            ("head", Sample(stack=Stack(blocks=1, head=True), iterations=40, grid=GRID)),
            ("open", Sample(stack=Stack(blocks=2), iterations=40, weights="random", grid=GRID)),
        ),
        estimates=(HitRatio(name="ratio", slow="head", fast="open"),),
    ),
    criteria=(Above("ratio", 1, because="a test"),),
    subjects=("gpt2-untrained",),
    protocols=(PAGE, CONTROLLED),
    units=Units(smoke=4),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill a process outright"),
]

LONG = Inverses(size="3000x250", arms=(16, 16))
"""Arms of some tenths of a second."""

KILLS = 15
WRITES = ("half written", "not yet in place", "in place")
MOMENTS = ("at any time", *3 * ("while it measures",), *WRITES)
"""What a kill is drawn from. A session starts for longer than it measures here, so that most are drawn for later."""


# Killed.


def kill_session(folder: Path, ledger: Path, draw: random.Random) -> str:
    """Start a session and kill it at a moment that is drawn; what it was at then."""
    moment, before = draw.choice(MOMENTS), len(stored_in(ledger))
    if moment in WRITES:
        process = start(folder, ledger, DIE_AT=f"{moment}:{draw.randint(1, 4)}")
        code, said = end(process)
        assert code == -signal.SIGKILL, said
        return "writing"
    process = start(folder, ledger)
    if moment == "while it measures":
        wait_for(lambda: len(stored_in(ledger)) > before, process)
        time.sleep(draw.uniform(0, 1))
    else:
        time.sleep(draw.uniform(0, 8))
    process.send_signal(signal.SIGSTOP)  # so that what is seen is what is killed
    doing = look_at(ledger, before)
    process.kill()
    end(process)
    return doing


def look_at(ledger: Path, before: int) -> str:
    """What a session is at that has stopped: measuring (an arm behind its first one), or neither."""
    under_way = any(is_held(path) for path in (ledger / "locks").glob("*.lock"))
    return "measuring" if under_way and len(stored_in(ledger)) > before else "neither"


def is_held(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


@pytest.fixture(name="own", scope="module")
def provide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Claims of one's own, of which one tunes before it measures, and a tiny model with GPT-2's vocabulary."""
    folder = plant_folder(tmp_path_factory.mktemp("own"), {"C91": LONG})
    (folder / "test_own.py").write_text(CLAIM)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, initializer_range=0.1))
    model.save_pretrained(folder / "tiny")
    return folder


@pytest.mark.skipif(missing_gpt2_vocabulary() is not None, reason=str(missing_gpt2_vocabulary()))
def test_a_session_killed_time_and_again_ends_with_the_numbers_of_one_that_never_was(own: Path) -> None:
    # Starting takes longest and keeps one core busy: two such histories at once take the time of one.
    ledgers = [own / "killed", own / "killed as well"]
    with ThreadPoolExecutor() as both:
        fell = sum(both.map(kill_time_and_again, [own] * 2, ledgers, (20, 21)), Counter[str]())
    code, said = end(start(own, whole := own / "whole"))
    assert code == 0, said
    for killed in ledgers:
        assert read_contents(killed) == read_contents(whole)
        assert judged(killed) == judged(whole)
    print(f"Kills by what a session was at: {dict(fell)}")  # pytest -rP shows it
    assert fell.total() >= 30
    assert fell["measuring"] + fell["writing"] >= fell.total() / 2, fell


def kill_time_and_again(folder: Path, ledger: Path, seed: int) -> Counter[str]:
    """Sessions on one ledger, of which all but the last are killed; what they were at then."""
    draw, fell = random.Random(seed), Counter[str]()  # noqa: S311 (nothing is kept secret)
    for _ in range(KILLS):
        before = date_files(ledger)
        fell[kill_session(folder, ledger, draw)] += 1
        after = date_files(ledger)
        assert {digest: after[digest] for digest in before} == before
        read_contents(ledger)  # raises for a file that is not a whole measurement
    code, said = end(start(folder, ledger))
    assert code == 0, said
    assert len(date_files(ledger)) > len(after), "the last kills came too late to show anything"
    assert not (ledger / "aside").exists()
    assert not list(ledger.rglob("*.unfinished"))
    return fell


def start(folder: Path, ledger: Path, **environment: str) -> subprocess.Popen[str]:
    """A session of the folder's claims on its model, with a report beside the ledger."""
    options = ("--subject", f"local:{folder / 'tiny'}", "--report-dir", f"{ledger}-report", "--workers", "1")
    return start_session(folder, ledger, *options, **environment)


def judged(ledger: Path) -> list[Record]:
    """What a session judged, without when and where it did."""
    records = read_records(ledger.with_name(f"{ledger.name}-report") / "records.jsonl")
    return [replace(record, session=None, provenance=None, cost_s=0.0) for record in records]


# Interrupted.

MANY = replace(LONG, arms=(30, 30))


@pytest.fixture(name="two")
def provide_two(tmp_path: Path) -> Path:
    """A claim that is measured in no time, and one that is not."""
    return plant_folder(tmp_path / "two", {"C91": Inverses(), "C92": MANY})


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """What Ctrl-C does in a terminal: its workers are interrupted as well."""
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    ended = end(process)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    return ended


@pytest.mark.parametrize("executor", ["pool", "inline"])
def test_an_interrupted_session_reports_what_it_measured_and_the_next_goes_on(two: Path, executor: str) -> None:
    ledger, report = two / "ledger", two / "reports" / "latest"
    process = start_session(two, ledger, "--executor", executor)
    wait_for(lambda: len(stored_in(ledger)) > 4, process)
    code, said = interrupt(process)
    assert code == pytest.ExitCode.INTERRUPTED, said
    assert "not measured, and left out: 1 of 2 items; run the same command to resume" in said
    assert "Traceback" not in said
    assert [(r.claim, r.outcome) for r in read_records(report / "records.jsonl")] == [("C91", "passed")]
    assert (report / "index.html").is_file()
    assert not list(ledger.rglob("*.unfinished"))
    before = date_files(ledger)
    read_contents(ledger)

    code, said = end(start_session(two, ledger, "--executor", executor))
    assert code == 0, said
    after = date_files(ledger)
    assert {digest: after[digest] for digest in before} == before
    assert len(after) == sum(MANY.arms) + 2
    assert [r.claim for r in read_records(report / "records.jsonl")] == ["C91", "C92"]


def test_a_session_interrupted_while_its_workers_start_says_so_and_nothing_else(two: Path) -> None:
    ledger = two / "ledger"
    process = start_session(two, ledger)
    wait_for(lambda: any((ledger / "locks").glob("*.lock")), process)
    time.sleep(0.2)  # a worker needs seconds until it can measure
    code, said = interrupt(process)
    assert code == pytest.ExitCode.INTERRUPTED, said
    assert "not measured, and left out: 2 of 2 items" in said
    assert "Traceback" not in said
    assert not (two / "reports").exists()


# Not alone.


def test_two_sessions_on_one_ledger_share_the_work_and_agree(two: Path) -> None:
    ledger, notes = two / "ledger", two / "stored"
    sessions = [start_session(two, ledger, STORED=str(notes)) for _ in range(2)]
    for session in sessions:
        code, said = end(session)
        assert code == 0, said
    stored = [line.split() for line in notes.read_text().splitlines()]
    assert sorted(digest for _, digest in stored) == sorted(stored_in(ledger))
    assert {int(process) for process, _ in stored} == {session.pid for session in sessions}
    one, other = (read_records(path) for path in (two / "reports" / "latest" / "runs").glob("*.jsonl"))
    assert [replace(r, session=None) for r in one] == [replace(r, session=None) for r in other]
