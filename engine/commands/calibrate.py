"""`lm-claims calibrate`: simulate claims of known truth, and keep how often their verdicts are false."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from engine.commands.command_line import Parser, say
from engine.errors import UsageError, explain
from engine.files import STANDARD_OUTPUT, output_path, write_whole
from engine.ledger.provenance import identify
from engine.models.devices import count_cores
from engine.studies.calibration.results import (
    EDGE,
    Calibration,
    Cell,
    SimulationRun,
    identify_cell,
    read_calibration,
)
from engine.studies.calibration.simulate import list_settings, simulate_all, summarize

KEPT = Path("reports/reference/calibration.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0. Raises EngineError where the command line or the file cannot be used."""
    parser = Parser(prog="lm-claims calibrate", description=__doc__)
    parser.add_argument("--claims", type=int, default=2000, help="at each edge, a quarter beside it (default: 2000)")
    parser.add_argument("--workers", type=int, default=count_cores(), help="processes (default: one for each core)")
    parser.add_argument("--out", type=output_path, default=KEPT, help=f"a file, or - (default: {KEPT})")
    parser.add_argument("--missing", action="store_true", help="keep the file's figures, and simulate what it lacks")
    chosen: argparse.Namespace = parser.parse_args(arguments)
    if min(chosen.claims, chosen.workers) < 1:
        got = f"--claims {chosen.claims}, --workers {chosen.workers}"
        raise UsageError(explain(who="calibration", got=got, expected="whole numbers from 1", remedy="leave them out"))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    # Beside the edge fewer verdicts can be false, so a quarter of the claims is enough.
    settings = [
        (setting, chosen.claims if setting.position == EDGE else max(1, chosen.claims // 4))
        for setting in list_settings()
    ]
    kept: list[Cell] = []
    earlier: tuple[SimulationRun, ...] = ()
    if chosen.missing:
        if chosen.out == STANDARD_OUTPUT:
            got, remedy = "--missing with --out -", "name the file with --out"
            raise UsageError(explain(who="calibration", got=got, expected="a file that holds figures", remedy=remedy))
        before = read_calibration(chosen.out)
        kept, earlier = before.cells, before.runs
        known = {(*identify_cell(cell), cell.n, cell.position) for cell in kept}
        settings = [(setting, claims) for setting, claims in settings if setting.key not in known]
        if not settings:
            say(f"{chosen.out} lacks nothing")
            return 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("claims", total=sum(claims for _, claims in settings))
        found = simulate_all(
            settings, workers=chosen.workers, tell=lambda claims: progress.update(task, advance=claims)
        )
    session = identify(began)
    calibration = Calibration(
        measured_on=began[:10],
        commit=session.commit,
        dirty=session.dirty,
        earlier=earlier,
        cells=[*kept, *(summarize(setting, counts) for setting, counts in found.items())],
    )
    write_whole(chosen.out, (calibration.model_dump_json(indent=1) + "\n").encode(), who="calibration")
    for cell in calibration.cells:
        if cell.misses:
            line = f"{cell.estimand} at {cell.edge}, n = {cell.n}: {cell.misses}"
            say(line, file=sys.stderr if chosen.out == STANDARD_OUTPUT else sys.stdout)
    return 0
