"""What libraries and other plugins do costs a user's session of claims neither its verdicts nor its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.records import read_records
from engine.tests.disks import read_only
from engine.tests.planted_claims import read_session, run_session, write_claim

SETTINGS = Path(__file__).resolve().parents[3] / "pyproject.toml"
WARNS = (
    "import warnings\n\n\n"
    "def test_claim(verdict):\n    warnings.warn('a notice of a library', UserWarning)\n"
    "    assert verdict.supported, verdict.sentence\n"
)


def run_by_our_settings(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """A session under this repository's settings, as `pytest claims` has them, in the test's folder."""
    return run_session(pytester, "-c", str(SETTINGS), f"--rootdir={pytester.path}", str(pytester.path), *options)


def check_ending(pytester: pytest.Pytester, result: pytest.RunResult) -> None:
    assert result.ret == 0, result.outlines
    assert [record.outcome for record in read_session(pytester)] == ["passed"]
    result.stdout.fnmatch_lines(["C90  gpt2-untrained  direct  supported*", "report: *index.html"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.filterwarnings("default")
def test_a_librarys_warning_is_shown_and_ends_nothing(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", test=WARNS)
    result = run_by_our_settings(pytester)
    check_ending(pytester, result)
    result.stdout.fnmatch_lines(["*UserWarning: a notice of a library"])


@pytest.mark.filterwarnings("default")
def test_a_cache_that_cannot_be_written_is_a_warning(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    (pytester.path / ".pytest_cache").write_text("a file where pytest makes a folder")
    result = run_by_our_settings(pytester)
    check_ending(pytester, result)
    result.stdout.fnmatch_lines(["*could not create cache path*"])


@pytest.mark.filterwarnings("default")
def test_in_a_checkout_that_may_not_be_written_other_places_do(pytester: pytest.Pytester, tmp_path: Path) -> None:
    checkout = pytester.mkdir("checkout")
    write_claim(checkout, "supported")
    places = ("--ledger", str(tmp_path / "ledger"), "--report-dir", str(tmp_path / "report"))
    settings = ("-c", str(SETTINGS), f"--rootdir={checkout}", str(checkout))
    with read_only(checkout):
        result = run_session(pytester, *settings, *places)
    assert result.ret == 0, result.outlines
    result.stdout.fnmatch_lines(["C90  gpt2-untrained  direct  supported*", "report: *index.html"])
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.parametrize("when", ["before the summary", "beside it"])
def test_a_plugin_that_fails_at_the_end_costs_no_report(when: str, pytester: pytest.Pytester) -> None:
    """The summary is inside of pytest's own ending; a wrapper around that fails after it."""
    body = "    raise OSError(28, 'No space left on device')\n"
    if when == "beside it":
        body = "    yield\n" + body
        hook = "import pytest\n\n\n@pytest.hookimpl(wrapper=True)\ndef pytest_sessionfinish():\n"
    else:
        hook = "def pytest_sessionfinish():\n"
    pytester.makeconftest(hook + body)
    write_claim(pytester.path, "supported")
    result = run_session(pytester)
    assert result.ret == 3
    assert [record.outcome for record in read_session(pytester)] == ["passed"]
    verdicts = [line for line in result.outlines if line.startswith("C90  gpt2-untrained  direct  supported")]
    assert len(verdicts) == 1
    result.stdout.fnmatch_lines(
        ["report: *index.html", "pytest: got a failure of another plugin at its end*No space left*-p no:NAME"]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_an_item_that_another_fixture_loses_is_an_error_in_the_report(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef theirs():\n    raise OSError('lost')\n"
    )
    write_claim(pytester.path, "supported")
    result = run_session(pytester)
    assert result.ret == 3
    (record,) = read_session(pytester)
    assert record.outcome == "error"
    assert "OSError: lost" in record.sentence


def test_a_file_that_cannot_be_collected_makes_the_run_one_of_a_part(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    write_claim(pytester.path, "supported", name="other", id="C91")
    assert run_session(pytester).ret == 0
    whole = (pytester.path / "reports" / "latest" / "index.html").read_bytes()
    (pytester.path / "test_other.py").write_text("import nothing_of_this_name\n")
    assert run_session(pytester, "--continue-on-collection-errors").ret == 3
    assert (pytester.path / "reports" / "latest" / "index.html").read_bytes() == whole
    part = read_records(pytester.path / "reports" / "latest" / "part" / "records.jsonl")
    assert [(record.claim, record.session is not None and record.session.part) for record in part] == [("C90", True)]


def test_an_item_that_is_run_several_times_is_one_record(pytester: pytest.Pytester) -> None:
    body = "def test_claim(verdict, again):\n    assert verdict.supported\n"
    test = f"import pytest\n\n\n@pytest.mark.parametrize('again', range(3))\n{body}"
    write_claim(pytester.path, "supported", test=test)
    result = run_session(pytester)
    assert result.ret == 0
    assert len(read_session(pytester)) == 1
    assert sum(line.startswith("C90  gpt2-untrained") for line in result.outlines) == 1


def test_a_verdict_without_a_claim_is_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("CLAIMS = None\n\n\ndef test_claim(verdict):\n    assert verdict\n")
    result = run_session(pytester)
    result.stdout.fnmatch_lines(["verdict: got no claim in *.py, expected a module that declares one; write CLAIM = *"])
    assert "AttributeError" not in result.stdout.str()


def test_a_plugin_that_fails_at_the_end_leaves_a_drift_red(pytester: pytest.Pytester) -> None:
    """The exit code says that the suite failed; the verdict stands in the table."""
    from engine.tests.planted_claims import write_verdict

    pytester.makeconftest("def pytest_sessionfinish():\n    raise RuntimeError('theirs')\n")
    write_claim(pytester.path, "supported")
    write_verdict(pytester.path, "refuted")
    result = run_session(pytester)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["C90  gpt2-untrained  direct  supported (drift)*"])
