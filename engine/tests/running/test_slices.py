"""Slices: every item falls to exactly one machine, and what all of them found is what one would have."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.report import main as report_main
from engine.errors import UsageError
from engine.ledger.maintenance import merge, read_ledger
from engine.records import Record, read_records
from engine.report.history import merge_records
from engine.running.slices import Slice, read_slice, share_items
from engine.tests.claim.test_own_claims import read_example
from engine.tests.planted_claims import run_session, write_claim
from engine.tests.tiny_models import make_gpt2, save

ROOT = Path(__file__).resolve().parents[3]
SECONDS = st.floats(0.0, 1e4)
OWN_ARMS = st.lists(SECONDS, max_size=30).map(lambda costs: [{str(k): s} for k, s in enumerate(costs)])


@given(OWN_ARMS, st.integers(1, 12))
def test_no_slice_is_longer_than_its_share_and_one_item(costs: list[dict[str, float]], of: int) -> None:
    """The slice that an item is dealt to was the smallest: it had no more than the mean of what was dealt before."""
    dealt = share_items(costs, of)
    loads = [sum(sum(c.values()) for c, s in zip(costs, dealt, strict=True) if s == k + 1) for k in range(of)]
    each = [sum(c.values()) for c in costs]
    assert all(1 <= s <= of for s in dealt)
    assert max(loads) <= sum(each) / of + max(each, default=0.0) + 1e-6


def test_items_that_share_arms_stay_together() -> None:
    shared = {"tuning": 10.0, "head": 60.0}
    costs = [shared | {"a": 1.0}, {"b": 40.0}, shared | {"c": 1.0}, {"d": 40.0}]
    dealt = share_items(costs, 2)
    assert dealt == [1, 2, 1, 2]  # apart they would cost 71 + 40 each; together 72 and 80


def test_items_without_a_cost_are_spread() -> None:
    assert Counter(share_items([{}] * 10, 4)) == {1: 3, 2: 3, 3: 2, 4: 2}


@pytest.mark.parametrize("text", ["1/1", "3/8", "9999/9999"])
def test_a_slice_reads_as_it_is_written(text: str) -> None:
    assert str(read_slice(text)) == text


def test_a_slice_is_two_numbers() -> None:
    assert read_slice("3/8") == Slice(number=3, of=8)


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "-1/8", "3/0", "3/8/9", " 3/8", "٣/٨", "1e1/20", "3/10000"])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--slice: got .*, expected K/N with K from 1 to N, such as 3/8; leave it"):
        read_slice(text)


def normalize(record: Record) -> Record:
    """What does not depend on when and by which session it was had."""
    provenance = record.provenance and replace(record.provenance, measured_at="")
    return replace(record, session=None, cost_s=0.0, provenance=provenance)


@pytest.mark.parametrize("of", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_slices_are_one_whole_run(of: int, pytester: pytest.Pytester) -> None:
    """CONTRIBUTING's claim, another that shares its arms, and a count, each on several models."""
    count = ROOT / "claims" / "representation" / "c01_pinv_recovers_every_token.py"
    layers = range(2, 4 if of == 2 else 6)
    for id in ("OWN1", "OWN2"):
        (pytester.path / f"test_{id}.py").write_text(read_example().replace("OWN1", id), encoding="utf-8")
    models = [save(pytester.path / f"model{k}", make_gpt2(n_embd=16, n_positions=64, n_layer=k)) for k in layers]
    subjects = [word for model in models for word in ("--subject", f"local:{model}")]

    def run(name: str, *options: str) -> list[Record]:
        ledger, report = pytester.path / f"ledger-{name}", pytester.path / f"report-{name}"
        places = ("--ledger", str(ledger), "--report-dir", str(report))
        result = run_session(pytester, ".", str(count), "--effort", "smoke", *subjects, *places, *options)
        assert result.ret == 0, result.outlines
        return read_records(report / "records.jsonl")

    whole = run("whole")
    parts = [run(str(k), "--slice", f"{k}/{of}") for k in range(1, of + 1)]
    assert sum(map(len, parts)) == len(whole) == 3 * len(models)
    found = merge_records(parts)
    assert sorted(map(repr, map(normalize, found))) == sorted(map(repr, map(normalize, whole)))

    done = merge(pytester.path / "both", [pytester.path / f"ledger-{k}" for k in range(1, of + 1)])
    assert (done.differing, done.refused) == ([], [])

    def contents(folder: Path) -> dict[str, str]:
        return {s.measurement.digest: s.measurement.content() for s in read_ledger(folder) if s.measurement}

    assert contents(pytester.path / "both") == contents(pytester.path / "ledger-whole")


def test_a_slice_that_no_item_falls_to_is_no_failure(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    first = run_session(pytester, "--slice", "1/2")
    first.stdout.fnmatch_lines(["slice 1/2: 1 of 1 item"])
    assert first.ret == 0
    second = run_session(pytester, "--slice", "2/2")
    second.stdout.fnmatch_lines(["slice 2/2: 0 of 1 item"])
    assert second.ret == 0


def test_a_share_without_items_is_brought_together_with_the_others(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    shares = [str(pytester.path / f"share-{number}") for number in (1, 2)]
    for number, share in enumerate(shares, 1):
        assert run_session(pytester, "--slice", f"{number}/2", "--report-dir", share).ret == 0
    assert read_records(Path(shares[1]) / "records.jsonl") == []
    assert report_main(["render", *reversed(shares), "--out", str(pytester.path / "all")]) == 0
    assert [record.claim for record in read_records(pytester.path / "all" / "records.jsonl")] == ["C90"]
    before = (Path(shares[0]) / "records.jsonl").read_bytes()
    assert run_session(pytester, "--slice", "2/2", "--report-dir", shares[0]).ret == 0
    assert (Path(shares[0]) / "records.jsonl").read_bytes() == before  # of nothing no report is made


def test_a_share_without_items_is_no_failure_among_workers_either(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    result = pytester.runpytest_inprocess("-n", "1", "--device", "cpu", "--slice", "2/2")
    result.stdout.fnmatch_lines(["slice 2/2: 0 of 1 item"])
    assert result.ret == 0


def test_dealt_is_what_other_options_leave(pytester: pytest.Pytester) -> None:
    for name in ("one", "two", "three", "four"):
        write_claim(pytester.path, "supported", name=name, id=f"C9{len(name)}{name[0]}")
    result = run_session(pytester, "--slice", "1/2", "-k", "one or two")
    result.stdout.fnmatch_lines(["slice 1/2: 1 of 2 items"])


def test_tests_without_a_claim_run_on_every_machine(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    pytester.makepyfile(test_plain="def test_plain():\n    assert True\n")
    run_session(pytester, "--slice", "2/2").assert_outcomes(passed=1, deselected=1)
