"""Pages with films and charts: equal records give equal bytes, and a page grows by less than its records."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.records import Record, read_records, write_records
from engine.report import render
from engine.report.site import CLAIM_BYTES, INDEX_BYTES, SINGLE_BYTES
from engine.tests.report_pages import show_site
from engine.tests.report_tables import KINDS
from engine.tests.report_worlds import make_hostile_records, make_illustrated_records, make_world

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "reports" / "reference" / "records.jsonl"


def show(records: list[Record]) -> str:
    return render(records, rendered_at="2026-02-14")


def test_every_kind_of_table_stands_behind_some_record() -> None:
    assert {t.kind for r in make_illustrated_records() for t in r.tables} == {"", *KINDS}


@pytest.fixture(name="page", scope="module")
def provide_page() -> str:
    return show(make_illustrated_records())


def test_equal_records_give_equal_bytes_in_any_order_films_and_charts_too(page: str) -> None:
    shuffled = [replace(r, settings=dict(reversed(r.settings.items()))) for r in reversed(make_illustrated_records())]
    assert show(shuffled) == page
    assert 'class="film"' in page
    assert show_site(shuffled) == show_site(make_illustrated_records())
    assert "data-chart" in show_site(shuffled)["claims/C03.html"]


def test_a_file_gives_the_same_bytes_in_another_process(tmp_path: Path, page: str) -> None:
    file = tmp_path / "records.jsonl"
    write_records(make_illustrated_records(), file)
    arguments = ["render", str(file), "--single-file", str(tmp_path / "page.html"), "--rendered-at", "2026-02-14"]
    # Hashes of strings, and with them the order of sets, differ between the two processes.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": seed}
    command = [sys.executable, "-m", "engine", "report", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (tmp_path / "page.html").read_bytes() == page.encode()


def test_a_text_of_100_kb_in_every_place_does_not_swell_the_page() -> None:
    short, long = (len(show(make_hostile_records("<b>" * times))) for times in (10, 33_000))
    assert long < short + 1_500_000


@pytest.mark.parametrize("subjects", [6, 40])
def test_with_many_models_the_pages_keep_to_their_sizes(subjects: int) -> None:
    question = "Does the output head slow inversion down a hundredfold, or is it something else?"
    world = [replace(r, question=question, tables=()) for r in make_world(claims=52, subjects=subjects)]
    pages = {path: len(page.encode()) for path, page in show_site(world).items()}
    assert pages["index.html"] <= INDEX_BYTES
    assert max(size for path, size in pages.items() if path.startswith("claims/")) <= CLAIM_BYTES
    assert max(pages.values()) <= 1_000_000


def test_the_reference_runs_pages_keep_to_their_sizes() -> None:
    records = read_records(REFERENCE)
    pages = {path: len(page.encode()) for path, page in show_site(records).items()}
    assert pages["index.html"] <= INDEX_BYTES
    assert max(size for path, size in pages.items() if path.startswith("claims/")) <= CLAIM_BYTES
    assert len(show(records).encode()) <= SINGLE_BYTES


def test_a_world_has_every_item_once() -> None:
    world = make_world(claims=3, subjects=4)
    assert len({(r.claim, r.subject, r.protocol) for r in world}) == len(world) == 36
    assert {r.ruling for r in make_world(claims=3, subjects=20)} == {"supported", "refuted", "inconclusive"}


@pytest.mark.parametrize("claims", [1, 6])
def test_the_same_world_is_made_every_time(claims: int) -> None:
    assert make_world(claims=claims, subjects=2) == make_world(claims=claims, subjects=2)
