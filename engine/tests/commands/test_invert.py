"""`lm-claims invert` gives the numbers of a claim's arm, shows them as they come, and refuses mistakes in one line."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from engine.__main__ import COMMANDS
from engine.arms.arm import Arm
from engine.arms.measurement import Measurement, digest_of, measurement_type
from engine.arms.protocol import find_protocol
from engine.arms.stacks import Stack
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.commands.invert.command import invert, main
from engine.commands.invert.options import find_root, parse
from engine.commands.invert.plan import InvertPlan, plan_inversion, snapshot_iterations
from engine.commands.invert.runner import Interrupted
from engine.commands.invert.view import LiveView, ProgressStage, View, choose_view
from engine.experiments.inversion.arm import InversionArm, InversionResult
from engine.experiments.inversion.samples import Sample, run_sample
from engine.ledger import Ledger
from engine.methods.descent import OBSERVE_EVERY
from engine.models import find_subject
from engine.running.executors.inline import Inline
from engine.tests.inverting import PROMPT, RecordingView, drive, make_options, run
from engine.tests.tiny_models import make_gpt2, make_llama, save


@pytest.fixture(name="gpt2", scope="module")
def provide_gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{save(tmp_path_factory.mktemp('gpt2'), make_gpt2(initializer_range=0.3, n_positions=32))}"


@pytest.fixture(name="llama", scope="module")
def provide_llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_llama(initializer_range=0.3, max_position_embeddings=32)
    return f"local:{save(tmp_path_factory.mktemp('llama'), model)}"


# The numbers are those of a claim's arm.


@pytest.mark.parametrize(
    ("family", "protocol", "head"),
    [
        ("gpt2", "page", True),
        ("gpt2", "script", False),
        ("gpt2", "controlled", False),
        ("llama", "page", False),
        ("llama", "controlled", True),
    ],
)
def test_its_numbers_are_those_of_a_claims_own_sample(
    family: str, protocol: str, head: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    subject: str = request.getfixturevalue(family)
    outcome = run(make_options(subject, tmp_path, protocol=protocol, head=head, sigma=0.08, blocks=2))
    stack = Stack(blocks=2, head=head)
    trial = Trial(
        subject=find_subject(subject),
        protocol=find_protocol(protocol),
        effort="standard",
        units=Units(),
        prompts=(PROMPT,),
    )
    sample = Sample(
        stack=stack,
        iterations=60,
        sigma=0.08,
        read_at="N",
        snapshots=snapshot_iterations(60),
        # As for a quick look: for the earliest hit, on a few prompts.
        tuned_for="hit",
        tuning_units=4,
    )
    drawn = drive(run_sample(trial, replace(sample, probe=stack if head else None)))
    assert outcome.tuned.step == drawn.tuned.step
    assert outcome.tuned.outcomes == drawn.tuned.outcomes
    assert drawn.runs == (outcome.run,)
    assert outcome.measurement is not None
    assert digest_of(outcome.arm) == drawn.measurements[-1].digest
    assert outcome.measurement.content() == drawn.measurements[-1].content()


def test_an_untrained_subject_has_the_weights_that_a_claim_gives_its_first_unit(gpt2: str, tmp_path: Path) -> None:
    twin = f"local-untrained:{gpt2.removeprefix('local:')}:3"
    outcome = run(make_options(twin, tmp_path, step=0.01))
    assert outcome.arm.settings.subject == twin
    plan = plan_inversion(make_options("gpt2-untrained", tmp_path, step=0.01, iterations=2))
    assert arm_of(plan).settings.subject == "gpt2-untrained:0"


def arm_of(plan: InvertPlan) -> InversionArm:
    """The arm of a plan that needs no tuning."""
    with pytest.raises(StopIteration) as end:
        next(plan.rounds())
    arm, _ = end.value.value
    return arm


def test_a_seed_is_the_starts(gpt2: str, tmp_path: Path) -> None:
    arm = arm_of(plan_inversion(make_options(gpt2, tmp_path, step=0.01, seed=7)))
    assert [unit.seed for unit in arm.units] == [7]


def test_without_a_number_of_iterations_it_takes_the_claims(gpt2: str, tmp_path: Path) -> None:
    assert plan_inversion(make_options(gpt2, tmp_path, iterations=None)).iterations == 1000


def test_the_scripts_step_needs_no_tuning_and_an_asked_one_goes_before_it(gpt2: str, tmp_path: Path) -> None:
    assert arm_of(plan_inversion(make_options(gpt2, tmp_path, protocol="script"))).step == 2.0
    assert arm_of(plan_inversion(make_options(gpt2, tmp_path, protocol="script", step=0.5))).step == 0.5


# What is stored is used.


def test_a_stored_descent_is_shown_again_without_running(
    gpt2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, first, second = make_options(gpt2, tmp_path), RecordingView(), RecordingView()
    outcome = run(options, first)
    monkeypatch.setattr(Inline, "run", lambda self, arm: pytest.fail("measured again"))
    again = run(options, second)
    assert (again.stored, outcome.stored) == (True, False)
    assert again.run == outcome.run
    assert second.snapshots == first.snapshots
    assert second.trajectories[0].curve == first.trajectories[0].curve
    assert second.trajectories[0].hit == first.trajectories[0].hit
    assert not second.stages


def test_a_stored_tuning_serves_another_prompt(gpt2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(make_options(gpt2, tmp_path))
    ran: list[Arm] = []
    plain = Inline.run

    def note(self: Inline, arm: Arm) -> Measurement:
        ran.append(arm)
        return plain(self, arm)

    monkeypatch.setattr(Inline, "run", note)
    second = run(make_options(gpt2, tmp_path, prompt="A cat sleeps", seed=4))
    assert [arm.kind for arm in ran] == ["inversion"]
    assert second.tuned.step == first.tuned.step


def test_fresh_measures_again(gpt2: str, tmp_path: Path) -> None:
    options = make_options(gpt2, tmp_path, step=0.01)
    run(options)
    assert not run(replace(options, fresh=True)).stored


@pytest.mark.parametrize("marker", ["pytest.ini", "pyproject.toml", None])
def test_the_ledger_lies_where_pytest_would_put_it(marker: str | None, tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    if marker is not None:
        (tmp_path / marker).write_text("")
    assert find_root(below) == (below if marker is None else tmp_path)


# What is shown while it goes.


def test_every_kept_iteration_is_shown_once_as_it_is_measured(gpt2: str, tmp_path: Path) -> None:
    view = RecordingView()
    outcome = run(make_options(gpt2, tmp_path, step=0.01), view)
    assert tuple(view.snapshots) == outcome.run.snapshots
    assert [snapshot.iteration for snapshot in view.snapshots] == [0, 1, 2, 5, 10, 20, 50, 60]
    assert view.trajectories[0].curve == dict(zip(view.trajectories[0].slots, outcome.run.curve, strict=True))


def test_it_reads_from_the_device_only_when_the_descent_does(gpt2: str, tmp_path: Path) -> None:
    view = RecordingView()
    run(make_options(gpt2, tmp_path, step=0.01, iterations=90), view)
    assert view.advances == [OBSERVE_EVERY * k - 1 for k in range(1, 5)]


def test_tuning_says_which_round_it_is_in_and_what_it_found(gpt2: str, tmp_path: Path) -> None:
    view = RecordingView()
    outcome = run(make_options(gpt2, tmp_path), view)
    rounds = [stage for stage in view.stages if stage.startswith("tuning")]
    assert len(rounds) == len(outcome.tuned.measurements)
    assert rounds[0] == "tuning η, round 1: 6 step sizes"
    assert any(f"η = {outcome.tuned.step:g}, tuned over {len(outcome.tuned.outcomes)}" in s for s in view.sentences)


@pytest.mark.parametrize(
    ("iterations", "kept"),
    [(1, (0, 1)), (5, (0, 1, 2, 5)), (60, (0, 1, 2, 5, 10, 20, 50, 60)), (200, (0, 1, 2, 5, 10, 20, 50, 100, 200))],
)
def test_snapshots_are_a_geometric_series(iterations: int, kept: tuple[int, ...]) -> None:
    assert snapshot_iterations(iterations) == kept


def test_a_step_far_too_large_diverges_and_the_summary_says_so(gpt2: str, tmp_path: Path) -> None:
    view = RecordingView()
    assert invert(make_options(gpt2, tmp_path, step=1e30), view)
    assert view.summary[0].text.startswith("The descent diverged by iteration ")
    assert "decoded" not in {line.label for line in view.summary}


def test_a_shift_that_rounds_to_nothing_makes_a_bound_that_nothing_meets(gpt2: str, tmp_path: Path) -> None:
    out = io.StringIO()
    assert invert(make_options(gpt2, tmp_path, protocol="page", sigma=1e-44, step=0.01), View(out))
    assert "did not come within the bound of 0 in 60 iterations" in out.getvalue()
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=40)
    assert invert(make_options(gpt2, tmp_path, protocol="page", sigma=1e-44, step=0.01, fresh=True), LiveView(console))


@pytest.mark.parametrize(
    ("done", "now", "left"),
    [
        (0, 10.0, "about 30 s left"),
        (0, 72.0, "longer than expected"),
        (25, 10.0, "about 30 s left"),
        (25, 20.0, "about 20 s left"),
        (25, 90.0, "about 20 s left"),
        (100, 90.0, "almost done"),
    ],
    ids=[
        "as expected",
        "past it",
        "at the pace so far",
        "between two readings",
        "a reading that is overdue",
        "at the end",
    ],
)
def test_the_time_left_is_the_expected_one_until_there_is_a_pace(
    done: int, now: float, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = ProgressStage(label="tuning", total=100, expected_s=40.0, began=0.0)
    monkeypatch.setattr("time.monotonic", lambda: 10.0)
    if done:
        stage.move(done)
    monkeypatch.setattr("time.monotonic", lambda: now)
    assert stage.left() == left


# The end.


def summary_of(view: RecordingView) -> dict[str, str]:
    return {line.label: line.text for line in view.summary}


def test_the_summary_says_what_the_measurement_says(gpt2: str, tmp_path: Path) -> None:
    view, options = RecordingView(), make_options(gpt2, tmp_path, protocol="page", head=True, step=0.02)
    assert invert(options, view)
    outcome = run(options)
    summary, result = summary_of(view), outcome.run
    assert (f"iteration {result.hit} of 60" if result.hit else "did not come within") in summary["bound"]
    right = sum(top[0] == i for i, top in zip(result.target, result.snapshots[-1].top, strict=True))
    near = sum(i in top for i, top in zip(result.target, result.snapshots[-1].top, strict=True))
    assert summary["tokens"].startswith(f"{right} of 16 tokens came back; at {near} of 16 ")
    assert summary["prompt"] == f"“{PROMPT}”"
    assert "next" in summary
    assert ("ceiling" in summary) == (result.ceiling < 1)
    assert digest_of(outcome.arm)[:10] in summary["kept"]


@pytest.mark.parametrize("prompt", ["it's $x\t\x1b[31m", "-1 is - the sky"], ids=["odd characters", "a dash first"])
def test_the_command_at_the_end_runs_the_same_arm_again(prompt: str, gpt2: str, tmp_path: Path) -> None:
    options = make_options(
        gpt2, tmp_path, prompt=prompt, head=True, sigma=0.07, metric="l2", dtype="float64", step=0.01
    )
    view = RecordingView()
    assert invert(options, view)
    command = summary_of(view)["again"]
    assert command.isprintable()
    program, name, *words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    assert (program, COMMANDS[name][0]) == ("lm-claims", "invert.command")
    assert digest_of(arm_of(plan_inversion(parse(words)))) == digest_of(run(options).arm)


def test_the_measurement_is_written_as_json(gpt2: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    words = [PROMPT, "--subject", gpt2, "--step", "0.01", "--iterations", "30", "--ledger", str(tmp_path / "ledger")]
    assert main([*words, "--json", str(out)]) == 0
    measurement = measurement_type().validate_json(out.read_bytes())
    assert isinstance(measurement.result, InversionResult)
    assert Ledger(tmp_path / "ledger").get(measurement.arm) == measurement
    assert str(out) in capsys.readouterr().out


class Interrupting(RecordingView):
    """Presses Ctrl-C at a reading."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def advance(self, iteration: int) -> None:
        super().advance(iteration)
        if iteration >= self._at:
            raise KeyboardInterrupt


