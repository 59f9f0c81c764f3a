"""Charts are rendered in workers: one that dies or hangs costs a drawing and never the page, and none is left over."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from engine.report.charts import vega
from engine.report.charts.vega import (
    ATTEMPTS,
    JOBS_FOR_TWO,
    MAX_LOST,
    DrawingError,
    Job,
    VegaRenderer,
    read_bundle,
    render_inline,
)


def make_job(height: int, **changes: Any) -> Job:
    """A line chart of so many pixels."""
    data = {"values": [{"x": 1, "y": height}, {"x": 2, "y": 3}]}
    x, y = ({"field": name, "type": "quantitative"} for name in "xy")
    spec = {"data": data, "mark": "line", "encoding": {"x": x, "y": y}, "height": height}
    return partial(vl_convert.vegalite_to_svg, **({"vl_spec": spec, "vl_version": "6.1"} | changes))


def evaluate(expression: str) -> Job:
    """A job that takes no time to draw: the value of an expression."""
    return partial(eval, expression)


HELLO = partial(str, "drawn")


@pytest.mark.parametrize("jobs", [2, JOBS_FOR_TWO], ids=["one process", "two processes"])
def test_every_job_gives_what_it_gives_inline_and_to_the_one_that_asked(jobs: int) -> None:
    asked = [make_job(40 + k) for k in range(jobs)]
    with VegaRenderer(jobs) as renderer:
        waiting = [renderer.submit(job) for job in asked]
        drawn = [wait() for wait in waiting]
    assert drawn == [render_inline(job)() for job in asked]
    assert len(set(drawn)) == jobs


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (JOBS_FOR_TWO, 2)], ids=["few", "many"])
def test_few_jobs_are_done_by_one_process_and_many_by_two(jobs: int, expected: int) -> None:
    with VegaRenderer(jobs) as renderer:
        for wait in [renderer.submit(partial(time.sleep, 0.1)) for _ in range(JOBS_FOR_TWO)]:
            wait()
        assert len(multiprocessing.active_children()) == expected


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "in a process"])
def test_a_job_that_fails_raises_for_the_one_that_asked_and_stops_no_other(*, inline: bool) -> None:
    with VegaRenderer(1) as renderer:
        render = render_inline if inline else renderer.submit
        bad, good = render(make_job(40, vl_spec="no JSON")), render(make_job(41))
        with pytest.raises(DrawingError, match=r"^ValueError: .*JSON"):
            bad()
        assert good().startswith("<svg")


DEATHS = {
    # By its name, since coverage puts a function that cannot be pickled in its place.
    "leaves": (partial(exec, "import os; os._exit(3)"), "died (exit code 3)"),
    "aborts, as V8 does": (os.abort, "died (SIGABRT)"),
    "is killed for its memory": (partial(signal.raise_signal, signal.SIGKILL), "died (SIGKILL)"),
}


@pytest.mark.parametrize("jobs", [1, JOBS_FOR_TWO], ids=["one process", "two processes"])
@pytest.mark.parametrize(("job", "reason"), DEATHS.values(), ids=DEATHS)
def test_a_process_that_dies_costs_its_drawing_alone_and_says_why(job: Job, reason: str, jobs: int) -> None:
    with VegaRenderer(jobs) as renderer:
        before, lost, after = ([renderer.submit(one) for one in some] for some in ([HELLO] * 3, [job], [HELLO] * 3))
        assert [wait() for wait in before] == ["drawn"] * 3
        with pytest.raises(DrawingError, match=f"^the process that draws {re.escape(reason)}$"):
            lost[0]()
        assert [wait() for wait in after] == ["drawn"] * 3


def test_a_job_whose_process_died_is_tried_in_another(tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    once = f"__import__('os').path.exists({marker!r}) and 'drawn' or (open({marker!r}, 'w'), __import__('os').abort())"
    with VegaRenderer(1) as renderer:
        assert renderer.submit(evaluate(once))() == "drawn"


def test_a_process_that_hangs_is_ended_and_its_job_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library holds the GIL while it draws: so does PyDLL while it calls.
    hang = f"open({str(tmp_path / 'tries')!r}, 'a').write('x'), __import__('ctypes').PyDLL(None).sleep(1000)"
    with VegaRenderer(1) as renderer:
        assert renderer.submit(HELLO)() == "drawn"
        waiting = renderer.submit(evaluate(hang))
        monkeypatch.setattr(vega, "TIMEOUT_S", 1.0)
        with pytest.raises(DrawingError, match=r"^the process that draws hung for 1 s$"):
            waiting()
        monkeypatch.undo()
        assert renderer.submit(HELLO)() == "drawn"
    assert 2 <= len((tmp_path / "tries").read_text()) <= 1 + ATTEMPTS


def test_a_long_queue_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    with VegaRenderer(1) as renderer:
        assert renderer.submit(HELLO)() == "drawn"
        waiting = [renderer.submit(evaluate(f"__import__('time').sleep(1) or '{k}'")) for k in range(3)]
        monkeypatch.setattr(vega, "TIMEOUT_S", 2.0)
        assert waiting[-1]() == "2"


def test_after_two_jobs_that_nothing_could_draw_no_more_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise BlockingIOError("no more processes")

    resource_tracker.ensure_running()  # a process, too, which is started once
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", refuse)
    with VegaRenderer(1) as renderer:
        for _ in range(5):
            with pytest.raises(DrawingError, match=r"^no process to draw in: no more processes$"):
                renderer.submit(HELLO)()
    assert len(tried) == 1 + MAX_LOST * ATTEMPTS


def test_without_threads_drawings_are_lost_and_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with (
        VegaRenderer(1) as renderer,
        pytest.raises(DrawingError, match=r"^no process to draw in: can't start new thread$"),
    ):
        renderer.submit(HELLO)()
    assert not multiprocessing.active_children()


def test_jobs_are_dropped_when_the_page_fails() -> None:
    waiting: list[Callable[[], str]] = []

    def fail_on_the_way() -> None:
        with VegaRenderer(1) as renderer:
            waiting.extend(renderer.submit(partial(time.sleep, 1000)) for _ in range(200))
            raise KeyError

    with pytest.raises(KeyError):
        fail_on_the_way()
    assert not multiprocessing.active_children()
    for wait in waiting:
        with pytest.raises(DrawingError, match=r"^the report was given up$"):
            wait()


def test_a_worker_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    noise = "__import__('os').write({0}, b'noise'), print('noise', file=__import__('sys').stderr, flush=True)"
    with VegaRenderer(1) as renderer:
        for stream in (1, 2):
            renderer.submit(evaluate(noise.format(stream)))()
        with pytest.raises(DrawingError, match="SIGABRT"):
            renderer.submit(evaluate("__import__('faulthandler').enable() or __import__('os').abort()"))()
    assert capfd.readouterr() == ("", "")


def test_a_worker_imports_neither_the_engine_nor_the_main_module() -> None:
    with VegaRenderer(1) as renderer:
        loaded = renderer.submit(evaluate("' '.join(__import__('sys').modules)"))()
    assert not {"engine", "pytest"} & set(loaded.split())


SESSION = """
import multiprocessing, os, sys, time
from functools import partial
from engine.report.charts.vega import VegaRenderer

