"""Keeps the last bench run's figures and their page, with the machine and versions that gave them: `make figures`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.errors import explain
from engine.files import read_whole, write_whole
from engine.report.bench import read_bench, render_bench
from engine.report.figures import write_page
from engine.report.render import BENCH_PAGE

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


def main() -> int:
    run = read_last_run(STORAGE)
    if run is None or not (found := gather(run))["contest"]:
        saved = "no saved run of the inner loops"
        print(explain(who="figures", got=saved, expected=f"one in {STORAGE}", remedy="run make bench first"))
        return 4
    write_whole(KEPT, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(), who="figures")
    page = write_page(render_bench(read_bench(KEPT)), KEPT.with_name(BENCH_PAGE))
    print(f"{KEPT}, {page}: {len(found['contest'])} contests, {len(found['growth'])} lines of growth")
    return 0


if __name__ == "__main__":
    sys.exit(main())
