"""A session says of each item whether it is as registered, amended since, or exploratory, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from engine.claim.on_record import Outcome
from engine.claim.procedure import Evidence
from engine.claim.registration import LOCK, compare_dates, read_lock, write_lock
from engine.commands.register import main
from engine.experiments.inversion.arm import InversionResult
from engine.records import Record, Registration
from engine.session.items import Item
from engine.session.record import write_record
from engine.tests.claim.test_registration import make_entry
from engine.tests.planted import INVERSION, make_measurement, make_trial
from engine.tests.planted_claims import plant, read_session, run_session, write_claim
from engine.tests.tiny_models import make_gpt2, save

REGISTERED = Registration(status="registered", date="2026-03-01T12:30:00+00:00", commit="a" * 40)
BEFORE, AFTER = "2026-03-01T12:29:59+00:00", "2026-03-01T12:30:00+00:00"


@pytest.mark.parametrize(
    ("moments", "remark"),
    [
        ([AFTER], ""),
        ([], ""),
        ([BEFORE], "measured before that"),
        ([AFTER, BEFORE], "in part measured before that"),
    ],
    ids=["after", "nothing measured", "before", "before and after"],
)
def test_measurements_that_are_older_than_the_registration_are_said_to_be(moments: list[str], remark: str) -> None:
    assert compare_dates(REGISTERED, moments) == replace(REGISTERED, why=remark)


def test_the_record_of_an_item_holds_its_measurements_against_its_registration(tmp_path: Path) -> None:
    earlier = make_measurement(INVERSION, InversionResult(runs=(), curve_at=(), texts={}), measured_at=BEFORE)
    choices: Any = SimpleNamespace(root=tmp_path, device="cpu", began=AFTER)
    record = write_record(
        Item(claim=plant("supported"), trial=make_trial(), asked=False),
        choices,
        tmp_path / "claim.py",
        Outcome.INCONCLUSIVE,
        "",
        evidence=Evidence(measurements=(earlier,)),
        registration=REGISTERED,
    )
    assert record.registration == replace(REGISTERED, why="measured before that")


def session(pytester: pytest.Pytester, *options: str) -> Record:
    """The record of the only item of a session."""
    run_session(pytester, *options)
    (record,) = read_session(pytester)
    return record


def register(pytester: pytest.Pytester) -> None:
    assert main([str(pytester.path)]) == 0


def test_an_item_without_a_lock_is_exploratory(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    assert session(pytester).registration == Registration(status="exploratory", why="not registered")


def test_an_item_is_registered_with_the_date_and_commit_of_the_lock(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    register(pytester)
    text = (pytester.path / LOCK).read_text(encoding="utf-8").replace('commit = ""', f'commit = "{"d" * 40}"')
    (pytester.path / LOCK).write_text(text, encoding="utf-8")
    ((entry,),) = read_lock(pytester.path / LOCK).values()
    expected = Registration(status="registered", date=entry.date.isoformat(), commit="d" * 40)
    assert session(pytester).registration == expected


@pytest.mark.parametrize("outcome", ["skipped", "error"])
def test_an_item_without_a_verdict_has_a_status_too(outcome: str, pytester: pytest.Pytester) -> None:
    options = {"subjects": ("gpt2",)} if outcome == "skipped" else {}
    write_claim(pytester.path, "supported", **options)
    register(pytester)
    if outcome == "error":
        (pytester.path / "verdicts.toml").write_text("[[verdict]\n")
    record = session(pytester)
    assert (record.outcome, record.registration and record.registration.status) == (outcome, "registered")


def test_a_changed_criterion_is_amended_and_registering_it_again_hides_nothing(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    register(pytester)
    write_claim(pytester.path, "partly supported")
    once = session(pytester).registration
    register(pytester)
    twice = session(pytester).registration
    first, again = read_lock(pytester.path / LOCK)["C90"]
    since = f"criteria changed after {first.words}"
    expected = Registration(status="amended", date=first.date.isoformat(), why=f"{since}, and not registered again")
    assert once == expected
    assert twice == replace(expected, why=f"{since}, registered again on {again.words}")


def test_a_claim_that_is_again_as_it_was_first_registered_is_registered(pytester: pytest.Pytester) -> None:
    for ruling in ("supported", "partly supported", "supported"):
        write_claim(pytester.path, ruling)
        register(pytester)
    assert len(read_lock(pytester.path / LOCK)["C90"]) == 3
    found = session(pytester).registration
    assert found
    assert (found.status, found.why) == ("registered", "")


def test_a_changed_sentence_amends_nothing(pytester: pytest.Pytester) -> None:
    path = write_claim(pytester.path, "supported")
    register(pytester)
    other = "\nimport dataclasses\n\nCLAIM = dataclasses.replace(CLAIM, sentence='y', notes=('z',))\n"
    path.write_text(path.read_text(encoding="utf-8") + other, encoding="utf-8")
    record = session(pytester)
    assert (record.statement, record.registration and record.registration.status) == ("y", "registered")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--prompt", "A sentence of my own."), "with the user's own prompts"),
        (("--seeds", "2"), "with 2 start seeds for each prompt"),
        (("--dtype", "float64"), "computed in float64"),
        (("--subject", "gpt2-untrained:7"), "on gpt2-untrained:7, which is not one of its subjects"),
        (("--seeds", "3", "--dtype", "bfloat16"), "with 3 start seeds for each prompt and computed in bfloat16"),
    ],
    ids=["own prompt", "more seeds", "other dtype", "other subject", "two at once"],
)
def test_what_was_not_registered_is_exploratory(options: tuple[str, ...], why: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    register(pytester)
    assert session(pytester, *options).registration == Registration(status="exploratory", why=why)


def test_a_model_of_the_users_own_is_exploratory(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    register(pytester)
    model = save(pytester.path / "model", make_gpt2(n_embd=16, n_positions=64))
    found = session(pytester, "--subject", f"local:{model}").registration
    assert found == Registration(status="exploratory", why="on the user's own model")


def test_the_nearest_lock_counts(pytester: pytest.Pytester) -> None:
    inner = pytester.mkdir("inner")
    write_claim(inner, "supported")
    register(pytester)
    (inner / LOCK).write_text(write_lock({"C91": [make_entry()]}), encoding="utf-8")
    assert session(pytester).registration == Registration(status="exploratory", why="not registered")


def test_a_spoilt_lock_is_an_error_in_one_line(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    (pytester.path / LOCK).write_text("[[C90]\n")
    result = run_session(pytester)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["*registered.lock: got *expected TOML*restore it from git*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_end_of_a_session_names_what_is_not_registered(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    register(pytester)
    write_claim(pytester.path, "supported", name="other", id="C91")
    write_claim(pytester.path, "partly supported")
    result = run_session(pytester)
    result.stdout.fnmatch_lines(
        ["amended since they were registered: C90", "exploratory, not as registered: C91"], consecutive=True
    )


THREE = ("gpt2-untrained", "smollm2-135m-untrained", "gpt2-medium-untrained")


def register_again(pytester: pytest.Pytester, subjects: tuple[str, ...], ruling: str = "supported") -> None:
    """As `register`, a second later, since entries are told apart by their dates."""
    write_claim(pytester.path, ruling, subjects=subjects)
    with patch("engine.commands.register.datetime", wraps=datetime) as clock:
        clock.now.side_effect = lambda zone: datetime.now(zone) + timedelta(seconds=1)
        register(pytester)


def statuses(pytester: pytest.Pytester) -> dict[str, tuple[str, str]]:
    """The status of each item and since when, by its subject."""
    run_session(pytester)
    found = {record.subject: record.registration for record in read_session(pytester)}
    return {subject: (one.status, one.date) for subject, one in found.items() if one is not None}


def test_a_further_subject_amends_nothing_for_the_others_and_counts_since_it_was_added(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(pytester.path, "supported", subjects=THREE[:1])
    register(pytester)
    write_claim(pytester.path, "supported", subjects=THREE[:2])
    (first,) = read_lock(pytester.path / LOCK)["C90"]
    began = first.date.isoformat()
    unregistered = statuses(pytester)
    assert unregistered[THREE[0]] == ("registered", began)
    assert unregistered[THREE[1]] == ("amended", began)
    register_again(pytester, (*THREE[1:], THREE[0]))
    assert f"C90  extended   subjects added after {first.words}" in capsys.readouterr().out.splitlines()
    second = read_lock(pytester.path / LOCK)["C90"][-1].date.isoformat()
    since = {THREE[0]: began, THREE[1]: second, THREE[2]: second}
    assert began < second
    assert statuses(pytester) == {subject: ("registered", date) for subject, date in since.items()}


def test_a_further_subject_hides_no_other_change(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", subjects=THREE[:1])
    register(pytester)
    register_again(pytester, THREE[:2], "partly supported")
    assert {status for status, _ in statuses(pytester).values()} == {"amended"}


def test_a_subject_that_was_taken_out_leaves_the_others_amended(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", subjects=THREE[:2])
    register(pytester)
    register_again(pytester, THREE[:1])
    assert [status for status, _ in statuses(pytester).values()] == ["amended"]
