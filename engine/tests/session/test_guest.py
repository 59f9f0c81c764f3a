"""The plugin in other people's sessions of pytest, beside other plugins, and wherever an option's folder lies."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from engine.__main__ import COMMANDS, main
from engine.session.spelling import BY_SPELLING, GROUPS, OPTIONS, find_mistaken, spell_out
from engine.tests.planted_claims import read_session, run_session, write_claim

ROOT = Path(__file__).resolve().parents[3]
BROUGHT = {"markupsafe", "pydantic-core", "tqdm"}
"""Imported by us, and always there with jinja2, pydantic and transformers."""
DECLARE_ALL = "\n".join(
    f"    parser.addoption({option.short!r}, action='append', default=[], help='mine')" for option in OPTIONS
)
THEIRS = f"def pytest_addoption(parser):\n{DECLARE_ALL}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([command, "--help"])
    except SystemExit as end:
        code = end.code
    assert not code
    assert capsys.readouterr().out.startswith(f"usage: lm-claims {command} ")


def test_pytests_own_help_lists_every_option_of_ours(pytester: pytest.Pytester) -> None:
    result = run_session(pytester, "--help")
    assert result.ret == 0, result.errlines
    text = result.stdout.str()
    assert all(f"  {option.long}" in text for option in OPTIONS)
    assert "80 % of what is free" in " ".join(text.split())


def test_the_help_of_verify_lists_every_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {option.short}" in text for option in OPTIONS)
    assert "--claims-NAME" in text


def test_a_command_that_is_none_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verfy"]) == 4
    assert capsys.readouterr().err == (
        "lm-claims: got 'verfy', expected verify, report, ledger, invert, register, weights, gpu-check, calibrate or "
        "bench; write lm-claims verify to test claims, or see lm-claims --help\n"
    )


@pytest.mark.parametrize("place", ["conftest", "plugin"])
def test_options_of_others_by_our_short_names_stay_theirs(place: str, pytester: pytest.Pytester) -> None:
    """No clash, whichever is loaded first: a plugin named by -p is there before ours, a conftest after it."""
    if place == "conftest":
        pytester.makeconftest(THEIRS)
        named = []
    else:
        pytester.makepyfile(theirs=THEIRS)
        pytester.syspathinsert()
        named = ["-p", "theirs"]
    pytester.makepyfile(
        "def test_theirs(request):\n"
        "    assert request.config.getoption('--device') == ['webcam']\n"
        "    assert request.config.getoption('--plan') == ['b']\n"
        "    assert request.config.getoption('--claims-device') == 'auto'\n"
    )
    result = pytester.runpytest_inprocess(*named, "--device", "webcam", "--plan=b")
    assert result.ret == 0, result.outlines


def test_where_another_has_the_short_name_a_session_of_claims_asks_for_the_long_one(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--effort', default='')\n")
    write_claim(pytester.path, "supported")
    refused = run_session(pytester, "--effort", "smoke")
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["ERROR: --effort: got a name that another *, expected --claims-effort; write*"])
    assert run_session(pytester, "--claims-effort", "smoke").ret == 0
    assert [record.effort for record in read_session(pytester)] == ["smoke"]


def test_a_session_without_claims_leaves_nothing_and_reads_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("options were read")

    monkeypatch.setattr("engine.session.state.read_options", read)
    pytester.makepyfile("def test_theirs():\n    assert True\n")
    before = {path.name for path in pytester.path.iterdir()}
    spared = ("-p", "no:benchmark", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")  # needs of tests alone
    result = pytester.runpytest_inprocess(*spared)
    assert result.ret == 0, result.outlines
    assert {path.name for path in pytester.path.iterdir()} - before <= {"__pycache__"}


def test_a_failing_ending_of_another_plugin_is_theirs_where_no_claim_was_run(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_sessionfinish():\n    raise RuntimeError('theirs')\n")
    pytester.makepyfile("def test_theirs():\n    assert True\n")
    result = pytester.runpytest_inprocess()
    assert result.ret not in (0, 1)
    result.stderr.fnmatch_lines(["RuntimeError: theirs"])
    assert "a failure of another plugin" not in result.stdout.str()


@pytest.mark.parametrize("spelling", ["--ledger", "--claims-ledger"])
@pytest.mark.parametrize("where", ["on the command line", "in the environment"])
def test_the_folder_of_an_option_is_no_test_path(
    spelling: str, where: str, pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command twice, below the root, with a file that only the root's settings make a test file."""
    pytester.makeini("[pytest]\npython_files = planted_*.py\n")
    below = pytester.mkdir("below")
    write_claim(below, "supported").rename(below / "planted_claim.py")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "conftest.py").write_text("raise AssertionError('a ledger was searched for conftests')\n")
    monkeypatch.chdir(below)
    options = (spelling, str(folder))
    if where == "in the environment":
        monkeypatch.setenv("PYTEST_ADDOPTS", f"{spelling} {folder}")
        options = ()
    for _ in range(2):
        result = run_session(pytester, *options)
        assert result.ret == 0, result.outlines
        assert len(read_session(pytester)) == 1  # in the root's reports
    assert not (folder / "reports").exists()
    assert not (folder / ".pytest_cache").exists()


