"""Claims that measure something real and short, without a model, and sessions on them in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.arms.measurement import Measurement, measurement_type
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.embedding.arm import PseudoInverseArm, PseudoInverseResult
from engine.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Inverses:
    """Pseudo-inverses of random matrices, an arm each. Gives x, their mean rank.

    size: rows and columns, as an arm names them. arms: of each round. first: the first arm's seed.
    bulk: characters by which names are longer, and with them the stored files.
    """

    tag: ClassVar[str] = "Inverses"
    size: str = "40x8"
    arms: tuple[int, ...] = (2,)
    first: int = 0
    bulk: int = 0

    def list_arms(self) -> list[PseudoInverseArm]:
        """Those of all rounds."""
        rank, bulk = self.size.partition("x")[2], "0" * self.bulk
        seeds = range(self.first, self.first + sum(self.arms))
        names = [f"random:{self.size}:rank={rank}:seed={bulk}{seed}" for seed in seeds]
        return [PseudoInverseArm(subject="none", source="none", matrix=name) for name in names]

    def rounds(self, trial: Trial) -> Rounds:
        arms, found = self.list_arms(), list[Measurement]()
        for many in self.arms:
            found += yield [arms.pop(0) for _ in range(many)]
        ranks = [m.result.rank for m in found if isinstance(m.result, PseudoInverseResult)]
        mean = sum(ranks) / len(found)
        x = Estimate(name="x", value=mean, low=mean, high=mean, n=len(found), method="counted", scale="linear")
        return Evidence(estimates=Evidence.named(x), measurements=tuple(found))


CLAIM = """
from engine import *
from engine.tests.measured import Inverses

CLAIM = Claim(
    id={id!r}, section="Planted", sentence="Some matrices have a rank.", estimand="x", document="",
    procedure={procedure!r}, criteria=(Above("x", 1, because="planted"),),
    subjects=("gpt2-untrained",), protocols=(DIRECT,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""


def plant_folder(folder: Path, claims: dict[str, Inverses]) -> Path:
    """A folder of a user's own with these claims."""
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for id, procedure in claims.items():
        (folder / f"test_{id.lower()}.py").write_text(CLAIM.format(id=id, procedure=procedure))
    return folder


def start_session(
    folder: Path, ledger: Path, *options: str, limits: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """A session on a folder's claims, in a process and a process group of its own, with two workers.

    limits: as prlimit has them. environment: for engine.tests.dying, which notes what is stored.
    """
    plugins = [word for name in ("no:cacheprovider", "engine.session", "engine.tests.dying") for word in ("-p", name)]
    asked = ["--effort", "smoke", "--ledger", str(ledger), "--device", "cpu", "--executor", "pool", "--workers", "2"]
    return subprocess.Popen(
        [*(["prlimit", *limits] if limits else []), sys.executable, "-m", "pytest", *plugins, *asked, *options],
        cwd=folder,
        # Other plugins have no part in it, and each costs a start that is made dozens of times.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it said, once it has ended and its workers with it."""
    try:
        said, _ = process.communicate(timeout=600)
    finally:
        process.kill()  # if it has not ended, nobody else will end it
    return process.returncode, said


def stored_in(ledger: Path) -> dict[str, Path]:
    """The files of a ledger's measurements by their digests."""
    return {path.stem: path for path in (ledger / "measurements").rglob("*.json")}


def read_measurements(ledger: Path) -> list[Measurement]:
    """Every stored measurement. Raises where a file is not a whole one."""
    texts = [path.read_text(encoding="utf-8") for path in stored_in(ledger).values()]
    return [measurement_type().validate_python(json.loads(text)["measurement"]) for text in texts]


def read_contents(ledger: Path) -> dict[str, str]:
    """Digest of the numbers of each stored measurement, taken from the numbers themselves. Raises as above."""
    return {m.digest: m.content() for m in read_measurements(ledger)}


def date_files(ledger: Path) -> dict[str, int]:
    """When each stored measurement was written."""
    return {digest: path.stat().st_mtime_ns for digest, path in stored_in(ledger).items()}
