"""The workflows call make alone, ask for no more than they need, and work in a clean clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))
}
SETUP: dict[str, Any] = yaml.safe_load((ROOT / ".github/actions/setup/action.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = {
    f"{name}: {job}": body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()
}
STEPS: list[tuple[str, dict[str, Any]]] = [
    *(("setup", step) for step in SETUP["runs"]["steps"]),
    *((name, step) for name, job in JOBS.items() for step in job.get("steps", [])),
]
TARGETS = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
WRITES = {"comment.yml: comment": {"pull-requests"}, "pages.yml: publish": {"pages", "id-token"}}
"""Who may write what; everybody else reads."""

each_job = pytest.mark.parametrize("name", JOBS)
each_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    """What starts it. YAML 1.1 reads the key `on` as true."""
    return workflow[True]


def find_tool(name: str) -> str:
    """The linter of that name, of the environment that runs this or on PATH; skips where there is none."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"needs {name}: pip install -c constraints.txt -e '.[dev]'")
    return found


@pytest.mark.parametrize(
    "command", [pytest.param(step["run"], id=f"{name}: {step['run']}") for name, step in STEPS if "run" in step]
)
def test_every_command_is_one_of_makes_targets(command: str) -> None:
    """Alone: no shell logic, and no expression, which would become part of the command."""
    found = re.fullmatch(r"make ([a-z-]+)", command)
    assert found is not None
    assert found[1] in TARGETS, "a target with a line in `make help`"


@each_workflow
def test_every_token_reads_the_code_at_most_unless_a_job_needs_more(name: str) -> None:
    assert WORKFLOWS[name].get("permissions") in ({}, {"contents": "read"})


@each_job
def test_only_two_jobs_may_write_and_each_one_thing(name: str) -> None:
    asked = JOBS[name].get("permissions", {})
    assert {scope for scope, access in asked.items() if access != "read"} == WRITES.get(name, set())


@each_job
def test_every_job_has_a_limit_of_time(name: str) -> None:
    assert ("timeout-minutes" in JOBS[name]) != ("uses" in JOBS[name]), "a called workflow's jobs have their own"


@each_workflow
def test_two_runs_of_one_kind_are_not_at_it_together(name: str) -> None:
    called = set(triggers(WORKFLOWS[name])) == {"workflow_call"}
    assert called or "group" in WORKFLOWS[name]["concurrency"]


@pytest.mark.parametrize("action", sorted({step["uses"] for _, step in STEPS if "uses" in step}))
def test_actions_are_githubs_own_at_a_version_or_this_repositorys(action: str) -> None:
    assert re.fullmatch(r"actions/[a-z/-]+@v\d+", action) or (ROOT / action).is_dir()


@each_workflow
def test_code_of_a_pull_request_meets_no_token_that_writes(name: str) -> None:
    started = set(triggers(WORKFLOWS[name]))
    assert "pull_request_target" not in started
    if "pull_request" in started:
        assert not [job for job in WRITES if job.startswith(name)]


def test_what_a_run_left_is_unpacked_outside_the_checkout_and_no_other_code_is_checked_out() -> None:
    steps = JOBS["comment.yml: comment"]["steps"]
    (download,) = (step["with"] for step in steps if step.get("uses", "").startswith("actions/download-artifact@"))
    assert download["path"].startswith("${{ runner.temp }}/")
    checkouts = [step["with"] for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts == [{"persist-credentials": False}]


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if "make gpu-check" in str(job)])
def test_a_gpu_job_runs_where_its_caller_says(name: str) -> None:
    assert JOBS[name]["runs-on"] == "${{ fromJSON(inputs.runner) }}"


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if job.get("uses", "").endswith("/gpu.yml")])
def test_a_gpu_runner_is_a_variables_value_that_contributing_names(name: str) -> None:
    found = re.fullmatch(r"\$\{\{ ((?:vars\.[A-Z_]+ \|\| )+)'(.*)' \}\}", JOBS[name]["with"]["runner"])
    assert found is not None
    assert json.loads(found[2]) == ["self-hosted", "gpu"]
    variables = re.findall(r"vars\.([A-Z_]+)", found[1])
    assert variables[-1] == "GPU_RUNNER"
    documented = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"`{variable}`" in documented for variable in variables)