print("a session", flush=True)
began = sys.argv[1]
hang = f"open({began + os.sep!r} + str(__import__('os').getpid()), 'w'), __import__('ctypes').PyDLL(None).sleep(1000)"
with VegaRenderer(8) as renderer:
    # Both workers hang, and hold the GIL.
    waiting = [renderer.submit(partial(eval, hang)) for _ in range(4)]
    while len(os.listdir(began)) < 2:
        time.sleep(0.01)
    time.sleep(0.2)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    waiting[0]()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # who is dead and not yet waited for still has a number
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def end_session(end: Callable[[int], None], folder: Path) -> tuple[str, list[int]]:
    """What a script that renders writes to standard error when it is ended so, and the processes that it had begun.

    The script does all at its top level, so that a worker that ran it would start again.
    """
    script = folder / "script.py"
    script.write_text(SESSION)
    (begun := folder / "begun").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script), str(begun)],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment,
        start_new_session=True,
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "a session\n"
        workers = [int(pid) for pid in session.stdout.readline().split()]
        assert all(map(is_running, workers))
        end(session.pid)
        _, said = session.communicate(timeout=60)
        assert session.returncode
    return said, workers


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which ends a process with its parent")
@pytest.mark.parametrize(
    "end",
    [
        lambda pid: os.killpg(pid, signal.SIGINT),  # as the keyboard does
        lambda pid: os.kill(pid, signal.SIGTERM),
        lambda pid: os.kill(pid, signal.SIGKILL),
    ],
    ids=["Ctrl-C", "terminated", "killed"],
)
def test_no_worker_outlives_its_session_even_while_it_hangs(end: Callable[[int], None], tmp_path: Path) -> None:
    said, workers = end_session(end, tmp_path)
    deadline = time.monotonic() + 30
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert said.count("Traceback") == said.count("KeyboardInterrupt") <= 1


def test_the_script_is_bundled_once_for_all_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path))
    asked: list[Job] = []

    def render(job: Job) -> Any:
        asked.append(job)
        return lambda: "/* <!-- */"

    assert read_bundle(render)() == read_bundle(render)() == "/* <\\!-- */"
    assert len(asked) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "file"))
    assert read_bundle(lambda job: lambda: "script")() == "script"
