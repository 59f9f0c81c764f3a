"""A session plans with what it may use, not with what the machine has: control groups, limits, bindings."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from engine.models.devices import count_cores, explain_allowance, find_core_limit, find_memory_limit
from engine.models.memory import free_bytes
from engine.session.options import FREE_SHARE
from engine.tests.measured import Inverses, plant_folder

GIB = 2**30
V2 = "31 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)
DOCKER_V1 = V1.replace(" / /sys", " /docker/abc /sys")


def plant(root: Path, mounts: str, path: str, files: dict[str, object]) -> Path:
    """Where proc and sys lie for a process in a control group of this path."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
    (root / "proc" / "self" / "cgroup").write_text(path)
    for name, content in files.items():
        file = root / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


JOB = "0::/slurm/job_7/step_0\n"
MEMORY = {
    "version 2": (V2, "0::/job\n", {"job/memory.max": 2 * GIB, "job/memory.current": GIB}, GIB, "memory.max", "/job"),
    "memory.high below memory.max": (
        V2,
        "0::/job\n",
        {"job/memory.max": 4 * GIB, "job/memory.high": 3 * GIB, "job/memory.current": GIB},
        2 * GIB,
        "memory.high",
        "/job",
    ),
    "a parent's, and files in the cache": (
        V2,
        JOB,
        {
            "slurm/job_7/step_0/memory.max": "max",
            "slurm/job_7/memory.max": 4 * GIB,
            "slurm/job_7/memory.current": 3 * GIB,
            "slurm/job_7/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}",
            "slurm/memory.max": 100 * GIB,
        },
        3 * GIB,
        "memory.max",
        "/slurm/job_7",
    ),
    "a container's own view": (V2, "0::/\n", {"memory.max": GIB, "memory.current": 0}, GIB, "memory.max", "/"),
    "version 1": (
        V1,
        "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n",
        {
            "memory/job/memory.limit_in_bytes": 3 * GIB,
            "memory/job/memory.usage_in_bytes": 2 * GIB,
            "memory/job/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}",
            "memory/memory.limit_in_bytes": 9223372036854771712,
        },
        2 * GIB,
        "memory.limit_in_bytes",
        "/job",
    ),
    "version 1 in a container": (
        DOCKER_V1,
        "4:memory:/docker/abc\n",
        {"memory/memory.limit_in_bytes": GIB, "memory/memory.usage_in_bytes": 0},
        GIB,
        "memory.limit_in_bytes",
        "/",
    ),
    "more in use than allowed": (
        V2,
        "0::/job\n",
        {"job/memory.max": GIB, "job/memory.current": 2 * GIB},
        0,
        "memory.max",
        "/job",
    ),
}


@pytest.mark.parametrize(("mounts", "path", "files", "room", "name", "group"), MEMORY.values(), ids=MEMORY)
def test_the_memory_that_a_control_group_leaves_is_found(
    tmp_path: Path, mounts: str, path: str, files: dict[str, object], room: int, name: str, group: str
) -> None:
    limit = find_memory_limit(plant(tmp_path, mounts, path, files))
    assert limit is not None
    assert limit.amount == room
    assert limit.source == f"{name} of the control group {group}"


CORES = {
    "version 2": (V2, "0::/job\n", {"job/cpu.max": "200000 100000"}, 2),
    "a part of a core": (V2, "0::/job\n", {"job/cpu.max": "50000 100000"}, 1),
    "two and a half": (V2, "0::/job\n", {"job/cpu.max": "250000 100000"}, 2),
    "a parent's": (V2, JOB, {"slurm/job_7/step_0/cpu.max": "max 100000", "slurm/cpu.max": "100000 100000"}, 1),
    "version 1": (
        V1,
        "4:memory:/job\n1:cpu,cpuacct:/job\n",
        {"cpu,cpuacct/job/cpu.cfs_quota_us": 100000, "cpu,cpuacct/job/cpu.cfs_period_us": 100000},
        1,
    ),
}


@pytest.mark.parametrize(("mounts", "path", "files", "cores"), CORES.values(), ids=CORES)
def test_the_cores_that_a_quota_leaves_are_found(
    tmp_path: Path, mounts: str, path: str, files: dict[str, object], cores: int
) -> None:
    limit = find_core_limit(plant(tmp_path, mounts, path, files), {})
    assert limit is not None
    assert limit.amount == cores


UNLIMITED = {
    "no control groups": ("", "", {}),
    "none that limits": (V2, "0::/job\n", {"job/memory.max": "max", "job/cpu.max": "max 100000"}),
    "version 1 without limits": (
        V1,
        "4:memory:/\n1:cpu,cpuacct:/\n",
        {"memory/memory.limit_in_bytes": 9223372036854771712, "cpu,cpuacct/cpu.cfs_quota_us": -1},
    ),
    "nonsense": (V2 + "x - cgroup2\n- -\n", "0::/../job\nx\n0::job\n", {"memory.max": "many", "cpu.max": "a b"}),
    "a folder in a file's place": (V2, "0::/job\n", {"job/memory.max/x": 1}),
}


