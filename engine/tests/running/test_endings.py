"""Whatever ends a session, what was measured is judged and reported, and one line and the exit code say so."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.arms.measurement import digest_of
from engine.records import read_records
from engine.running.endings import NAMES, Ended, Endings
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

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a system with signals: run on Linux or macOS")

MANY = Inverses(size="3000x250", arms=(30, 30))
"""Arms of some tenths of a second."""

INLINE = ("--executor", "inline")
WORDS = {
    "SIGTERM": "ended by SIGTERM (as queues and `kill` send it)",
    "SIGHUP": "ended by SIGHUP (its terminal was closed)",
    "SIGQUIT": "ended by SIGQUIT",
    "SIGUSR1": "ended by SIGUSR1",
    "SIGUSR2": "ended by SIGUSR2",
    "SIGXCPU": "ended by SIGXCPU (its allowance of processor time is used up, `ulimit -t`)",
}
FIRST = {digest_of(arm) for arm in Inverses().list_arms()}
LEFT_OUT = "not measured, and left out: 1 of 2 items; run the same command to resume"


@pytest.fixture(name="two")
def provide_two(tmp_path: Path) -> Path:
    """A claim that is measured in no time, and one that is not."""
    return plant_folder(tmp_path / "two", {"C91": Inverses(), "C92": MANY})


def is_under_way(two: Path, more_than: int = 4) -> bool:
    """Whether the first claim is measured, and the other one begun: a worker may be slow to start."""
    stored = stored_in(two / "ledger")
    return set(stored) >= FIRST and len(stored) > more_than


def check_reported(two: Path, code: int, said: str, *, word: str) -> None:
    """What was measured is judged and reported, and what was begun is left whole."""
    assert code == pytest.ExitCode.INTERRUPTED, said
    assert said.count(f"\n{word}\n") == 1, said
    assert LEFT_OUT in said
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    report = two / "reports" / "latest"
    assert [(r.claim, r.outcome) for r in read_records(report / "records.jsonl")] == [("C91", "passed")]
    assert (report / "index.html").is_file()
    read_contents(two / "ledger")  # raises for a file that is not a whole measurement
    assert not list((two / "ledger").rglob("*.unfinished"))


@pytest.mark.parametrize("name", [n if n == "SIGTERM" else pytest.param(n, marks=pytest.mark.slow) for n in WORDS])
def test_a_signal_ends_a_session_in_one_line_with_a_report_of_what_was_measured(two: Path, name: str) -> None:
    process = start_session(two, two / "ledger", *INLINE)
    wait_for(lambda: is_under_way(two), process)
    process.send_signal(signal.Signals[name])
    check_reported(two, *end(process), word=WORDS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_all_processes_of_a_session_ends_it_once(two: Path, name: str) -> None:
    process = start_session(two, two / "ledger")
    wait_for(lambda: is_under_way(two), process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.Signals[name])
    check_reported(two, *end(process), word=WORDS[name])
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'lm-claims[ray]'")
def test_a_signal_ends_a_session_on_a_cluster_as_any_other(two: Path) -> None:
    process = start_session(two, two / "ledger", "--executor", "ray")
    wait_for(lambda: is_under_way(two), process)
    process.send_signal(signal.SIGTERM)
    check_reported(two, *end(process), word=WORDS["SIGTERM"])


@pytest.mark.slow
def test_a_limit_on_processor_time_ends_a_session_before_the_system_kills_it(two: Path) -> None:
    process = start_session(two, two / "ledger", *INLINE, limits=("--cpu=15:15",))
    check_reported(two, *end(process), word=WORDS["SIGXCPU"])


@pytest.mark.slow
def test_signals_that_follow_wait_until_the_report_is_there(two: Path) -> None:
    process = start_session(two, two / "ledger", *INLINE)
    wait_for(lambda: is_under_way(two), process)
    sent = 0
    while process.poll() is None and sent < 1000:
        process.send_signal(signal.SIGUSR1 if sent % 2 else signal.SIGTERM)
        sent += 1
        time.sleep(0.02)
    assert sent > 10, "the session ended before anything could disturb its end"
    check_reported(two, *end(process), word=WORDS["SIGTERM"])


@pytest.mark.slow
def test_a_signal_while_claims_are_collected_ends_the_session_in_one_line(two: Path) -> None:
    (two / "test_z.py").write_text("import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(60)\n")
    process = start_session(two, two / "ledger", *INLINE)
    wait_for((two / "here").exists, process)
    process.send_signal(signal.SIGTERM)
    code, said = end(process)
    assert code == pytest.ExitCode.INTERRUPTED, said
    assert "ended by SIGTERM" in said
    assert "Traceback" not in said
    assert not (two / "reports").exists()


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_costs_its_arm_an_attempt(two: Path) -> None:
    process = start_session(two, two / "ledger")
    wait_for(lambda: is_under_way(two), process)
    workers = [c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())]
    workers[0].terminate()
    code, said = end(process)
    assert code == 0, said
    assert len(date_files(two / "ledger")) == 62


def run_on(two: Path, *options: str, plugins: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    return start_session(two, two / "ledger", *(w for p in plugins for w in ("-p", p)), *options, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["the first process", "all"])
def test_under_xdist_a_signal_leaves_a_report_of_what_was_judged(two: Path, to: str) -> None:
    process = run_on(two, *INLINE, "-n", "2", plugins=("xdist",))
    wait_for(lambda: is_under_way(two, 8), process)
    if to == "all":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    code, said = end(process)
    assert code == pytest.ExitCode.INTERRUPTED, said
    assert said.count(f"\n{WORDS['SIGTERM']}\n") == 1, said
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    assert [r.claim for r in read_records(two / "reports" / "latest" / "records.jsonl")] == ["C91"]


@pytest.mark.slow
def test_under_xdist_a_worker_that_is_ended_costs_its_item_and_fails_the_suite(two: Path) -> None:
    process = run_on(two, *INLINE, "-n", "2", plugins=("xdist",))
    wait_for(lambda: is_under_way(two, 8), process)
    workers = [c for c in psutil.Process(process.pid).children(recursive=True) if sum(c.cpu_times()[:2]) > 1]
    assert len(workers) == 2
    max(workers, key=lambda c: sum(c.cpu_times()[:2])).terminate()
    code, said = end(process)
    assert code == 3, said
    assert "crashed while running 'test_c92.py::test_claim[gpt2-untrained]'" in said
    assert [r.claim for r in read_records(two / "reports" / "latest" / "records.jsonl")] == ["C91"]


def test_what_else_listens_to_a_signal_and_what_is_ignored_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    names = ("SIGINT", *NAMES[:-1])
    before = {s: signal.getsignal(s) for s in map(signal.Signals.__getitem__, names)}
    try:
        signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
        with Endings() as endings:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGHUP)
            assert heard == [signal.SIGUSR1]
            assert endings.name is None
            with pytest.raises(KeyboardInterrupt, match="ended by SIGTERM"):
                os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # of the same burst
            endings.hold()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):  # a third one means it
                os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # while it leaves
        monkeypatch.setattr("engine.running.endings.BURST_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT], "what comes later does what it always did"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_within_a_finalizer_is_not_lost() -> None:
    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)  # where the handler runs, and what it raised would be dropped

    def end_and_wait() -> None:
        Ending()
        time.sleep(10)

    with Endings(), pytest.raises(Ended, match="SIGTERM"):
        end_and_wait()
