"""`lm-claims invert` also recovers the prompt token by token, and its estimates follow the machine's pace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import find_protocol
from engine.arms.stacks import Stack
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.commands.invert.command import invert
from engine.commands.invert.plan import plan_inversion
from engine.commands.invert.runner import Runner
from engine.commands.invert.summary import summarize
from engine.commands.invert.view import ProgressStage
from engine.experiments.recovery.searches import Search, SearchRuns, run_search
from engine.experiments.tuning.arm import TuningArm, TuningResult
from engine.ledger import Ledger
from engine.models import find_subject
from engine.running.costs import estimate_cost
from engine.running.executors.inline import Inline
from engine.tests.inverting import PROMPT, RecordingView, drive, make_options, run
from engine.tests.tiny_models import make_gpt2, make_llama, save


@pytest.fixture(name="llama", scope="module")
def provide_llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_llama(initializer_range=0.3, max_position_embeddings=32)
    return f"local:{save(tmp_path_factory.mktemp('llama'), model)}"


def test_the_search_is_the_full_method_of_a_claim_on_the_same_stack(llama: str, tmp_path: Path) -> None:
    options = make_options(llama, tmp_path, blocks=2)
    runner = Runner(plan_inversion(options), Ledger(options.ledger), RecordingView())
    runner.run()
    found = runner.search()
    trial = Trial(
        subject=find_subject(llama),
        protocol=find_protocol("controlled"),
        effort="standard",
        units=Units(),
        prompts=(PROMPT,),
    )
    declared = drive(run_search(trial, Search(stack=Stack(blocks=2))))
    assert found.recoveries.runs == declared.recoveries.runs
    assert [m.digest for m in found.measurements] == [m.digest for m in declared.measurements]


def test_the_search_stands_beside_the_descent_unless_it_is_left_out(llama: str, tmp_path: Path) -> None:
    view = RecordingView()
    assert invert(make_options(llama, tmp_path, step=0.01), view)
    said = {line.label: line.text for line in view.summary}
    assert said["found"] == f"“{PROMPT}”"
    assert "all 16 tokens came back from the same output" in said["search"]
    assert "recovering token by token, every candidate checked" in view.stages
    alone = RecordingView()
    assert invert(make_options(llama, tmp_path, step=0.01, search=False), alone)
    assert {line.label for line in alone.summary} == set(said) - {"search", "found"}


def test_a_search_that_the_model_cannot_take_leaves_the_descent(tmp_path: Path) -> None:
    """A context of 16 tokens holds this prompt, and not those that the search is tuned on."""
    view, subject = RecordingView(), f"local:{save(tmp_path / 'short', make_gpt2(initializer_range=0.3))}"
    assert invert(make_options(subject, tmp_path, prompt="ab ab cd", step=0.01), view)
    said = {line.label: line.text for line in view.summary}
    assert said["search"].startswith("Not run: ")
    assert "expected at most 16" in said["search"]
    assert "bound" in said
    assert "found" not in said


def test_a_search_that_finds_nothing_at_a_position_says_where_it_ended(llama: str, tmp_path: Path) -> None:
    options = make_options(llama, tmp_path, step=0.01)
    plan = plan_inversion(options)
    runner = Runner(plan, Ledger(options.ledger), RecordingView())
    outcome, found = runner.run(), runner.search()
    (run,) = found.recoveries.runs
    lost = replace(run.found[1], token=None, same=0)
    cut = replace(found, recoveries=replace(found.recoveries, runs=(replace(run, found=(run.found[0], lost)),)))
    said = {line.label: line.text for line in summarize(plan, replace(outcome, search=cut))}
    assert "1 of 16 tokens came back" in said["search"]
    assert "ended at position 2, where no token matched" in said["search"]
    assert said["found"] == "“T”"


def test_ctrl_c_in_the_search_still_shows_the_descent(
    llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Runner) -> SearchRuns:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "search", interrupt)
    view = RecordingView()
    assert not invert(make_options(llama, tmp_path, step=0.01), view)
    assert {"bound", "kept", "again"} <= {line.label for line in view.summary}


def test_a_later_stage_is_expected_at_the_pace_of_the_tuning(
    llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tuning takes ten times what the cost model says, the descent will, too."""
    real = Inline.run

    def slow(executor: Inline, arm: Arm) -> Measurement:
        measurement = real(executor, arm)
        if not isinstance(measurement.result, TuningResult):
            return measurement
        assert isinstance(arm, TuningArm)
        expected = estimate_cost(replace(arm, horizon=measurement.result.read_to)).seconds
        return replace(measurement, elapsed_s=10 * expected)

    stages: list[ProgressStage] = []
    monkeypatch.setattr(Inline, "run", slow)
    monkeypatch.setattr(RecordingView, "begin", lambda _, stage: stages.append(stage))
    outcome = run(make_options(llama, tmp_path))
    assert stages[0].expected_s < 0.2
    assert stages[0].may_end_early
    (descent,) = (stage for stage in stages if stage.label == "descending")
    assert descent.expected_s == pytest.approx(10 * estimate_cost(outcome.arm).seconds)
