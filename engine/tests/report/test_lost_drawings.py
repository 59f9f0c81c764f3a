"""A drawing that cannot be made costs its picture: the page is there, says so in its place, and holds the numbers."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.records import write_records
from engine.report import render
from engine.report.charts.vega import DrawingError, read_bundle
from engine.tests.report.test_charts import SAMPLES, make_record

NOBODY = 54321
"""A user whom no list names, as containers have them."""


@pytest.fixture(name="records")
def provide_records(tmp_path: Path) -> Path:
    """The records of a claim with charts, where any user may read them and write beside them."""
    write_records([make_record(*SAMPLES["hits"])], path := tmp_path / "records.jsonl")
    return path


def render_apart(
    path: Path, *, words: tuple[str, ...] = (), limit: Callable[[], None] | None = None, **environment: str
) -> str:
    """The page that the command makes in a process of its own."""
    command = [*words, sys.executable, "-m", "engine", "report", "render", str(path)]
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "LM_CLAIMS_CACHE")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=kept | environment, preexec_fn=limit, timeout=100, cwd=path.parent
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    (page,) = (path.parent / "claims").glob("*.html")
    return page.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which limits a process's memory")
def test_where_the_drawing_library_aborts_for_want_of_memory_the_page_is_there_and_says_so(records: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))

    page = render_apart(records, limit=limit, HOME=str(records.parent))
    assert "This drawing could not be made: the process that draws died (SIG" in page
    assert "<svg" in page, "intervals are drawn by the page itself"
    assert "supported" in page


def as_nobody() -> tuple[str, ...]:
    """Words before a command that run it as a user without a home. Skips where this process may not."""
    words = ("unshare", "--user", f"--map-user={NOBODY}")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces: run on a Linux that allows them")
    return words


@pytest.mark.parametrize(
    "home",
    [
        pytest.param(None, id="no home"),
        pytest.param("/proc", id="one to read", marks=pytest.mark.slow),
        pytest.param("/nowhere", id="none there", marks=pytest.mark.slow),
    ],
)
def test_a_user_without_a_home_has_all_drawings(records: Path, home: str | None) -> None:
    page = render_apart(records, words=as_nobody(), **({"HOME": home} if home else {}))
    assert "could not be made" not in page
    assert len(re.findall(r'<svg[^>]*viewBox="[^"]*"[^>]*max-width', page)) == 1
    assert not (records.parent / "~").exists()


def test_a_claim_whose_drawings_cannot_be_declared_says_so_and_shows_its_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("no <altair> here")

    monkeypatch.setattr("engine.report.charts.registry.draw_all", fail)
    page = render([make_record(*SAMPLES["hits"])], title="LM Claims", rendered_at="now")
    assert "This drawing could not be made: ImportError: no &lt;altair&gt; here. The numbers" in page
    assert "data-chart>" not in page, "a script has nothing to draw there"


def test_a_script_that_cannot_be_put_together_leaves_the_charts_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path))
    monkeypatch.setattr("engine.report.charts.theme.VEGA_LITE", "no version")
    with pytest.raises(DrawingError, match=r"^RuntimeError: Unsupported Vega-Lite version string no version$"):
        read_bundle()()
    page = render([make_record(*SAMPLES["hits"])], title="LM Claims", rendered_at="now")
    assert "could not be made" not in page
    assert page.count("<script>") == 1
