"""Documents state facts: tables are the reference run's; options, commands, files, headings and tests exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from engine.__main__ import COMMANDS
from engine.arms.prompts import LONG, MORE, SHORT
from engine.claim.discover import find_claims
from engine.claim.on_record import read_verdicts
from engine.records import read_records
from engine.report.markdown import tabulate, tabulate_claims
from engine.report.standing import Standing, find_standings, is_trained
from engine.report.views import count_exact
from engine.session.spelling import BY_SPELLING
from engine.text import format_number

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
RECORDS = read_records(ROOT / "reports" / "reference" / "records.jsonl")
TESTS = {path.name: path.read_text(encoding="utf-8") for path in Path(__file__).resolve().parents[1].rglob("test_*.py")}
TARGETS = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def find_all(pattern: str) -> list[tuple[str, str]]:
    """What the pattern's group matches in each document, with the document's name."""
    return sorted({(name, found) for name, text in DOCUMENTS.items() for found in re.findall(pattern, text)})


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_claims_table_is_the_reference_runs() -> None:
    table = re.search(r"<!-- claims table: .*? -->\n(.*?)\n<!-- end of claims table -->", RESULTS, re.DOTALL)
    assert table is not None
    assert table.group(1).strip() == tabulate(RECORDS).strip()


def test_the_claims_table_has_a_row_for_each_added_claim_and_each_of_the_catalogue() -> None:
    rows = [line.split("|")[1].strip() for line in tabulate(RECORDS).splitlines()[2:]]
    assert rows == sorted(declared.claim.id for declared in find_claims(ROOT / "claims"))


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 12_000
    assert README.count("\n") <= 200


def test_the_readmes_line_a_claim_is_the_reference_runs() -> None:
    table = re.search(r"<!-- claims: (.*?) -->\n(.*?)\n<!-- end of claims -->", README, re.DOTALL)
    assert table is not None
    assert table.group(1) == "lm-claims report table reports/reference --by-claim"
    assert table.group(2).strip() == tabulate_claims(RECORDS)


def test_the_readmes_models_are_the_reference_runs() -> None:
    judged = [record for record in RECORDS if record.outcome not in {"skipped", "not run", "not tested"}]
    words = " ".join(README.split())
    on_gemma = len({record.claim for record in judged if record.subject == "gemma3-270m"})
    assert words.count(f"for {on_gemma} claims, Gemma-3-270M") == 2
    on_family = len({record.claim for record in judged if record.subject == "gpt2-mini-d64"})
    assert f"for {on_family} claims, a small GPT-2 that the suite trains" in words
    assert {record.subject for record in judged if is_trained(record)} == {
        *("smollm2-135m", "gemma3-270m", "gpt2-mini-d64")
    }
    ours = len({record.claim for record in RECORDS if record.claim.startswith("A")})
    assert ours == 7
    assert f"{len({record.claim for record in RECORDS}) - ours} claims of the document and seven of our own" in words


FINDINGS = [
    ("Removing it saves a factor of {}", "C16", "page", "ratio", True),
    ("{} times at the document's bound", "C11", "page", "ratio", False),
    ("{} times at the same share of the way", "C11", "controlled", "ratio", False),
    ("a difference of {} from the embeddings' own scale", "C33", "controlled", "difference", False),
    ("{} from the document's start", "C33", "page", "difference", False),
    ("takes {} times the iterations of its initialization", "C39", "controlled", "end / initialization", False),
    ("and {} times from the document's start", "C39", "page-share", "end / initialization", False),
]


@pytest.mark.parametrize(("words", "claim", "protocol", "estimate", "whole"), FINDINGS)
def test_the_readmes_findings_are_the_reference_runs(
    words: str, claim: str, protocol: str, estimate: str, whole: bool
) -> None:
    subject = "gpt2-mini-d64" if claim == "C39" else "smollm2-135m"
    (row,) = [r for r in RECORDS if (r.claim, r.subject, r.protocol) == (claim, subject, protocol)]
    c = next(c for c in row.criteria if c.estimate == estimate)
    ends = f" [{format_number(c.low, 3)}, {format_number(c.high, 3)}]" if whole else ""
    assert words.format(f"{format_number(c.value, 3)}{ends}") in " ".join(README.split())


def test_the_readmes_recoveries_are_the_reference_runs() -> None:
    (row,) = [r for r in RECORDS if (r.claim, r.subject) == ("A03", "smollm2-135m")]
    found = [(first, best, prompts) for group, (_, first), (_, best), prompts in count_exact(row) if group == "1 block"]
    assert found == [(0, 16, 16)]
    assert "Descent recovers 0 of 16 prompts" in README
    assert "recovers 16 of 16" in README


def test_the_readme_counts_the_prompts() -> None:
    assert f"{len(SHORT) + len(MORE)} short English sentences and {len(LONG)} longer ones" in README


def test_the_readmes_standings_are_the_reference_runs() -> None:
    counts = Counter(one.standing for one in find_standings(RECORDS) if not one.ours)
    said = re.search(
        r"Of the document's claims (\d+) holds?, (\d+) holds? in part, (\d+) depends? on model or protocol, "
        r"(\d+) do(?:es)? not hold, (\d+) cannot be told yet, and (\d+) (?:is|are) not tested\.",
        " ".join(README.split()),
    )
    assert said is not None
    assert [int(number) for number in said.groups()] == [counts[standing] for standing in Standing]


def test_every_verdict_of_the_reference_run_is_on_record() -> None:
    on_record = read_verdicts(ROOT / "claims" / "verdicts.toml")
    measured = {
        (r.claim, r.subject, r.protocol): r.ruling
        for r in RECORDS
        if r.ruling and r.outcome not in {"not run", "not tested"}
    }
    assert {key: record.ruling for key, record in on_record.items()} == measured


def test_nothing_in_the_reference_run_is_an_error_or_drift() -> None:
    assert {record.outcome for record in RECORDS} <= {
        *("passed", "xfailed", "inconclusive", "not run", "not tested", "skipped")
    }


def test_the_coverage_names_every_claim_and_marks_those_that_are_to_come() -> None:
    text = DOCUMENTS["docs/coverage.md"]
    declared = {found.claim.id for found in find_claims(ROOT / "claims")}
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [cell for cell in rows if cell.strip() != "claim"]
    # A row names a claim, or says why there is none.
    assert all(re.search(r"[AC]\d\d", cell) or cell.strip().startswith("none: ") for cell in cells)
    named = set(re.findall(r"\b[AC]\d\d\b", " ".join(cells)))
    to_come = set(re.findall(r"\b([AC]\d\d) \(to come\)", " ".join(cells)))
    assert {id for id in declared if id.startswith("C")} <= named
    assert named - declared <= to_come
    assert not to_come & declared


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_every_option_that_the_readme_names_is_one_of_the_suites(option: str) -> None:
    assert option in BY_SPELLING


@pytest.mark.parametrize(("name", "command"), find_all(r"lm-claims ([a-z][a-z-]*)"))
def test_every_command_that_a_document_names_exists(name: str, command: str) -> None:
    assert command in COMMANDS


@pytest.mark.parametrize(("name", "target"), find_all(r"(?:`|^|&& )make ([a-z-]+)"))
def test_every_make_target_that_a_document_names_exists(name: str, target: str) -> None:
    assert target in TARGETS


@pytest.mark.parametrize(("name", "link"), find_all(r"\]\(([^):]+)\)"))
def test_every_file_and_heading_that_a_document_links_to_is_there(name: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / name).parent / path if path else ROOT / name
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in map(slug, headings)


@pytest.mark.parametrize("row", re.findall(r"^\| .*`test_.*$", PROMISES, re.MULTILINE), ids=lambda row: row[2:50])
def test_every_test_that_a_promise_names_exists(row: str) -> None:
    """`test_x.py` or `test_x.py::test_a…`, and after it more tests of that file as `…some_words…`."""
    text = ""
    for quoted in re.findall(r"`([^`]+)`", row.split(" | ")[1]):
        file, _, words = quoted.partition("::")
        if file in TESTS:
            text = TESTS[file]
        else:
            words = quoted
        if words.startswith(("test_", "…")):
            assert words.strip("…") in text