def test_ctrl_c_shows_what_was_found_so_far(gpt2: str, tmp_path: Path) -> None:
    options, view = make_options(gpt2, tmp_path, step=0.01), Interrupting(30)
    assert not invert(options, view)
    assert summary_of(view)["bound"].startswith("Stopped at iteration 39 of 60; ")
    whole = run(replace(options, ledger=tmp_path / "other"))
    with pytest.raises(Interrupted) as stopped:
        run(options, Interrupting(30))
    outcome = stopped.value.outcome
    assert outcome is not None
    assert outcome.measurement is None
    assert outcome.run.ended_at == 39
    assert outcome.run.snapshots[:-1] == whole.run.snapshots[:6]
    assert outcome.run.start_distance == whole.run.start_distance
    assert Ledger(options.ledger).get(outcome.arm) is None


def test_ctrl_c_while_it_tunes_has_found_nothing(gpt2: str, tmp_path: Path) -> None:
    view = Interrupting(10)
    assert not invert(make_options(gpt2, tmp_path), view)
    assert [line.label for line in view.summary] == ["stopped"]


def test_ctrl_c_exits_with_130(gpt2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(self: View, iteration: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(View, "advance", press)
    words = [PROMPT, "--subject", gpt2, "--step", "0.01", "--iterations", "30", "--ledger", str(tmp_path)]
    assert main([*words, "--no-live"]) == 130


# Plain lines.


def test_plain_output_is_one_line_per_kept_iteration_without_escapes(
    gpt2: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["a\x1b[31m b", "--subject", gpt2, "--step", "0.01", "--iterations", "30", "--ledger", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    frames = [line for line in out.splitlines() if line.startswith("iteration ")]
    assert [int(line.split()[1]) for line in frames] == [0, 1, 2, 5, 10, 20, 30]
    assert all(line.count("×") + line.count("✓") + line.count("~") >= 7 for line in frames)


@pytest.mark.parametrize(
    ("live", "environment"),
    [(False, {}), (True, {"CI": "1"}), (True, {"NO_COLOR": "1"})],
    ids=["asked", "CI", "colour"],
)
def test_plain_lines_are_chosen_on_a_terminal_too_where_they_are_wanted(
    live: bool, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_view(live=live, environment=environment), View)
    assert isinstance(choose_view(live=True, environment={}), LiveView)


def test_nothing_escapes_from_a_live_view(gpt2: str, tmp_path: Path) -> None:
    # Without colours the only escapes are the live region's own, which move the cursor: none of them sets a style.
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=80, height=40, markup=False)
    assert invert(make_options(gpt2, tmp_path, prompt="\x1b[31m[red]x\u202e"), LiveView(console))
    assert "\x1b[31m" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "\\u001b" in out.getvalue()


# What the user can mend is one line.


def mistakes(gpt2: str, llama: str) -> dict[str, tuple[list[str], str]]:
    subject = [PROMPT, "--subject", gpt2]
    return {
        "unknown subject": ([PROMPT, "--subject", "smolm2"], "did you mean smollm2-135m"),
        "too many blocks": ([*subject, "--blocks", "3"], "got 3, expected 1 to 2, the depth of"),
        "no block": ([*subject, "--blocks", "0"], "--blocks: got 0"),
        "no number of blocks": ([*subject, "--blocks", "one"], "no number of blocks"),
        "empty": (["  ", "--subject", gpt2], "an empty prompt"),
        "bytes": (["a\udcff b", "--subject", gpt2], "not UTF-8"),
        "one token": (["a", "--subject", gpt2], "got 1 token in 'a', expected at least 2"),
        "past the context": (["a" * 33, "--subject", gpt2], "expected at most 32"),
        "script on a llama": ([PROMPT, "--subject", llama, "--protocol", "script"], "take --protocol page or"),
        "direct": ([*subject, "--protocol", "direct"], "'direct' for --protocol"),
        "no iterations": ([*subject, "--iterations", "0"], "--iterations: got 0"),
        "sigma": ([*subject, "--sigma", "0"], "--sigma: got 0"),
        "NaN": ([*subject, "--sigma", "nan"], "--sigma: got nan"),
        "step": ([*subject, "--step", "-1"], "--step: got -1"),
        "step past the dtype": ([*subject, "--step", "1e5", "--dtype", "float16"], "--step: got 100000, expected at"),
        "dtype": ([*subject, "--dtype", "int8"], "--dtype: got 'int8', expected one of float32"),
        "seed": ([*subject, "--seed", "-1"], "--seed: got -1"),
        "no device": ([*subject, "--device", "cuda:99"], "--device"),
        "no such device": ([*subject, "--device", "tpu"], "auto, cpu, cuda or cuda:N"),
        "json in no folder": ([*subject, "--json", "absent/found.json"], "--json"),
        "ledger in a file": ([*subject, "--ledger", "/dev/null/x"], "--ledger"),
        "unknown option": ([*subject, "--colour\x1b[31m"], "got --colour"),
    }


@pytest.mark.parametrize("name", sorted(mistakes("", "")))
def test_a_mistake_is_one_line_and_exit_4(
    name: str,
    gpt2: str,
    llama: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words, expected = mistakes(gpt2, llama)[name]
    assert main(words) == 4
    refused(capsys, expected)


def refused(capsys: pytest.CaptureFixture[str], expected: str) -> None:
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert expected in said
    assert "\x1b" not in said
    assert "Traceback" not in said


def test_missing_weights_name_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert main([PROMPT, "--subject", "gpt2"]) == 4
    refused(capsys, "gpt2 is not in the hub's cache: hf download openai-community/gpt2")


def test_too_little_memory_is_said_before_anything_is_loaded(
    gpt2: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.models.memory.free_bytes", lambda device: 10.0)
    assert main([PROMPT, "--subject", gpt2]) == 4
    refused(capsys, "GiB free: use a larger device")


def test_an_unexpected_error_is_one_line_and_exit_3(
    gpt2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(Inline, "run", fail)
    words = [PROMPT, "--subject", gpt2, "--step", "0.1", "--ledger", str(tmp_path)]
    assert main(words) == 3
    refused(capsys, "invert: got RuntimeError: out of memory, expected to finish")
    with pytest.raises(RuntimeError):
        main([*words, "--traceback"])


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from engine.commands.invert.command import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--subject" in done.stdout
