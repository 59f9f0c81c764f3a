"""`lm-claims report render|table|compare|export|calibration …`: pages and tables of records and figures."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.commands.command_line import Parser, list_words, make_parser, run_command, say
from engine.errors import UsageError, explain
from engine.files import STANDARD_OUTPUT, output_path
from engine.records import Record, explain_part, read_records
from engine.report.compare import compare_runs, read_side
from engine.report.compare_page import render_comparison, write_comparison, write_lines
from engine.report.export import SHEETS
from engine.report.history import RUNS, find_previous, find_records_file, merge_records, read_runs
from engine.report.markdown import LEAST_ROOM, tabulate, tabulate_claims
from engine.report.pages import write_page
from engine.report.render import CALIBRATION_PAGE, render, write_report
from engine.session.finish import check_replaced
from engine.sheets import write_export
from engine.studies.calibration.page import render_calibration, tabulate_calibration
from engine.studies.calibration.results import read_calibration

COMMANDS = ("render", "table", "compare", "export", "calibration")


def _build_parser() -> Parser:
    kind = make_parser(list_words([*COMMANDS]))
    parser = kind(prog="lm-claims report", description="Reports from the records of sessions.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=kind)
    render = commands.add_parser("render", help="write the report's pages and records.jsonl")
    _add_records(render)
    render.add_argument(
        "--out", type=output_path, help="the report's folder (default: the records'), or - to print it as one page"
    )
    render.add_argument(
        "--single-file",
        type=output_path,
        metavar="FILE",
        help="write the report into one file instead, or - to print it",
    )
    render.add_argument("--previous", type=Path, help="an earlier run to compare with (default: the newest kept one)")
    render.add_argument("--rendered-at", help="the date to print (default: now, in UTC)")
    table = commands.add_parser("table", help="print the verdicts as a Markdown table")
    _add_records(table)
    table.add_argument(
        "--most", type=_read_room, metavar="BYTES", help="leave out rows that do not fit, and say how many"
    )
    table.add_argument("--by-claim", action="store_true", help="a line a claim instead of one a model and protocol")
    compare = commands.add_parser("compare", help="print what changed between two runs, and write runs.html")
    compare.add_argument("before", type=Path, metavar="A", help="a records.jsonl file or a report folder")
    compare.add_argument("after", type=Path, metavar="B", help="another one")
    compare.add_argument("--out", type=output_path, help="folder of runs.html (default: B's), or - to print it")
    export = commands.add_parser("export", help="write the records as one flat table")
    _add_records(export)
    export.add_argument("--out", type=output_path, required=True, help="a .csv or .parquet file, or - to print CSV")
    export.add_argument("--what", choices=SHEETS, default="estimates", help="what has a row (default: estimates)")
    calibration = commands.add_parser(
        "calibration", help="write calibration.html from the figures of lm-claims calibrate"
    )
    calibration.add_argument("figures", type=Path, metavar="FILE", help="a calibration.json file")
    calibration.add_argument(
        "--out", type=output_path, help="folder of calibration.html (default: the file's), or - to print it"
    )
    calibration.add_argument("--table", action="store_true", help="print the figures as Markdown instead")
    return parser


def _add_records(parser: argparse.ArgumentParser) -> None:
    text = "records.jsonl files or report folders; of an item in several of them, the newest measurement counts"
    parser.add_argument("records", type=Path, nargs="+", help=text)


def _read_room(text: str) -> int:
    room = int(text) if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) else 0
    if room < LEAST_ROOM:
        got, expected = f"{text!r} for --most", f"at least {LEAST_ROOM} bytes, for the table's head and a line below it"
        raise UsageError(explain(who="table", got=got, expected=expected, remedy="leave it out to print all rows"))
    return room


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 4 after one line on stderr."""
    commands = (_render, _table, _compare, _export, _calibration)
    return run_command(_build_parser, dict(zip(COMMANDS, commands, strict=True)), arguments)


def _read_all(paths: Sequence[Path]) -> list[Record]:
    return merge_records([read_records(find_records_file(path)) for path in paths])


def _render(chosen: argparse.Namespace) -> None:
    records = _read_all(chosen.records)
    folder = chosen.out or find_records_file(chosen.records[0]).parent
    if chosen.single_file is not None:
        if chosen.out is not None:
            got, expected = "--single-file and --out", "one of them"
            raise UsageError(explain(who="render", got=got, expected=expected, remedy="leave one out"))
        folder = STANDARD_OUTPUT
    if len(chosen.records) > 1 and chosen.out is None and chosen.single_file is None:
        # In the folder of the first source, the merged records would replace that source's own.
        got, expected = f"{len(chosen.records)} sources of records", "a folder for their common report"
        raise UsageError(explain(who="render", got=got, expected=expected, remedy="name it with --out"))
    check_replaced(records, folder)
    if part := explain_part(records):
        say(f"render: {part}", file=sys.stderr)
    # Kept runs lie beside the records of their report.
    folders = dict.fromkeys(find_records_file(path).parent / RUNS for path in chosen.records)
    history = read_runs([path for path in folders if os.path.isdir(path)])
    if chosen.previous is not None:
        previous = read_records(find_records_file(chosen.previous))
    else:
        before = find_previous(records, history)
        previous = before.records if before else ()
    rendered_at = chosen.rendered_at or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if folder == STANDARD_OUTPUT:
        page = render(records, rendered_at=rendered_at, previous=previous, history=history)
        file = write_page(page, chosen.single_file or STANDARD_OUTPUT)
        if file != STANDARD_OUTPUT:
            say(str(file))
    else:
        say(str(write_report(records, folder, rendered_at=rendered_at, previous=previous, history=history)))


def _table(chosen: argparse.Namespace) -> None:
    records = _read_all(chosen.records)
    if chosen.by_claim and chosen.most is not None:
        got, expected = "--by-claim and --most", "one of them"
        raise UsageError(explain(who="table", got=got, expected=expected, remedy="leave one out"))
    print(tabulate_claims(records) if chosen.by_claim else tabulate(records, most=chosen.most), flush=True)


def _compare(chosen: argparse.Namespace) -> None:
    comparison = compare_runs(read_side(chosen.before), read_side(chosen.after))
    if chosen.out == STANDARD_OUTPUT:
        write_page(render_comparison(comparison), STANDARD_OUTPUT)
        return
    page = write_comparison(comparison, chosen.out or find_records_file(chosen.after).parent)
    for line in [*write_lines(comparison), "", str(page)]:
        say(line)


def _export(chosen: argparse.Namespace) -> None:
    write_export(SHEETS[chosen.what](_read_all(chosen.records)), chosen.out)
    if chosen.out != STANDARD_OUTPUT:
        say(str(chosen.out))


def _calibration(chosen: argparse.Namespace) -> None:
    calibration = read_calibration(chosen.figures)
    if chosen.table:
        print(tabulate_calibration(calibration), flush=True)
    elif chosen.out == STANDARD_OUTPUT:
        write_page(render_calibration(calibration), STANDARD_OUTPUT)
    else:
        folder = chosen.out or chosen.figures.parent
        say(str(write_page(render_calibration(calibration), folder / CALIBRATION_PAGE)))