@pytest.mark.parametrize(("mounts", "path", "files"), UNLIMITED.values(), ids=UNLIMITED)
def test_without_a_limit_the_machine_is_what_there_is(
    tmp_path: Path, mounts: str, path: str, files: dict[str, object]
) -> None:
    root = plant(tmp_path, mounts, path, files)
    assert find_memory_limit(root) is None
    assert find_core_limit(root, {}) is None
    assert explain_allowance(root) is None


def test_the_line_names_each_limit_that_holds(tmp_path: Path) -> None:
    files = {"job/memory.max": 2_000_000_000, "job/memory.current": 500_000_000, "job/cpu.max": "50000 100000"}
    line = explain_allowance(plant(tmp_path, V2, "0::/job\n", files))
    assert line is not None
    assert line.startswith("allowance: 1.5 GB of memory by memory.max of the control group /job")
    assert ("1 core by cpu.max of the control group /job" in line) == ((os.cpu_count() or 1) > 1)


def test_a_queues_cores_count_within_its_job_alone(tmp_path: Path) -> None:
    asked = {"SLURM_CPUS_PER_TASK": "3"}
    assert find_core_limit(tmp_path, asked) is None
    limit = find_core_limit(tmp_path, asked | {"SLURM_JOB_ID": "7"})
    assert limit is not None
    assert (limit.amount, limit.source) == (3, "SLURM_CPUS_PER_TASK")


# The real things.


def ask(*words: str, environment: dict[str, str] | None = None) -> tuple[float, int, str]:
    """What a process that is begun by these words may use: bytes, cores, its line."""
    code = (
        "from engine.models.devices import *; from engine.models.memory import free_bytes;"
        "print(free_bytes('cpu'), count_cores(), explain_allowance(), sep='|')"
    )
    done = subprocess.run(
        [*words, sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    bytes, cores, line = done.stdout.strip().split("|")
    return float(bytes), int(cores), line


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs util-linux: install it")
def test_a_limit_of_address_space_is_an_allowance() -> None:
    bytes, _, line = ask("prlimit", f"--as={3 * GIB}")
    assert bytes == min(3 * GIB, bytes)
    assert "3.2 GB of memory by the limit of address space, `ulimit -v`" in line


@pytest.mark.skipif(shutil.which("taskset") is None or (os.cpu_count() or 1) < 2, reason="needs two cores and taskset")
def test_a_process_bound_to_one_core_plans_with_one() -> None:
    _, cores, line = ask("taskset", "-c", str(min(os.sched_getaffinity(0))))
    assert cores == 1
    assert "1 core by the processors that it is bound to" in line


@contextmanager
def real_group(*, bytes: int) -> Generator[list[Path]]:
    """Control groups of our own with so much memory and half a core. Skips where none may be made."""
    top = Path("/sys/fs/cgroup")
    version2 = (top / "cgroup.controllers").exists()
    own = f"lm-claims-test-{os.getpid()}"
    groups = [top / own] if version2 else [top / name / own for name in ("memory", "cpu")]
    made: list[Path] = []
    try:
        try:
            for group in groups:
                group.mkdir()
                made.append(group)
            if version2:
                (groups[0] / "memory.max").write_text(str(bytes))
                (groups[0] / "cpu.max").write_text("50000 100000")
            else:
                (groups[0] / "memory.limit_in_bytes").write_text(str(bytes))
                (groups[1] / "cpu.cfs_quota_us").write_text("50000")
        except OSError as error:
            pytest.skip(
                f"needs the right to make control groups ({error.strerror}): run as root outside of a container"
            )
        yield groups
    finally:
        for group in made:
            group.rmdir()


def joining(groups: list[Path]) -> tuple[str, ...]:
    """Words before a command that have it join control groups."""
    join = " && ".join(f'echo $$ > "{group}/cgroup.procs"' for group in groups)
    return ("bash", "-c", f'{join} && exec "$@"', "bash")


def test_a_session_in_a_control_group_plans_with_what_it_is_given(tmp_path: Path) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    with real_group(bytes=2 * GIB) as groups:
        bytes, cores, line = ask(*joining(groups))
        assert 1.5 * GIB < bytes <= 2 * GIB
        assert cores == 1
        assert "GB of memory by memory." in line
        options = ("-p", "no:cacheprovider", "-p", "engine.session", "--plan", "--device", "cpu")
        done = subprocess.run(
            [*joining(groups), sys.executable, "-m", "pytest", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
    assert done.returncode == 0, done.stdout
    assert re.search(
        r"^allowance: [12]\.\d GB of memory by memory\.\S+ of the control group /lm-claims", done.stdout, re.M
    )
    assert "at once: up to 1 arm of 1 thread" in done.stdout
    room = float(done.stdout.split("all at once may take ")[1].split(" GB")[0])
    assert room <= FREE_SHARE * 2 * GIB / 1e9


def test_what_is_free_is_never_more_than_the_machine_has() -> None:
    free_bytes.cache_clear()
    assert free_bytes("cpu") <= psutil.virtual_memory().total
    assert 1 <= count_cores() <= (os.cpu_count() or 1)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or find_memory_limit() is not None
