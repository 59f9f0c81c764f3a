"""What a session makes of verdicts: categories, JUnit properties and exit codes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from engine.tests.planted_claims import read_session, run_session, write_claim, write_verdict


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return run_session(pytester, "--junitxml=junit.xml", *options)


def category(result: pytest.RunResult) -> str:
    """The summary's word for the session's only item."""
    words = result.outlines[-1].strip("= ").split(" in ")[0]
    assert words.startswith("1 "), result.outlines
    return words.removeprefix("1 ")


def properties(pytester: pytest.Pytester) -> dict[str, str]:
    """What JUnit says of the session's only item."""
    (case,) = ET.parse(pytester.path / "junit.xml").iter("testcase")  # noqa: S314 - we wrote it
    return {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}


@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
@pytest.mark.parametrize(
    ("ruling", "on_record", "expected", "exit_codes"),
    [
        ("supported", None, "passed", (0, 0)),
        ("supported", "supported", "passed", (0, 0)),
        ("supported", "inconclusive", "passed", (0, 0)),
        ("supported", "refuted", "drift", (1, 1)),
        ("supported", "partly supported", "drift", (1, 1)),
        ("refuted", None, "finding", (0, 1)),
        ("refuted", "refuted", "xfailed", (0, 0)),
        ("refuted", "supported", "drift", (1, 1)),
        ("partly supported", None, "finding", (0, 1)),
        ("partly supported", "partly supported", "xfailed", (0, 0)),
        ("partly supported", "refuted", "drift", (1, 1)),
        ("inconclusive", None, "inconclusive", (0, 1)),
        ("inconclusive", "supported", "inconclusive", (0, 1)),
        ("inconclusive", "refuted", "inconclusive", (0, 1)),
        ("not run at this effort", None, "not run", (0, 1)),
        ("not run at this effort", "refuted", "not run", (0, 1)),
    ],
)
def test_a_verdict_beside_the_record_is_this_outcome(
    ruling: str,
    on_record: str | None,
    expected: str,
    exit_codes: tuple[int, int],
    strict: bool,
    pytester: pytest.Pytester,
) -> None:
    write_claim(pytester.path, ruling)
    if on_record is not None:
        write_verdict(pytester.path, on_record)
    result = run(pytester, *(["--strict-verdicts"] if strict else []))
    assert result.ret == exit_codes[strict], result.outlines
    assert category(result) == ("failed" if exit_codes[strict] else expected)
    assert properties(pytester)["verdict"] == ruling
    assert properties(pytester)["outcome"] == expected
    (record,) = read_session(pytester)
    assert (record.ruling, record.outcome) == (ruling, expected)


def test_a_refuted_claim_on_record_shows_its_sentence_and_the_records_reason(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "refuted")
    write_verdict(pytester.path, "refuted")
    result = run(pytester, "-rx")
    result.stdout.re_match_lines([r"XFAIL .*x = 0\.25 \[0\.25, 0\.5\].*outside x > 1.*since 2026-03-01: Seen\."])


def test_drift_says_what_was_found_and_what_is_on_record(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    write_verdict(pytester.path, "refuted")
    result = run(pytester)
    result.stdout.re_match_lines([r"Drift: Supported: x = 2 .*On record: refuted .*since 2026-03-01: Seen\."])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    "options",
    [("--prompt", "A sentence of my own."), ("--seeds", "2"), ("--dtype", "float64")],
    ids=["own prompt", "more seeds", "other dtype"],
)
def test_the_record_is_not_compared_with_what_was_not_registered(
    options: tuple[str, str], pytester: pytest.Pytester
) -> None:
    write_claim(pytester.path, "refuted")
    write_verdict(pytester.path, "supported")
    result = run(pytester, *options)
    assert (result.ret, category(result)) == (0, "finding")


@pytest.mark.parametrize(("other", "expected"), [("C91", "finding"), ("C90", "xfailed")])
def test_the_record_of_another_claim_does_not_count(other: str, expected: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "refuted")
    write_verdict(pytester.path, "refuted", claim=other)
    assert category(run(pytester)) == expected


def test_a_skipped_item_says_what_to_do_and_is_in_the_report(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", subjects=("gpt2",))
    result = run(pytester, "-rs")
    assert (result.ret, category(result)) == (0, "skipped")
    result.stdout.fnmatch_lines(["*gpt2 is a gpu subject and this session runs on cpu: run on a machine with a GPU*"])
    assert properties(pytester)["outcome"] == "skipped"
    assert [record.outcome for record in read_session(pytester)] == ["skipped"]


def test_missing_weights_skip_with_the_command_that_fetches_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(pytester.path / "hub"))
    write_claim(pytester.path, "supported", subjects=("gpt2",))
    result = run(pytester, "-rs", "--subject", "gpt2")
    assert (result.ret, category(result)) == (0, "skipped")
    result.stdout.fnmatch_lines(["*hf download openai-community/gpt2 --revision *"])


