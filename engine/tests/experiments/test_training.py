"""Training as an arm: checkpoints, going on after a kill in the same bits, what is recorded, and who asks for it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.arms.arm import Arm, weights_of
from engine.arms.measurement import Measurement
from engine.arms.protocol import CONTROLLED, PAGE
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.criteria import AtLeast
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.units import Units
from engine.errors import SubjectError, UsageError
from engine.experiments.conditioning.along_training import ConditioningExplains
from engine.experiments.gradients.arm import GradientArm
from engine.experiments.inversion import samples
from engine.experiments.language.arm import NextTokenArm
from engine.experiments.sampling import assign_arms, stack_settings, tuning_seed
from engine.experiments.training import measure
from engine.experiments.training.arm import TrainingArm, TrainingResult
from engine.experiments.training.measure import measure_training
from engine.ledger import Ledger
from engine.models import CATALOGUE, find_subject, trained
from engine.models.loaded import LoadedModels
from engine.models.trained import Recipe, Size, TrainedSubject
from engine.models.training_text import BOTOCORE, FolderText, TextSource
from engine.running.costs import estimate_cost
from engine.running.executors.inline import Inline
from engine.running.plan import dry_run
from engine.running.scheduler import ItemRun, NoProgress, Scheduler
from engine.running.training import find_training
from engine.studies import rates

TINY = Size(name="d64", d_model=32, blocks=2, rate=1e-2)
WORDS = ("the", "sky", "is", "blue", "and", "a", "text", "goes", "on")


@dataclass
class Family:
    """The recipe that the family's names stand for."""

    recipe: Recipe

    def make_recipe(self, size: str, seed: int = 0, text: TextSource = BOTOCORE) -> Recipe:
        return replace(self.recipe, seed=seed)

    def train(self, **changes: Any) -> TrainingResult:
        self.recipe = replace(self.recipe, **changes)
        subject = find_subject(f"gpt2-mini-d64:{self.recipe.seed}")
        assert isinstance(subject, TrainedSubject)
        return measure_training(TrainingArm.of(subject, "cpu"), LoadedModels())


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    """A family of one tiny size on a text of its own, with a cache of its own."""
    (texts := tmp_path / "texts").mkdir()
    for k in range(30):
        words = [WORDS[(k * j + j // 3) % len(WORDS)] for j in range(80)]
        (texts / f"{k:02}.txt").write_text(f"{k} " + " ".join(words), encoding="utf-8")
    recipe = Recipe(
        size=TINY,
        text=FolderText(texts),
        steps=40,
        batch=2,
        context=32,
        warmup=4,
        checkpoints=(0, 4, 12, 32, 40),
    )

    made = Family(recipe)
    monkeypatch.setattr(trained, "make_recipe", made.make_recipe)
    monkeypatch.setattr(trained, "SIZES", {"d64": TINY})
    monkeypatch.delitem(CATALOGUE, "gpt2-mini-d64")  # the name is found by its parts then
    monkeypatch.setattr(measure, "SAVE_EVERY", 7)
    monkeypatch.setattr(measure, "SAVE_AFTER_S", 0.0)
    monkeypatch.setattr(measure, "SHOW_EVERY", 3)
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "cache"))
    return made


def test_a_training_keeps_its_checkpoints_and_says_what_it_changed(family: Family) -> None:
    result = family.train()
    assert [c.step for c in result.checkpoints] == [0, 4, 12, 32, 40]
    assert result.tokens == 40 * 2 * 32
    assert family.recipe.is_trained()
    first, *_, last = (c.validation_loss for c in result.checkpoints)
    assert first == pytest.approx(math.log(2048), abs=0.1)  # at random weights every token is as likely
    assert last < first - 1
    assert result.curve_at[-1] == 40
    assert result.curve[-1] < result.curve[0]
    assert result.parts == ("embedding", "block 1", "block 2")
    assert [w.until for w in result.windows] == list(range(2, 41, 2))
    assert all(size > 0 for w in result.windows for size in (*w.updates, *w.gradients))
    assert all(sample.startswith(begin) for sample, begin in zip(result.samples, measure.BEGINNINGS, strict=True))
    for checkpoint in result.checkpoints:
        file = family.recipe.folder(checkpoint.step) / "model.safetensors"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == checkpoint.sha256


def test_recorded_updates_are_those_between_two_checkpoints(family: Family) -> None:
    result = family.train(checkpoints=(0, 2, 40))
    before, after = (measure._read_checkpoint(family.recipe, step, "cpu") for step in (0, 2))
    for recorded, (_, old), (_, new) in zip(
        result.windows[0].updates, measure.list_parts(before), measure.list_parts(after), strict=True
    ):
        moved = sum(float((q - p).double().square().sum()) for p, q in zip(old, new, strict=True))
        size = sum(float(p.double().square().sum()) for p in old)
        assert recorded == pytest.approx(math.sqrt(moved / size), rel=1e-6)


def test_recorded_gradients_are_those_before_they_are_cut(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = family.train().windows[0].gradients
    # Gradients of a model at its start are longer than 1. Cut to a thousandth, and taken to the same steps by Adam,
    # which divides sizes out, they are recorded as long as they were.
    monkeypatch.setattr("engine.methods.training.CLIP", 1e-3)
    monkeypatch.setattr(measure, "CLIP", 1e-3)
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(family.recipe.folder(0).parent.parent / "other"))
    assert family.train().windows[0].gradients == pytest.approx(whole, rel=0.05)


class Killed(BaseException):
    """Ends a session in the middle of a step."""


@pytest.mark.parametrize("at", [3, 11, 33])
def test_a_killed_training_ends_in_the_bits_of_one_that_was_left_alone(
    family: Family, at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = family.train()
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "again"))
    show = measure._Observer.__call__

    def die(self: Any, run: Any) -> None:
        show(self, run)
        if run.step == at:
            raise Killed

    monkeypatch.setattr(measure._Observer, "__call__", die)
    with pytest.raises(Killed):
        family.train()
    steps: list[int] = []

    def count(self: Any, run: Any) -> None:
        steps.append(run.step)
        show(self, run)

    monkeypatch.setattr(measure._Observer, "__call__", count)
    assert family.train() == expected
    assert steps[0] == at // 7 * 7  # it went on from the last state that was saved