@pytest.mark.parametrize("place", ["conftest", "plugin"])
def test_the_value_of_anothers_option_by_our_name_begins_nothing_anew(place: str, pytester: pytest.Pytester) -> None:
    declaration = "def pytest_addoption(parser):\n    parser.addoption('--report-dir', default='')\n"
    named = () if place == "conftest" else ("-p", "theirs")
    pytester.makepyfile(**{"conftest" if place == "conftest" else "theirs": declaration})
    pytester.syspathinsert()
    pytester.mkdir("there")
    test = pytester.makepyfile(
        "def test_theirs(request):\n    assert request.config.getoption('--report-dir') == 'there'\n"
    )
    result = pytester.runpytest_inprocess(*named, "--report-dir", "there", str(test))
    assert result.ret == 0, result.errlines


def test_a_conftest_that_requires_an_option_leaves_the_short_names_ours(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--env', required=True)\n")
    write_claim(pytester.path, "supported")
    assert run_session(pytester, "--env", "x", "--effort", "smoke").ret == 0
    assert [record.effort for record in read_session(pytester)] == ["smoke"]


@pytest.mark.parametrize("option", ["--ledger", "--report-dir"])
def test_a_folder_without_a_name_is_refused(option: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    result = run_session(pytester, option, "")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {option}: got an empty name, expected a folder; check the variable *"])
    assert not (pytester.path / "measurements").exists()


def test_a_file_called_as_an_options_value_is_no_test_path(pytester: pytest.Pytester) -> None:
    (pytester.path / "smoke").mkdir()
    write_claim(pytester.path, "supported")
    assert run_session(pytester, "--effort", "smoke").ret == 0
    assert [record.effort for record in read_session(pytester)] == ["smoke"]


def test_verify_runs_the_claims_of_the_folder_it_is_started_in(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.mkdir("claims")
    write_claim(folder, "supported").rename(folder / "c90_planted.py")
    (pytester.path / "smoke").mkdir()
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    spared = [word for name in ("hypothesispytest", "benchmark", "xdist") for word in ("-p", f"no:{name}")]
    assert main(["verify", *spared, "--device", "cpu", "--executor", "inline", "--effort", "smoke"]) == 0
    (record,) = read_session(pytester)
    assert (record.claim, record.effort, record.outcome) == ("C90", "smoke", "passed")


@pytest.mark.parametrize(
    ("start", "claims"),
    [
        pytest.param("docs/deep", "claims", id="below a project"),
        pytest.param("vb [1] x", "vb [1] x/claims", id="a name with brackets"),
        pytest.param("own", "own", id="among its own claims"),
    ],
)
def test_verify_finds_the_claims(
    start: str, claims: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\n")
    folder, here = pytester.path / claims, pytester.path / start
    for place in (folder, here):
        place.mkdir(parents=True, exist_ok=True)
    write_claim(folder, "supported")
    if claims != start:
        (folder / "registered.lock").write_text("")
        (here / "test_theirs.py").write_text("def test_theirs():\n    assert False\n")
    monkeypatch.chdir(here)
    spared = [word for name in ("hypothesispytest", "benchmark", "xdist") for word in ("-p", f"no:{name}")]
    assert main(["verify", *spared, "--device", "cpu", "--executor", "inline"]) == 0
    assert [record.claim for record in read_session(pytester)] == ["C90"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "x"], "verify: got 'x' for --workers, expected a whole number"),
        (["--ledger"], "verify: got --ledger without a value, expected a value behind it"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_of_verify_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *words]) == 4
    assert capsys.readouterr().err == f"{said}; see lm-claims verify --help\n"


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        (["--ledger", "a", "claims"], ["--claims-ledger=a", "claims"]),
        (["--claims-ledger", "a"], ["--claims-ledger=a"]),
        (["--ledger=a b", "-k", "c01"], ["--claims-ledger=a b", "-k", "c01"]),
        (["--fresh", "claims"], ["--claims-fresh", "claims"]),
        (["--prompt", "=x"], ["--claims-prompt==x"]),
        (["--prompt", "--plan"], ["--claims-prompt", "--claims-plan"]),
        (["--threads", "-1"], ["--claims-threads", "-1"]),
        (["--ledger"], ["--claims-ledger"]),
        (["--", "--ledger", "a"], ["--", "--ledger", "a"]),
        (["--device", "cpu", "--claims-device", "cpu"], ["--device", "cpu", "--claims-device=cpu"]),
    ],
    ids=lambda words: " ".join(words) or "none",
)
def test_options_are_spelled_out(words: list[str], spelled: list[str]) -> None:
    assert spell_out(words, {"--device"}) == spelled


