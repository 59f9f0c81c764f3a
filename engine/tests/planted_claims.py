"""Claims whose verdict is decided beforehand, for sessions that tests run inside their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch as torch
import transformers as transformers
import vl_convert as vl_convert

from engine import DIRECT, Above, Claim, Protocol
from engine.claim.procedure import Evidence, Procedure, Rounds, Trial
from engine.records import Record, read_records

# What is compiled can be loaded only once in a process: sessions in this one must find it, and torch, there already.
from engine.statistics import Estimate

INTERVALS: dict[str, tuple[float, float] | None] = {
    "supported": (2, 3),
    "refuted": (0.25, 0.5),
    "inconclusive": (0.5, 2),
    "not run at this effort": None,
}
"""Held against 'x > 1'. What is partly supported holds 'x > 1' and misses 'x > 100'."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Measures nothing. Gives x in the interval, or raises `error`."""

    tag: ClassVar[str] = "Planted"
    interval: tuple[float, float] | None
    error: BaseException | None = None

    def rounds(self, trial: Trial) -> Rounds:
        yield from ()
        if self.error is not None:
            raise self.error
        if self.interval is None:
            return Evidence()
        low, high = self.interval
        x = Estimate(name="x", value=low, low=low, high=high, n=12, method="planted", scale="linear")
        return Evidence(estimates=Evidence.named(x))


def plant(
    ruling: str,
    *,
    id: str = "C90",
    subjects: tuple[str, ...] = ("gpt2-untrained",),
    protocols: tuple[Protocol, ...] = (DIRECT,),
    error: BaseException | None = None,
    procedure: Procedure | None = None,
) -> Claim:
    """A claim that comes to `ruling`, unless it has a procedure of its own."""
    partly = ruling == "partly supported"
    criteria = (
        (
            Above("x", 1, because="planted", role="direction"),
            Above("x", 100, because="planted", role="magnitude"),
        )
        if partly
        else (Above("x", 1, because="planted"),)
    )
    return Claim(
        id=id,
        section="Planted",
        sentence="x is more than one.",
        estimand="x",
        document="",
        procedure=procedure or Planted(interval=INTERVALS["supported" if partly else ruling], error=error),
        criteria=criteria,
        subjects=subjects,
        protocols=protocols,
    )


TEST = "def test_claim(verdict):\n    assert verdict.supported, verdict.sentence\n"


def write_claim(folder: Path, ruling: str, *, test: str = TEST, name: str = "planted", **options: object) -> Path:
    """A module with a planted claim and its test. options: `plant`'s, as they are written in Python."""
    words = "".join(f", {key}={value!r}" for key, value in options.items())
    path = folder / f"test_{name}.py"
    path.write_text(
        "from engine import *\nfrom engine.errors import ShapeError\nfrom engine.tests.measured import Inverses\n"
        "from engine.tests.planted_claims import plant\n\n"
        f"CLAIM = plant({ruling!r}{words})\n\n\n{test}",
        encoding="utf-8",
    )
    return path


def write_verdict(folder: Path, ruling: str, *, claim: str = "C90", subject: str = "gpt2-untrained") -> Path:
    """A verdicts.toml with one entry."""
    path = folder / "verdicts.toml"
    entry = {"claim": claim, "subject": subject, "protocol": "direct", "ruling": ruling}
    rows = "".join(f'{key} = "{value}"\n' for key, value in (entry | {"date": "2026-03-01", "reason": "Seen."}).items())
    path.write_text(f"[[verdict]]\n{rows}", encoding="utf-8")
    return path


def run_session(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """A session in this process, on the CPU, without the plugins that a claim has no use for."""
    spared = [word for name in ("hypothesispytest", "benchmark", "xdist") for word in ("-p", f"no:{name}")]
    return pytester.runpytest_inprocess(
        *spared, "--device", "cpu", "--executor", "inline", *options, no_reraise_ctrlc=True
    )


def read_session(pytester: pytest.Pytester) -> list[Record]:
    """The records that the session left where it leaves them by itself."""
    return read_records(pytester.path / "reports" / "latest" / "records.jsonl")
