"""A model whose files are replaced while a session runs is noticed: nothing is filed under another's weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.arms.arm import Arm, Result
from engine.arms.measurement import Measurement
from engine.errors import SubjectError
from engine.experiments.embedding.arm import RoundTripArm
from engine.experiments.inputs import WrapObserver
from engine.models import find_subject
from engine.models.loaded import LoadedModels
from engine.running.executors import run_arm as running
from engine.running.executors.inline import Inline
from engine.tests.claim.test_own_claims import read_example
from engine.tests.commands.test_usage_errors import DECODE, check_line
from engine.tests.measured import Inverses, read_measurements
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.tiny_models import make_gpt2, save, write_gguf

OTHER = {"initializer_range": 0.3, "n_positions": 64}
"""What makes another model of the same sizes as the first one."""


def save_model(folder: Path) -> Path:
    return save(folder / "model", make_gpt2(n_positions=64))


def write_packed(folder: Path) -> Path:
    return write_gguf(folder / "tiny.gguf", make_gpt2(n_positions=64))


def put_another_in_its_place(path: Path) -> None:
    other = save(path.parent / "other", make_gpt2(**OTHER))
    os.replace(other / "model.safetensors", path / "model.safetensors")


def write_over_it(path: Path) -> None:
    """In place, of the same length, with the time of change put back: what only the file system's own time shows."""
    other, weights = save(path.parent / "other", make_gpt2(**OTHER)), path / "model.safetensors"
    before = weights.stat()
    weights.write_bytes((other / "model.safetensors").read_bytes())
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_size == before.st_size


def change_settings(path: Path) -> None:
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(settings | {"layer_norm_epsilon": 1e-3}))


def change_tokenizer(path: Path) -> None:
    tokenizer = path / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")


def remove_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def put_another_packed_in_its_place(path: Path) -> None:
    os.replace(write_gguf(path.with_name("other.gguf"), make_gpt2(**OTHER)), path)


WAYS = {
    "another file": (save_model, put_another_in_its_place),
    "written over": (save_model, write_over_it),
    "other settings": (save_model, change_settings),
    "another tokenizer": (save_model, change_tokenizer),
    "another GGUF file": (write_packed, put_another_packed_in_its_place),
}
Act = Callable[[], None]


