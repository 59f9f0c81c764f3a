"""`engine.verify` and `engine.invert`: the same ledger and the same numbers as the commands."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import engine
from engine.commands.invert.command import main
from engine.errors import PromptError, UsageError
from engine.records import Record
from engine.tests.measured import Inverses
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.tiny_models import make_gpt2, save

SENTENCE = "ab ab cd"


@pytest.fixture(name="claims", scope="module")
def provide_claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    write_claim(folder, "supported", procedure=Inverses())
    return folder


def bare(record: Record) -> Record:
    """Without what names the session and the folder."""
    return replace(record, session=None, registration=None, command="", provenance=None, cost_s=0.0)


def test_a_claim_is_judged_as_pytest_does_and_measured_once(
    claims: Path, pytester: pytest.Pytester, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = pytester.path / "ledger"
    first = engine.verify("c90", folder=claims, ledger=ledger, device="cpu", effort="smoke")
    capfd.readouterr()
    stored = sorted(ledger.rglob("*.json"))
    again = engine.verify(["C90"], folder=claims, ledger=ledger, device="cpu", effort="smoke", progress=False)
    assert capfd.readouterr().err == ""
    assert first.verdict == again.verdict == first.records[0].ruling is not None
    assert [bare(r) for r in again.records] == [bare(r) for r in first.records]
    assert stored
    assert sorted(ledger.rglob("*.json")) == stored
    places = ("--ledger", str(ledger), "--report-dir", str(pytester.path / "reports" / "latest"))
    run_session(pytester, str(claims), *places, "--effort", "smoke")
    assert [bare(r) for r in read_session(pytester)] == [bare(r) for r in first.records]


def test_progress_is_passed_on_as_it_comes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho collected 1 item\necho measuring 0/1 arms\necho 'who: got one, expected none'\n")
    script.chmod(0o755)
    write_claim(tmp_path, "supported")
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(UsageError, match=r"^who: got one, expected none$"):
        engine.verify("C90", folder=tmp_path)
    assert capsys.readouterr().err == "measuring 0/1 arms\n"
    with pytest.raises(UsageError):
        engine.verify("C90", folder=tmp_path, progress=False)
    assert capsys.readouterr().err == ""


def test_an_interrupt_reaches_the_session_which_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, told = tmp_path / "python", tmp_path / "told"
    script.write_text(
        f"#!/bin/sh\ntrap 'echo stored > {told}; exit 2' INT\necho measuring 0/1 arms\nsleep 5 >/dev/null 2>&1 & wait\n"
    )
    script.chmod(0o755)
    write_claim(tmp_path, "supported")
    monkeypatch.setattr(sys, "executable", str(script))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.verify("C90", folder=tmp_path)
    assert told.read_text() == "stored\n"


def test_no_report_is_written(claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine.verify("C90", folder=claims, ledger=tmp_path / "ledger", device="cpu", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger"]


def test_what_the_command_refuses_is_an_error_in_its_words(claims: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"verify: got no claim 'C91', expected one of the 1 in .*; did you mean C90\?"
    ):
        engine.verify("C91", folder=claims)
    with pytest.raises(UsageError, match=r"^subject: got 'nobody', expected one of smollm2-135m"):
        engine.verify("C90", folder=claims, subject="nobody", ledger=tmp_path, progress=False)


def test_an_inversion_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = f"local:{save(tmp_path / 'm', make_gpt2(initializer_range=0.3))}"
    ledger, file = tmp_path / "ledger", tmp_path / "run.json"
    found = engine.invert(
        SENTENCE, subject=subject, protocol="controlled", iterations=30, step=0.02, device="cpu", ledger=ledger
    )
    capsys.readouterr()
    words = ("--subject", subject, "--protocol", "controlled", "--iterations", "30", "--step", "0.02")
    assert main([SENTENCE, *words, "--device", "cpu", "--ledger", str(tmp_path / "other"), "--json", str(file)]) == 0
    (run,) = json.loads(file.read_bytes())["result"]["runs"]
    assert (found.run.target, found.run.hit) == (tuple(run["target"]), run["hit"])
    assert (found.recovery, found.exact, found.step) == (run["recovery"], run["recovery"] == 1, 0.02)
    assert "".join(found.prompt) == SENTENCE
    assert [top[0] for top in found.run.snapshots[-1].top] == [top[0] for top in run["snapshots"][-1]["top"]]
    assert capsys.readouterr().err == ""

    frame = found.to_frame()
    assert list(frame["same"]) == [a == b[0] for a, b in zip(run["target"], run["snapshots"][-1]["top"], strict=True)]
    right = int(frame["same"].sum())
    assert repr(found).startswith(f"Inverted: {right} of {len(frame)} tokens came back, ")
    page = found._repr_html_()
    assert (page.count("✓"), page.count("×")) == (right, len(frame) - right)
    # The measurement is the ledger's: asked again, nothing is computed.
    assert (
        engine.invert(
            SENTENCE, subject=subject, protocol="controlled", iterations=30, step=0.02, device="cpu", ledger=ledger
        ).run
        == found.run
    )


def test_a_prompt_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="got an empty prompt"):
        engine.invert(" ", subject="gpt2-untrained", ledger=tmp_path)
