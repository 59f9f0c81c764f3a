"""`lm-claims calibrate`: simulate claims of known truth, and keep what became of them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from engine.commands.command_line import Parser
from engine.errors import EngineError, explain
from engine.files import STANDARD_OUTPUT, read_target, write_whole
from engine.ledger.provenance import identify
from engine.models.devices import count_cores
from engine.studies.calibration.figures import list_misses, summarize
from engine.studies.calibration.simulate import list_cells, simulate_all

KEPT = Path("reports/reference/calibration.json")


def main(words: list[str] | None = None) -> int:
    parser = Parser(prog="lm-claims calibrate", description=__doc__)
    parser.add_argument("--claims", type=int, default=2000, help="at each edge, a quarter beside it (default: 2000)")
    parser.add_argument("--workers", type=int, default=count_cores(), help="processes (default: one for each core)")
    parser.add_argument("--out", type=read_target, default=KEPT, help=f"a file, or - (default: {KEPT})")
    asked = parser.parse_args(words)
    if min(asked.claims, asked.workers) < 1:
        got = f"--claims {asked.claims}, --workers {asked.workers}"
        remedy = "leave them out"
        print(explain(who="calibration", got=got, expected="whole numbers from 1", remedy=remedy), file=sys.stderr)
        return 4
    began = datetime.now(UTC).isoformat(timespec="seconds")
    cells = [(cell, asked.claims if cell.position == 0 else max(1, asked.claims // 4)) for cell in list_cells()]
    with tqdm(total=sum(claims for _, claims in cells), unit="claim", file=sys.stderr) as bar:
        found = simulate_all(cells, workers=asked.workers, tell=bar.update)
    session = identify(began)
    about = {"measured_on": began[:10], "commit": session.commit, "dirty": session.dirty}
    rows = [summarize(cell, counts) for cell, counts in found.items()]
    figures = about | {"cells": rows}
    try:
        write_whole(asked.out, (json.dumps(figures, indent=1, ensure_ascii=False) + "\n").encode(), who="calibration")
    except EngineError as error:
        print(error, file=sys.stderr)
        return 4
    for row in rows:
        if misses := list_misses(row):
            line = f"{row['estimand']} at {row['edge']}, n = {row['n']}: {', '.join(misses)}"
            print(line, file=sys.stderr if asked.out == STANDARD_OUTPUT else sys.stdout)
    return 0
