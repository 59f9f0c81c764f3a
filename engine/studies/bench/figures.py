"""Keeps the last bench run's figures and their page, with the machine and versions that gave them: `make figures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import LedgerError, explain
from engine.files import read_whole, write_whole
from engine.report.pages import write_page
from engine.report.render import BENCH_PAGE
from engine.studies.bench.page import render_bench
from engine.studies.bench.results import read_bench

STORAGE, KEPT = Path(".benchmarks"), Path("reports/reference/bench.json")
KINDS = ("contest", "growth")


def read_last_run(storage: Path) -> dict[str, Any] | None:
    """The newest run that the plugin saved, None where there is none."""
    saved = sorted((p for p in storage.glob("*/*.json") if p.is_file()), key=lambda path: path.stat().st_mtime)
    return json.loads(read_whole(saved[-1])) if saved else None


def gather(run: dict[str, Any]) -> dict[str, Any]:
    """A run's contests and growth; the machine by its make, never by its name."""
    noted = [one["extra_info"] for one in run["benchmarks"] if "on" in one["extra_info"]]
    lists = {kind: [info[kind] for info in noted if kind in info] for kind in KINDS}
    about = {name: value for name, value in noted[0]["on"].items() if name != "load"} if noted else {}
    loads = [info["on"]["load"] for info in noted]
    return {"measured_on": run["datetime"][:10], **about, "largest_load": max(loads, default=None), **lists}


def keep_figures() -> str:
    """Write the figures and their page; what was written, in a line. Raises LedgerError where no run was saved."""
    run = read_last_run(STORAGE)
    if run is None or not (found := gather(run))["contest"]:
        got, expected = "no saved run of the inner loops", f"one in {STORAGE}"
        raise LedgerError(explain(who="bench", got=got, expected=expected, remedy="run make bench first"))
    write_whole(KEPT, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(), who="bench")
    page = write_page(render_bench(read_bench(KEPT)), KEPT.with_name(BENCH_PAGE))
    return f"{KEPT}, {page}: {len(found['contest'])} contests, {len(found['growth'])} lines of growth"