def test_a_state_whose_checkpoints_are_lost_is_begun_again(family: Family) -> None:
    expected = family.train()
    (family.recipe.folder(4) / "model.safetensors").unlink()
    assert not family.recipe.is_trained()
    assert family.train() == expected
    assert family.recipe.is_trained()


def test_threads_change_no_bit(family: Family, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = family.train()
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "again"))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert family.train().checkpoints == expected.checkpoints
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_seeds_differ_in_their_start_and_in_what_they_read(family: Family) -> None:
    one, other = family.train(), family.train(seed=1)
    assert {c.sha256 for c in one.checkpoints}.isdisjoint(c.sha256 for c in other.checkpoints)
    assert one.curve != other.curve


def test_a_training_that_diverges_is_one_line(family: Family) -> None:
    with pytest.raises(SubjectError, match=r"a loss that is no number after step \d+.*lower the size's rate"):
        family.train(size=replace(TINY, rate=1e38))


def test_a_checkpoint_is_a_subject(family: Family) -> None:
    family.train()
    end, early, start = (find_subject(f"gpt2-mini-d64{at}") for at in ("", "@12", "@0"))
    assert (end.trained, early.trained, start.trained) == (True, True, False)
    assert len({one.fingerprint() for one in (end, early, start)}) == 3
    weights = [one.model(torch.float32).get_input_embeddings().weight for one in (end, early, start)]  # pyright: ignore
    assert not torch.equal(weights[0], weights[1])
    # Training starts from the weights that the untrained twin of the same seed has.
    twin = end.untrained(0).model(torch.float32)
    assert torch.equal(twin.get_input_embeddings().weight, weights[2])  # pyright: ignore
    tokenizer = end.tokenizer()
    assert tokenizer.decode(tokenizer.encode("the sky is blue")) == "the sky is blue"


