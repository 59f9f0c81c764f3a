"""A panic, an exit or a death below us fails the arm that it befell, alone, and one line says what it was."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import EngineError, EscapedError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.records import read_records
from engine.running.executors.base import ATTEMPTS
from engine.running.executors.pool import Pool, run_picklable
from engine.running.waiting import Waiting
from engine.tests.deaths import DEATHS
from engine.tests.measured import Inverses, plant_folder
from engine.tests.tiny_models import make_gpt2, save

ARM = PseudoInverseArm(subject="none", source="none", matrix="random:40x8:rank=8:seed=0")

PANICKING = r"(\w+|\w|\s)+$"
"""A pattern whose search the tokenizers' library gives up, by a panic that is no Exception in Python."""

SENTENCE = "The quick brown fox jumps over the lazy dog and then some."
CLAIM = """
from engine import PAGE, Above, Claim, Inversions, Rate, Exact, Sample, Stack, Units

CLAIM = Claim(
    id="T04", section="none", sentence="It comes back.", estimand="rate", document="",
    procedure=Inversions(
        samples=(("one", Sample(stack=Stack(blocks=1), iterations=5, read_at="N", grid=(0.01,))),),
        estimates=(Rate(name="x", of="one", reading=Exact()),),
    ),
    criteria=(Above("x", 0.5, because="a test"),), subjects=("gpt2-untrained",), protocols=(PAGE,),
    units=Units(smoke=2),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""


@pytest.fixture(name="folder")
def provide_folder(tmp_path: Path) -> Path:
    """A claim without a model, one on a model, and a model whose tokenizer panics over a sentence."""
    folder = plant_folder(tmp_path / "own", {"C91": Inverses()})
    (folder / "test_t04.py").write_text(CLAIM)
    model = save(folder / "model", make_gpt2())
    told = json.loads((model / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": PANICKING}, "behavior": "Isolated", "invert": False}
    told["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, told["pre_tokenizer"]]}
    (model / "tokenizer.json").write_text(json.dumps(told))
    config = json.loads((model / "tokenizer_config.json").read_text())
    # GPT-2's own class would put its own pattern in the file's place.
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "RUST_BACKTRACE": "0"} | environment
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, env=whole, timeout=300
    )


SESSION = ("pytest", "-p", "no:cacheprovider", "-p", "engine.session", "--device", "cpu", "--effort", "smoke")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_a_tokenizer_that_panics_fails_its_claims_and_leaves_the_session(folder: Path, executor: str) -> None:
    options = ("--executor", executor, "--workers", "2", "--subject", f"local:{folder / 'model'}")
    done = run(folder, *SESSION, *options)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
    assert "out-of-memory killer" not in done.stdout
    records = {r.claim: r for r in read_records(folder / "reports" / "latest" / "records.jsonl")}
    assert {claim: record.outcome for claim, record in records.items()} == {"C91": "passed", "T04": "error"}
    assert "PanicException: Onig: Regex search error" in records["T04"].sentence


@pytest.mark.slow
def test_a_tokenizer_that_panics_over_a_prompt_of_ones_own_is_told_before_anything_is_measured(folder: Path) -> None:
    done = run(folder, *SESSION, "--subject", f"local:{folder / 'model'}", "--prompt", SENTENCE)
    assert done.returncode == 4
    (line,) = [line for line in done.stderr.splitlines() if "got " in line]
    assert "PanicException: Onig: Regex search error" in line
    assert line.endswith("try another model, prompt or option")
    assert "Traceback" not in done.stderr
    assert not (folder / "reports").exists()


@pytest.mark.slow
def test_a_tokenizer_that_panics_ends_a_quick_look_in_one_line(folder: Path) -> None:
    done = run(folder, "engine", "invert", SENTENCE, "--subject", f"local:{folder / 'model'}", "--iterations", "5")
    assert done.returncode == 4
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("a library: got")]
    assert "PanicException: Onig: Regex search error" in line
    assert "Traceback" not in done.stderr


# Workers.


@pytest.mark.parametrize(("serve", "name", "remedy"), DEATHS.values(), ids=DEATHS)
def test_a_worker_that_dies_says_of_what_and_what_to_do(
    serve: Callable[..., None], name: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.running.executors.pool.serve", serve)
    pool = Pool(workers=1, threads=1, budget_bytes=2e10)
    assert pool.choose(Waiting([ARM])) is ARM
    with pytest.raises(EngineError) as died:
        pool.submit(ARM).result(timeout=120)
    pool.shutdown()
    got = f"got a process that died {ATTEMPTS} times while it was measured ({name}), expected a measurement"
    assert str(died.value) == f"pseudo-inverse on none: {got}; {remedy}"


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt("a library's"), GeneratorExit(), BaseException("x")], ids=repr
)
def test_what_leaves_past_every_handler_comes_back_from_a_worker_as_an_error(error: BaseException) -> None:
    def escape(arm: object) -> Any:
        raise error

    found = run_picklable(escape, ARM)
    assert isinstance(found, EscapedError)
    assert f"got {type(error).__name__}: {error}, expected" in str(found)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'lm-claims[ray]'")
def test_a_cluster_in_the_environment_is_not_joined_unasked(tmp_path: Path) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = run(tmp_path, *SESSION, "--executor", "ray", RAY_ADDRESS=address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [r.outcome for r in read_records(tmp_path / "reports" / "latest" / "records.jsonl")] == ["passed"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs prlimit: run on Linux")
def test_a_system_that_gives_no_process_is_told_and_the_remedy_helps(tmp_path: Path) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    limited = ["prlimit", "--nofile=20:20", sys.executable, "-m", *SESSION]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def measure(*options: str) -> subprocess.CompletedProcess[str]:
        words = [*limited, *options]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)

    done = measure("--executor", "pool", "--workers", "2")
    assert done.returncode == 3
    assert "pseudo-inverse on none: got no process to measure it in (Too many open files), expected one" in done.stdout
    assert measure("--executor", "inline").returncode == 0


# Commands.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_quick_look_that_is_ended_tells_how_far_it_came(tmp_path: Path, name: str) -> None:
    words = ("The sky is blue.", "--subject", "gpt2-untrained", "--iterations", "200000", "--step", "0.01")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "engine", "invert", *words, "--device", "cpu"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("descending"):
            break
    time.sleep(3)
    process.send_signal(signal.Signals[name])
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.Signals[name], said
    assert "Stopped at iteration" in said or "nothing was found yet" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_calibration_that_is_ended_says_so_in_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "engine", "calibrate", "--workers", "2", "--out", "calibration.json"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while len(psutil.Process(process.pid).children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "calibrate: ended by SIGTERM (as queues and `kill` send it) before it was done" in said
    assert "Traceback" not in said
    assert not (tmp_path / "calibration.json").exists()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
