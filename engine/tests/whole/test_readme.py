"""The README tells what is so: its table is the reference run's, its options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.claim.verdicts import read_verdicts
from engine.records import read_records
from engine.report import tabulate
from engine.session.spelling import BY_SPELLING

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = read_records(ROOT / "reports" / "reference" / "records.jsonl")


def test_the_claims_table_is_the_reference_runs() -> None:
    table = re.search(r"<!-- claims table: .*? -->\n(.*?)\n<!-- end of claims table -->", README, re.DOTALL)
    assert table is not None
    assert table.group(1).strip() == tabulate(RECORDS).strip()


def test_the_claims_table_has_a_row_for_each_claim_of_ours_and_of_the_catalogue() -> None:
    rows = [line.split("|")[1].strip() for line in tabulate(RECORDS).splitlines()[2:]]
    assert rows == [*(f"A{number:02}" for number in range(1, 5)), *(f"C{number:02}" for number in range(1, 39))]


def test_every_verdict_of_the_reference_run_is_on_record() -> None:
    on_record = read_verdicts(ROOT / "claims" / "verdicts.toml")
    measured = {(r.claim, r.subject, r.protocol): r.ruling for r in RECORDS if r.ruling and r.outcome != "not run"}
    assert {key: record.ruling for key, record in on_record.items()} == measured


def test_nothing_in_the_reference_run_is_an_error_or_drift() -> None:
    assert {record.outcome for record in RECORDS} <= {"passed", "xfailed", "inconclusive", "not run", "skipped"}


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_every_option_that_it_names_is_one_of_ours(option: str) -> None:
    assert option in BY_SPELLING


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_file_that_it_links_to_is_there(path: str) -> None:
    assert (ROOT / path).exists()