def before_the_arm(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Inline.run

    def act_and_run(self: Inline, arm: Arm) -> Measurement:
        once(act, arm)
        return run(self, arm)

    monkeypatch.setattr(Inline, "run", act_and_run)


def before_the_weights_are_read(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = running.measure_arm

    def act_and_measure(arm: Arm, models: LoadedModels, watch: WrapObserver) -> Result:
        once(act, arm)
        return measure(arm, models, watch)

    monkeypatch.setattr(running, "measure_arm", act_and_measure)


def while_it_is_measured(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = running.measure_arm

    def measure_and_act(arm: Arm, models: LoadedModels, watch: WrapObserver) -> Result:
        result = measure(arm, models, watch)
        once(act, arm)
        return result

    monkeypatch.setattr(running, "measure_arm", measure_and_act)


def once(act: Act, arm: Arm) -> None:
    if isinstance(arm, RoundTripArm):
        act()


MOMENTS = {
    moment.__name__.replace("_", " "): moment
    for moment in (before_the_arm, before_the_weights_are_read, while_it_is_measured)
}


CASES = {
    **{moment: ("another file", moment) for moment in MOMENTS},
    **{way: (way, "while it is measured") for way in WAYS if way != "another file"},
}


@pytest.mark.parametrize(("way", "moment"), CASES.values(), ids=CASES)
def test_a_model_replaced_during_a_session_is_an_error_of_its_arm_alone(
    way: str, moment: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, replace_it = WAYS[way]
    path = make(pytester.path)
    subject = f"local:{path}"
    first = find_subject(subject).fingerprint()
    pytester.makepyfile(DECODE)
    write_claim(pytester.path, "supported", name="c91", id="C91", procedure=Inverses())
    MOMENTS[moment](lambda: replace_it(path), monkeypatch)
    result = run_session(pytester, "--subject", subject)
    assert result.ret == 3
    failed, other = read_session(pytester)
    assert (failed.claim, failed.outcome, other.outcome) == ("C90", "error", "passed")
    second = find_subject(subject).fingerprint()
    check_line(failed.sentence, subject, "files that were replaced while the session ran", first, second)
    result.stdout.no_fnmatch_line("*Traceback*")
    assert {m.arm.kind for m in read_measurements(pytester.path / ".ledger")} == {"pseudo-inverse"}


def test_nothing_is_measured_on_other_weights_than_an_arm_is_named_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = RoundTripArm(subject=f"local:{save_model(tmp_path)}", source="folder:sha256:another")
    monkeypatch.setattr(running, "measure_arm", lambda *_: pytest.fail("measured in vain"))
    with pytest.raises(SubjectError, match=r"files that were replaced .*, expected folder:sha256:another"):
        Inline().run(arm)


def test_the_next_session_measures_the_model_that_is_there_now(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_model(pytester.path)
    pytester.makepyfile(DECODE)
    with monkeypatch.context() as patch:
        while_it_is_measured(lambda: put_another_in_its_place(path), patch)
        assert run_session(pytester, "--subject", f"local:{path}").ret == 3
    assert run_session(pytester, "--subject", f"local:{path}").ret == 0
    (record,) = read_session(pytester)
    assert record.sources == {record.subject: find_subject(record.subject).fingerprint()}


def test_weights_that_vanish_during_a_session_are_an_error_that_names_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_model(pytester.path)
    pytester.makepyfile(DECODE)
    before_the_arm(lambda: remove_weights(path), monkeypatch)
    result = run_session(pytester, "--subject", f"local:{path}")
    assert result.ret == 3
    (record,) = read_session(pytester)
    check_line(record.sentence, f"local:{path}", "no weights")
    assert not read_measurements(pytester.path / ".ledger")


def test_no_verdict_rests_on_the_weights_of_two_models(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run, ran = save_model(pytester.path), Inline.run, list[str]()

    def run_and_replace(self: Inline, arm: Arm) -> Measurement:
        measurement = run(self, arm)
        ran.append(arm.kind)
        if ran == ["tuning", "tuning"]:  # the next ones are asked for once both are there
            put_another_in_its_place(path)
        return measurement

    monkeypatch.setattr(Inline, "run", run_and_replace)
    (pytester.path / "test_own1.py").write_text(read_example(), encoding="utf-8")
    result = run_session(pytester, "--effort", "smoke", "--subject", f"local:{path}")
    assert result.ret == 3
    (record,) = read_session(pytester)
    check_line(record.sentence, f"local:{path}", "files that were replaced while the session ran")
    assert ran == ["tuning", "tuning"]


def test_what_was_read_of_another_model_is_not_used_once_the_first_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_model(tmp_path)
    kept = (path / "model.safetensors").read_bytes()
    subject = find_subject(f"local:{path}")
    arm = RoundTripArm(subject=subject.id, source=subject.fingerprint())
    inline = Inline()
    with monkeypatch.context() as patch:
        before_the_weights_are_read(lambda: put_another_in_its_place(path), patch)
        with pytest.raises(SubjectError, match="files that were replaced"):
            inline.run(arm)
    (path / "model.safetensors").write_bytes(kept)
    assert inline.run(arm).content() == Inline().run(arm).content()


def test_arms_of_two_models_in_one_place_are_each_measured_on_their_own(tmp_path: Path) -> None:
    path, inline = save_model(tmp_path), Inline()
    found: list[Measurement] = []
    for _ in range(2):
        subject = find_subject(f"local:{path}")
        arm = RoundTripArm(subject=subject.id, source=subject.fingerprint())
        found.append(inline.run(arm))
        assert found[-1].content() == Inline().run(arm).content()
        put_another_in_its_place(path)
    assert found[0].result != found[1].result