def test_a_subject_that_was_not_trained_says_so(family: Family) -> None:
    with pytest.raises(SubjectError, match="which trains it first"):
        find_subject("gpt2-mini-d64").model(torch.float32)
    with pytest.raises(UsageError, match="got step 5, expected one of 0, 4, 12, 32, 40"):
        find_subject("gpt2-mini-d64@5")


class Ask:
    """Asks for next tokens of some subjects, in two rounds."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def rounds(self, trial: Trial) -> Rounds:
        found: list[Measurement] = []
        for _ in range(2):
            found += yield [ask(find_subject(name)) for name in self.names]
        return Evidence(measurements=tuple(found))


def ask(subject: Any) -> Arm:
    unit = Unit(prompt="the sky is", seed=0)
    return NextTokenArm(subject=subject.id, source=subject.fingerprint(), units=(unit,))


def make_item(*names: str) -> ItemRun:
    claim = Claim(
        id="T01",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=Ask(*names),
        criteria=(AtLeast("number", 1, because="a test"),),
        subjects=names,
        protocols=(PAGE,),
    )
    trial = Trial(subject=find_subject(names[0]), protocol=PAGE, effort="smoke", units=Units(smoke=2))
    return ItemRun(claim=claim, trial=trial)


def run_item(folder: Path, *names: str) -> tuple[ItemRun, list[Arm]]:
    item = make_item(*names)
    measured: list[Arm] = []

    class Noted(NoProgress):
        def begin(self, arm: Arm) -> None:
            measured.append(arm)

    Scheduler(Ledger(folder), Inline, progress=Noted()).run([item])
    if item.error is not None:
        raise item.error
    return item, measured


def test_models_are_trained_once_before_anything_is_measured_on_them(family: Family, tmp_path: Path) -> None:
    item, measured = run_item(tmp_path / "ledger", "gpt2-mini-d64@12", "gpt2-mini-d64", "gpt2-mini-d64:1@4")
    kinds = [arm.kind for arm in measured]
    assert kinds == ["training"] * 2 + ["next token"] * 3
    assert item.evidence is not None
    assert len(item.evidence.measurements) == 6  # the trainings are no answer to what was asked
    # Everything is stored now.
    assert run_item(tmp_path / "ledger", "gpt2-mini-d64@12", "gpt2-mini-d64", "gpt2-mini-d64:1@4")[1] == []


def test_weights_that_are_no_longer_here_are_trained_again(family: Family, tmp_path: Path) -> None:
    run_item(tmp_path / "ledger", "gpt2-mini-d64")
    for file in family.recipe.folder(40).iterdir():
        file.unlink()
    _, measured = run_item(tmp_path / "ledger", "gpt2-mini-d64@4")
    assert [arm.kind for arm in measured] == ["training", "next token"]


def test_what_is_stored_needs_no_model(family: Family, tmp_path: Path) -> None:
    run_item(tmp_path / "ledger", "gpt2-mini-d64")
    for step in family.recipe.checkpoints:
        for file in family.recipe.folder(step).iterdir():
            file.unlink()
    # As on another machine, which has the ledger alone.
    item, measured = run_item(tmp_path / "ledger", "gpt2-mini-d64")
    assert measured == []
    assert item.evidence is not None
    # What was recorded of the training counts there, too, unless something has to be measured on its weights.
    ledger, subject = Ledger(tmp_path / "ledger"), find_subject("gpt2-mini-d64")
    assert isinstance(subject, TrainedSubject)
    found = [
        Scheduler(ledger, Inline, progress=NoProgress(), reads_only=reads_only).look_up(TrainingArm.of(subject, "cpu"))
        for reads_only in (True, False)
    ]
    assert [one is not None for one in found] == [True, False]


def test_a_plan_counts_the_training_and_what_comes_behind_it(family: Family) -> None:
    planned = dry_run(make_item("gpt2-mini-d64"))
    assert [(arm.kind, later) for arm, later in planned] == [("training", False), ("next token", True)]
    assert estimate_cost(planned[0][0]).seconds > 0


def test_progress_says_how_far_a_training_is(family: Family) -> None:
    subject = find_subject("gpt2-mini-d64")
    assert isinstance(subject, TrainedSubject)
    arm = TrainingArm.of(subject, "cpu")
    assert arm.describe_progress() == ""
    measure_training(arm, LoadedModels())
    words = arm.describe_progress()
    assert words.startswith("step 39 of 40, loss ")
    assert words.endswith(" tokens/s")


def test_a_name_without_a_seed_stands_for_three_models() -> None:
    subject = find_subject("gpt2-mini-d64@300")
    trial = Trial(subject=subject, protocol=PAGE, effort="standard", units=Units(standard=12))
    own = assign_arms(trial, Stack(blocks=1), make_arm)
    assert [weights_of(one.arm)[0] for one in own] == [f"gpt2-mini-d64:{seed}@300" for seed in range(3)]
    assert sorted(place for one in own for place in one.places) == list(range(12))
    fixed = replace(trial, subject=find_subject("gpt2-mini-d64:1@300"))
    (one,) = assign_arms(fixed, Stack(blocks=1), make_arm)
    assert weights_of(one.arm)[0] == "gpt2-mini-d64:1@300"
    # Units are paired with the untrained twins of the same seeds, which training started from.
    twins = stack_settings(trial, Stack(blocks=1), 2, randomized=True)
    assert twins.subject == "gpt2-mini-d64-untrained:2"
    # Step sizes are tuned on a model that is trained anyway.
    assert tuning_seed(trial, Stack(blocks=1)) == 0


def make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> GradientArm:
    return GradientArm(settings=settings, units=units)


def test_one_training_serves_a_seed_under_both_of_its_names() -> None:
    arms = [ask(find_subject(name)) for name in ("gpt2-mini-d64", "gpt2-mini-d64:0", "gpt2-mini-d64:0@30")]
    assert len({find_training(arm) for arm in arms}) == 1
    assert find_training(ask(find_subject("smollm2-135m-untrained:0"))) is None
    assert find_training(ask(find_subject("gpt2-mini-d64-untrained:0"))) is None


def test_step_sizes_are_tuned_by_the_loss_after_a_short_training(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "Recipe", lambda *, size, seed: replace(family.recipe, size=size, seed=seed))
    losses = rates.tune(TINY, rates=(1e-6, 1e-2), steps=20)
    assert list(losses) == [1e-6, 1e-2]
    assert losses[1e-6] == pytest.approx(math.log(2048), abs=0.1)  # nothing was learned
    assert losses[1e-2] < losses[1e-6] - 1
    assert rates.tune(TINY, rates=(1e-2,), steps=20) == {1e-2: losses[1e-2]}


def test_conditioning_is_set_against_hits_at_every_checkpoint(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "CPU_CAP", 30)
    procedure = ConditioningExplains(stack=Stack(blocks=1, head=True), steps=(4, 12, 32))
    item = make_item("gpt2-mini-d64")
    criteria = (AtLeast("rank correlation", 0.5, because="a test"),)
    claim = replace(item.claim, procedure=procedure, protocols=(CONTROLLED,), criteria=criteria)
    trial = replace(item.trial, protocol=CONTROLLED, units=Units(smoke=18, standard=18))
    item = ItemRun(claim=claim, trial=trial)
    Scheduler(Ledger(tmp_path / "ledger"), Inline, progress=NoProgress()).run([item])
    assert item.evidence is not None, item.error
    estimate = item.evidence.estimates["rank correlation"]
    assert (estimate.n, estimate.low >= -1, estimate.high <= 1) == (18, True, True)
    points = next(table for table in item.evidence.tables if table.title == "Conditioning and hits by checkpoint")
    assert [row[1:3] for row in points.rows] == [(step, seed) for step in (4, 12, 32) for seed in range(3)]
    # Three models at three checkpoints: no two have one condition number.
    assert len({row[3] for row in points.rows}) == 9