@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
def test_an_exception_in_the_experiment_is_an_error_of_the_suite(strict: bool, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", error=MemoryError("no room"))
    result = run(pytester, *(["--strict-verdicts"] if strict else []))
    assert (result.ret, category(result)) == (3, "error")
    assert properties(pytester)["outcome"] == "error"
    assert "verdict" not in properties(pytester)
    (record,) = read_session(pytester)
    assert (record.outcome, record.ruling, record.sentence) == ("error", None, "MemoryError: no room")


def test_an_error_that_the_user_can_mend_is_one_line_without_a_traceback(pytester: pytest.Pytester) -> None:
    claim = write_claim(pytester.path, "supported")
    claim.write_text(
        claim.read_text().replace("'supported'", "'supported', error=ShapeError('who: got, expected; do')")
    )
    result = run(pytester)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["who: got, expected; do"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*session.py*")


def test_a_criterion_that_cannot_be_judged_is_an_error_of_the_suite(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    (pytester.path / "verdicts.toml").write_text("[[verdict]\n")
    result = run(pytester)
    assert (result.ret, category(result)) == (3, "error")
    result.stdout.fnmatch_lines(["*verdicts.toml: got *expected TOML*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("ruling", ["supported", "refuted", "inconclusive", "not run at this effort"])
def test_a_mistake_in_the_claims_test_is_covered_by_no_verdict(ruling: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, ruling, test="def test_claim(verdict):\n    assert verdikt.supported\n")
    result = run(pytester)
    assert (result.ret, category(result)) == (3, "failed")
    (record,) = read_session(pytester)
    assert (record.outcome, properties(pytester)["outcome"]) == ("error", "error")
    assert "NameError" in record.sentence


def test_a_test_that_contradicts_a_supported_verdict_is_a_mistake(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", test="def test_claim(verdict):\n    assert not verdict.supported\n")
    assert run(pytester).ret == 3


def test_an_interrupted_session_exits_with_2(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", error=KeyboardInterrupt())
    assert run(pytester).ret == 2


def test_an_interrupted_session_that_measured_nothing_leaves_the_report_of_before(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    assert run(pytester).ret == 0
    before = read_session(pytester)
    write_claim(pytester.path, "supported", error=KeyboardInterrupt())
    write_claim(pytester.path, "supported", name="skipped", id="C91", subjects=("gpt2-xl",))
    result = run(pytester)
    assert result.ret == 2
    result.stdout.fnmatch_lines(["not measured, and left out: 1 of 1 item; run the same command to resume"])
    assert read_session(pytester) == before


def test_a_wrong_option_exits_with_4(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    assert run(pytester, "--effort", "heroic").ret == 4


def test_a_claim_without_items_under_the_options_is_left_out(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    write_claim(pytester.path, "supported", name="other", id="C91", subjects=("smollm2-135m-untrained",))
    result = run(pytester, "--subject", "gpt2-untrained")
    result.assert_outcomes(passed=1, deselected=1)
    assert [record.claim for record in read_session(pytester)] == ["C90"]


def test_ordinary_tests_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_sum():\n    assert 1 + 1 == 3\n")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    assert not (pytester.path / ".ledger").exists()
    assert not (pytester.path / "reports").exists()


def plant_every_outcome(folder: Path) -> dict[str, str]:
    """Claims with the outcome that each is to have."""
    planted = {
        "C91": ("supported", "passed"),
        "C92": ("refuted", "finding"),
        "C93": ("partly supported", "finding"),
        "C94": ("inconclusive", "inconclusive"),
        "C95": ("not run at this effort", "not run"),
        "C96": ("refuted", "xfailed"),
        "C97": ("supported", "drift"),
        "C98": ("supported", "skipped"),
        "C99": ("supported", "error"),
    }
    for id, (ruling, outcome) in planted.items():
        options: dict[str, object] = {"id": id, "name": id.lower()}
        if outcome == "skipped":
            options["subjects"] = ("gpt2-xl",)
        if outcome == "error":
            options["error"] = ValueError("planted")
        write_claim(folder, ruling, **options)  # type: ignore[arg-type]
    entries = [write_verdict(folder, "refuted", claim=id).read_text() for id in ("C96", "C97")]
    (folder / "verdicts.toml").write_text("\n".join(entries))
    return {id: outcome for id, (_, outcome) in planted.items()}


SUMMARY = {"passed": 1, "failed": 1, "skipped": 1, "xfailed": 1, "inconclusive": 1, "errors": 1}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_session_of_every_outcome_counts_each_and_exits_with_3(
    workers: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    if workers:
        pytest.importorskip("xdist", reason="install pytest-xdist to test workers")
    expected = plant_every_outcome(pytester.path)
    result = pytester.runpytest_subprocess("--device", "cpu", *workers, "--junitxml=junit.xml")
    assert result.ret == 3, result.outlines
    counts = result.parseoutcomes()
    assert {name: counts[name] for name in SUMMARY} == SUMMARY
    result.stdout.fnmatch_lines(["*2 finding*1 not run*"])
    assert {record.claim: record.outcome for record in read_session(pytester)} == expected
    assert [record.claim for record in read_session(pytester)] == sorted(expected)
    cases = ET.parse(pytester.path / "junit.xml").iter("testcase")  # noqa: S314 - we wrote it
    found = [p.attrib["value"] for case in cases for p in case.iter("property") if p.attrib["name"] == "outcome"]
    assert sorted(found) == sorted(expected.values())