def test_words_in_a_file_are_spelled_out_where_it_stands(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("--ledger\na b\n")
    outer.write_text(f"--fresh\n@{inner}\n-k\n")
    assert spell_out([f"@{outer}", "c01", "@absent", "@"]) == [
        *("--claims-fresh", "--claims-ledger=a b", "-k", "c01", "@absent", "@")
    ]
    (tmp_path / "there").mkdir()
    inner.write_text("--ledger\nthere\n")
    assert find_mistaken([f"@{inner}"], tmp_path) == ["there"]


def test_a_session_takes_short_names_from_a_file(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    words = pytester.path / "words"
    words.write_text("--effort\nsmoke\n--seeds=1\n")
    assert run_session(pytester, f"@{words}").ret == 0
    assert [record.effort for record in read_session(pytester)] == ["smoke"]


def test_another_fixture_called_verdict_switches_no_claim_off(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "refuted")
    wrapped = "import pytest\n\n\n@pytest.fixture\ndef verdict({given}):\n    return {returned}\n"
    pytester.makeconftest(wrapped.format(given="", returned="type('V', (), {'supported': True, 'sentence': ''})"))
    result = run_session(pytester)
    assert result.ret == 2
    result.stdout.fnmatch_lines(["claim C90: got a fixture verdict in conftest*, expected the plugin's, or one *"])
    pytester.makeconftest(wrapped.format(given="verdict", returned="verdict"))
    assert run_session(pytester).ret == 0
    assert [record.outcome for record in read_session(pytester)] == ["finding"]


def test_only_values_that_stand_alone_and_are_there_can_be_mistaken(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    words = ["--ledger", "there", "--ledger=there", "--ledger", "absent", "--fresh", "there", "--memory", "-1", "there"]
    assert find_mistaken(words, tmp_path) == ["there"]
    assert find_mistaken(words, tmp_path, workers=True) == ["there", "absent"]
    assert find_mistaken(words, tmp_path, {"--ledger"}) == []


def test_every_option_is_in_one_group_of_the_help() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(option.name for option in OPTIONS)


def test_every_option_has_two_spellings_of_its_own() -> None:
    assert len(BY_SPELLING) == 2 * len(OPTIONS) == 42


def test_what_claims_need_is_declared_and_nothing_else() -> None:
    """Third-party modules that engine and claims import, tests and benchmarks aside, beside pyproject's list."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    optional = {canonicalize_name(Requirement(line).name) for line in project["optional-dependencies"]["ray"]}
    optional |= {canonicalize_name(Requirement(line).name) for line in project["optional-dependencies"]["parquet"]}
    of_module = packages_distributions()
    imported = {
        canonicalize_name(of_module[module][0])
        for path in (*(ROOT / "engine").rglob("*.py"), *(ROOT / "claims").rglob("*.py"))
        if not {"tests", "benchmarks"} & set(path.parts)
        for module in find_imports(path)
        if module in of_module and module not in {"engine", "claims"}
    }
    assert imported - optional - BROUGHT == declared


def find_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.split(".")[0] not in sys.stdlib_module_names:
                yield name.split(".")[0]
