"""What a report costs: rendered from the reference run and from 10,000 records, and opened in a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.records import write_records
from engine.tests.browser import REFERENCE, Visitor, find_missing, open_browser
from engine.tests.report_worlds import make_world

TIMEOUT_MS = 300_000
RECORDS = 38 * 88 * 3

RENDER = """
import json, resource, sys, time
from pathlib import Path
began = time.perf_counter()
from engine.records import read_records
from engine.report import write_report
imported = time.perf_counter()
records = read_records(Path(sys.argv[1]))
read = time.perf_counter()
index = write_report(records, Path(sys.argv[2]), rendered_at="2026-02-14")
written = time.perf_counter()
pages = [path.stat().st_size for path in index.parent.rglob("*.html")]
# ru_maxrss is in KiB on Linux and in bytes on macOS.
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({
    "import_s": imported - began, "read_s": read - imported, "write_s": written - read,
    "peak_mb": peak / 1e6, "index_kb": index.stat().st_size / 1e3, "largest_page_kb": max(pages) / 1e3,
    "records": len(records),
}))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 10,032 records, in which their page will lie, too."""
    folder = tmp_path_factory.mktemp("world")
    write_records(make_world(), folder / "records.jsonl")
    return folder


def write_in_process(records: Path, folder: Path) -> dict[str, float]:
    """Write the site in a process of its own, so that its memory is the report's alone."""
    done = subprocess.run(
        [sys.executable, "-c", RENDER, str(records), str(folder)], capture_output=True, text=True, check=True
    )
    return {name: round(value, 3) for name, value in json.loads(done.stdout).items()}


def note(benchmark: Any, work: str, figures: dict[str, float]) -> None:
    benchmark.extra_info["measures"] = [{"title": f"{work}: {name}", "value": v} for name, v in figures.items()]


@pytest.mark.benchmark(group="the report of 10,032 records")
def test_a_large_report_is_rendered(benchmark: Any, world: Path) -> None:
    figures = benchmark.pedantic(lambda: write_in_process(world / "records.jsonl", world / "site"), rounds=1)
    assert figures["records"] == RECORDS
    note(benchmark, "report of 10,032 records", figures)


@pytest.mark.benchmark(group="the report of 10,032 records")
def test_a_large_report_is_opened(benchmark: Any, world: Path) -> None:
    if missing := find_missing():
        pytest.skip(missing)
    page_file = world / "site" / "index.html"
    if not page_file.exists():
        write_in_process(world / "records.jsonl", world / "site")
    with open_browser() as browser:
        visitor = Visitor(browser=browser, patience_ms=TIMEOUT_MS)

        def load() -> dict[str, float]:
            page = visitor(page_file)
            return page.evaluate(
                """() => {
                    const [load] = performance.getEntriesByType("navigation");
                    const began = performance.now(), field = document.querySelector("#filters [name=q]");
                    field.value = "claim 7";
                    field.dispatchEvent(new Event("input", { bubbles: true }));
                    document.body.getBoundingClientRect();
                    return { load_s: load.loadEventEnd / 1000, filter_s: (performance.now() - began) / 1000 };
                }"""
            )

        note(benchmark, "report of 10,032 records in a browser", benchmark.pedantic(load, rounds=3))
        visitor.close()
    assert visitor.deeds == []


@pytest.mark.benchmark(group="make report")
def test_the_reference_report_is_rendered(benchmark: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", "report", "render", str(REFERENCE), "--out", str(tmp_path)]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=3)
    note(benchmark, "report of the reference run", {"index_kb": (tmp_path / "index.html").stat().st_size / 1e3})