def test_slices_are_numbered_from_one_without_a_gap() -> None:
    """`--slice K/N` takes N from the number of jobs."""
    for job in JOBS.values():
        if "slices" in job.get("with", {}):
            numbers = json.loads(job["with"]["slices"])
            assert numbers == list(range(1, len(numbers) + 1))


def test_the_site_is_made_of_runs_of_the_workflows_that_start_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    published = re.search(r"^PUBLISHED := (.*)$", makefile, re.MULTILINE)
    assert published is not None
    names = [WORKFLOWS[f"{name}.yml"]["name"] for name in published[1].split()]
    assert triggers(WORKFLOWS["pages.yml"])["workflow_run"]["workflows"] == names
    commented = triggers(WORKFLOWS["comment.yml"])["workflow_run"]["workflows"]
    assert commented == [WORKFLOWS["pull-request.yml"]["name"]]


@pytest.mark.parametrize("arguments", [["actionlint"], ["zizmor", "--offline", "--quiet", "."]], ids=lambda a: a[0])
def test_linters_find_nothing(arguments: list[str]) -> None:
    tool = find_tool(arguments[0])
    command = [tool, *map(str, sorted(FOLDER.glob("*.yml")))] if len(arguments) == 1 else [tool, *arguments[1:]]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def lay_environment(clone: Path) -> None:
    """The packages that run this as the clone's own environment: linked, so nothing is fetched, the suite's aside.

    It is newer than what it is made of, so that make takes it for installed.
    """
    made, own = clone / ".venv", Path(sys.prefix)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True, timeout=120)
    for script in (own / "bin").iterdir():
        copy, text = made / "bin" / script.name, script.read_bytes()
        if copy.exists():
            continue
        if re.match(rb"#!.*/python", text):
            copy.write_bytes(re.sub(rb"#!.*", b"#!" + bytes(made / "bin" / "python"), text, count=1))
            copy.chmod(0o755)
        else:
            copy.symlink_to(script)
    (packages,) = made.glob("lib/python*/site-packages")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith("__editable__"):
            (packages / package.name).symlink_to(package)
    (packages / "clone.pth").write_text(str(clone), encoding="utf-8")
    (made / "installed").touch()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None or shutil.which("git") is None, reason="runs where make and git are")
def test_a_pull_requests_commands_work_in_order_in_a_clean_clone(tmp_path: Path) -> None:
    """As the YAML has them, on what is committed.

    `make coverage` would run this again: TESTS gives it one module of the engine's tests, and COVERAGE the share of the
    engine that this module covers at least, so that the threshold is there to miss. Packages cannot be fetched, and
    `make audit` may skip for that.
    """
    clone, summary = tmp_path / "clone", tmp_path / "summary.md"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True, timeout=120)
    lay_environment(clone)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV", "MAKE"))},
        "TESTS": "engine/tests/running/test_slices.py",
        "COVERAGE": "40",
        "GITHUB_STEP_SUMMARY": str(summary),
        "PIP_NO_INDEX": "1",
    }
    ran: list[str] = []
    for job in WORKFLOWS["pull-request.yml"]["jobs"].values():
        for step in [*SETUP["runs"]["steps"], *job["steps"]]:
            if "run" in step:
                done = subprocess.run(
                    step["run"].split(), cwd=clone, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{step['run']}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
                ran.append(step["run"].removeprefix("make "))
    assert ran == ["install", "coverage", "smoke", "summary", "install", "audit"]
    (kept,) = (
        step["with"]["path"] for step in JOBS["pull-request.yml: cpu"]["steps"] if "path" in step.get("with", {})
    )
    assert {"index.html", "records.jsonl", "runs"} <= {path.name for path in (clone / kept).iterdir()}
    rows = [line.split("|")[1].strip() for line in summary.read_text(encoding="utf-8").splitlines()[2:]]
    assert rows == [f"A{number:02}" for number in range(1, 5)] + [f"C{number:02}" for number in range(1, 39)]
