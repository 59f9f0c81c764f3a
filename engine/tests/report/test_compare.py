"""Two runs side by side: what changed, why, and that nothing in either acts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.commands.report import main
from engine.records import Record, RecordedVerdict, Session, write_records
from engine.report.causes import find_causes
from engine.report.compare import Comparison, compare_runs
from engine.report.compare_page import render_comparison, write_lines
from engine.report.history import gather_run
from engine.tests.report.test_report import Page
from engine.tests.report_samples import AMENDED, PROVENANCE, make_criterion, make_records

INF = math.inf
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\x00\r\n&amp;\"'" + "x" * 100_000


def compare(before: list[Record], after: list[Record]) -> Comparison:
    return compare_runs(gather_run(before, "a/records.jsonl"), gather_run(after, "b/records.jsonl"))


def judge(
    ruling: str | None,
    low: float = 2.0,
    value: float = 3.0,
    high: float = 4.0,
    *,
    claim: str = "C01",
    **changes: object,
) -> Record:
    """An item whose one estimate has this interval."""
    record = next(record for record in make_records() if record.claim == "C01")
    criteria = (make_criterion("ratio > 1", ("ratio", value, low, high), ruling or ""),)
    settings = {"claim": claim, "criteria": criteria, "ruling": ruling, "outcome": "finding", "tables": ()}
    return replace(record, **(settings | changes))


def skip(**changes: object) -> Record:
    settings = {"criteria": (), "outcome": "skipped", "arms": (), "provenance": None, "sources": {}}
    return judge(None, **(settings | {"sentence": "needs a GPU"} | changes))


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


def test_the_same_run_twice_is_said_to_be_unchanged(records: list[Record]) -> None:
    comparison = compare(records, make_records()[::-1])
    assert comparison.changes == ()
    assert (comparison.shared, comparison.moved) == (len(records), 0)
    lines = write_lines(comparison)
    assert lines[2] == f"Nothing changed: all {len(records)} items of both runs came to the same verdict."
    assert "data, code, model, criterion and machine the same throughout" in lines[3]
    assert len(lines) == 4
    assert lines[2] in Page(render_comparison(comparison)).text


CHANGES = {
    "drift": (judge("supported"), judge("refuted", 0.1, 0.2, 0.3, outcome="drift"), "drift"),
    "drift to an error": (judge("refuted", outcome="drift"), judge(None, outcome="error", criteria=()), "drift"),
    "an error": (judge("supported"), judge(None, outcome="error", criteria=()), "error"),
    "an error mended": (judge(None, outcome="error", criteria=()), judge("supported"), "error"),
    "reversed": (judge("supported"), judge("refuted", 0.1, 0.2, 0.3), "reversed"),
    "partly": (judge("partly supported"), judge("refuted"), "reversed"),
    "now undecided": (judge("supported"), judge("inconclusive", 0.5, 2.0, 3.0), "decided"),
    "now measured": (skip(), judge("supported"), "measured"),
    "not run now": (judge("inconclusive"), judge("not run at this effort", outcome="not run"), "measured"),
    "disjoint": (judge("supported"), judge("supported", 4.1, 5.0, INF), "disjoint"),
    "disjoint below": (judge("supported"), judge("supported", 1.1, 1.5, 1.9), "disjoint"),
    "overlapping": (judge("supported"), judge("supported", 4.0, 5.0, INF), None),
    "a count that differs": (judge("refuted", 1.0, 1.0, 1.0), judge("refuted", 0.5, 0.5, 0.5), "disjoint"),
    "rounding without an interval": (judge("refuted", None, 1e-16, None), judge("refuted", None, 3e-16, None), None),
    "amended": (
        judge("supported"),
        judge("supported", criteria=(make_criterion("ratio > 2", ("ratio", 3.0, 2.0, 4.0), "supported"),)),
        "amended",
    ),
    "on record now": (
        judge("refuted"),
        judge(
            "refuted", outcome="xfailed", on_record=RecordedVerdict(ruling="refuted", date="2026-01-01", reason="seen")
        ),
        "outcome",
    ),
    "another reason to skip": (skip(), skip(sentence="needs weights"), None),
    "no number": (judge("inconclusive", math.nan, math.nan, math.nan), judge("inconclusive", 1, 2, 3), None),
}


@pytest.mark.parametrize(("before", "after", "kind"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_weighed_by_what_it_means(before: Record, after: Record, kind: str | None) -> None:
    assert [change.kind for change in compare([before], [after]).changes] == ([kind] if kind else [])


def test_the_heaviest_changes_come_first_and_claims_in_their_order() -> None:
    pairs = [
        (judge("supported", claim="C2"), judge("supported", 4.1, 5.0, 6.0, claim="C2")),
        (judge("supported", claim="C10"), judge("refuted", claim="C10")),
        (judge("supported", claim="C9"), judge("refuted", claim="C9")),
        (judge("supported", claim="C30"), judge("refuted", claim="C30", outcome="drift")),
    ]
    comparison = compare([before for before, _ in pairs], [after for _, after in pairs])
    assert [change.after.claim for change in comparison.changes] == ["C30", "C9", "C10", "C2"]


CAUSES = {
    "other measurements": ({"arms": ("0be2713c9d54", "ffff")}, "data", "measurements", "1 of 2 only here: a41f0c77d2"),
    "effort": ({"effort": "full"}, "data", "effort", "standard"),
    "a setting": ({"settings": {"cap N": "3000"}}, "data", "cap N", "1000"),
    "prompts": ({"command": "pytest x --prompt 'a b' --prompt c"}, "data", "prompts", "—"),
    "seeds": ({"command": "pytest x --seeds 4"}, "data", "start seeds", "—"),
    "again": ({"provenance": replace(PROVENANCE, measured_at="2027")}, "data", "last measured", "2026-02-14T"),
    "commit": ({"provenance": replace(PROVENANCE, commit="f" * 40)}, "code", "measured by", "3f9ac1d27be0, dirty"),
    "clean": ({"provenance": replace(PROVENANCE, dirty=False)}, "code", "measured by", "3f9ac1d27be0, dirty"),
    "a package": ({"provenance": replace(PROVENANCE, versions={"torch": "3"})}, "code", "torch", "2.13.0"),
    "weights": ({"sources": {"smollm2-135m": "sha256 other"}}, "model", "smollm2-135m", "sha256 7c1f09d2a4be6613"),
    "a region": (
        {"criteria": (make_criterion("ratio > 1", ("ratio", 3, 2, 4), "supported", region=(1.0, 9.0)),)},
        "criterion",
        "criteria",
        "ratio > 1 in [1, ∞]",
    ),
    "registration": ({"registration": AMENDED}, "criterion", "registration", "registered"),
    "statement": ({"statement": "other"}, "criterion", "statement", "The largest coefficient"),
    "machine": ({"provenance": replace(PROVENANCE, machine="other")}, "machine", "machine", "x86_64"),
    "device": ({"provenance": replace(PROVENANCE, device="cuda")}, "machine", "device", "cpu"),
    "threads": ({"provenance": replace(PROVENANCE, threads=9)}, "machine", "threads", "2"),
    "dtype": ({"provenance": replace(PROVENANCE, dtype="float64")}, "machine", "dtype", "float32"),
}


@pytest.mark.parametrize(("changes", "kind", "what", "value"), CAUSES.values(), ids=CAUSES)
def test_what_differs_is_named_with_its_kind_and_both_values(
    changes: dict[str, object], kind: str, what: str, value: str
) -> None:
    before = judge("supported")
    causes = find_causes(before, replace(before, **changes))
    assert {cause.kind for cause in causes} == {kind}
    (cause,) = [cause for cause in causes if cause.what == what]
    assert cause.before.startswith(value)
    assert find_causes(replace(before, **changes), before) != causes


def test_the_number_of_units_is_a_cause() -> None:
    more = judge("supported", criteria=(make_criterion("ratio > 1", ("ratio", 3.0, 2.0, 4.0), "supported", n=360),))
    (cause,) = find_causes(judge("supported"), more)
    assert (cause.kind, cause.what, cause.before, cause.after) == ("data", "n of ratio", "36 prompts", "360 prompts")


def test_another_version_of_the_numerics_is_a_cause() -> None:
    one, two = (Session(began=f"2026-0{n}", commit=str(n) * 40, dirty=False, numerics=n) for n in (1, 2))
    causes = find_causes(judge("supported", session=one), judge("supported", session=two))
    assert [(cause.kind, cause.what, cause.before, cause.after) for cause in causes] == [
        ("code", "judged by", "1" * 12, "2" * 12),
        ("code", "numerics", "1", "2"),
    ]
    assert find_causes(judge("supported", session=one), judge("supported")) == ()


def test_an_item_without_a_measurement_has_no_code_model_or_machine_to_differ_in() -> None:
    assert {cause.kind for cause in find_causes(skip(), judge("supported"))} == {"data"}


def test_a_change_says_which_kinds_are_equal() -> None:
    other = replace(PROVENANCE, machine="other", commit="f" * 40)
    (change,) = compare([judge("supported")], [judge("refuted", provenance=other)]).changes
    assert change.equal == ("data", "model", "criterion")
    assert "    equal: DATA, MODEL, CRITERION" in write_lines(compare([change.before], [change.after]))


def test_items_of_one_run_only_are_listed_and_those_not_measured_counted() -> None:
    lines = write_lines(compare([judge("supported")], [judge("refuted", claim="C02"), skip(claim="C03")]))
    assert lines[2] == "1 item only in A and 2 items only in B."
    assert lines[3] == "No item is in both."
    assert "only in A: C01  smollm2-135m · direct: supported" in lines
    assert "only in B: C02  smollm2-135m · direct: refuted" in lines
    assert "only in B: 1 item that was not measured" in lines


def test_numbers_that_round_to_the_same_are_shown_whole() -> None:
    (change,) = compare([judge("supported", 2.0, 148.01, 400.0)], [judge("refuted", 2.0, 148.02, 400.0)]).changes
    assert [(estimate.before, estimate.after) for estimate in change.estimates] == [
        ("148.01 [2.0, 400.0]", "148.02 [2.0, 400.0]"),
    ]


def make_hostile() -> tuple[list[Record], list[Record]]:
    before, after = (
        judge(
            ruling,
            *interval,
            claim=HOSTILE,
            subject=HOSTILE,
            protocol=HOSTILE,
            statement=HOSTILE + ruling,
            sentence=HOSTILE,
            settings={HOSTILE: ruling},
            sources={HOSTILE: HOSTILE + ruling},
            effort=ruling + HOSTILE,
            command=HOSTILE,
            provenance=replace(PROVENANCE, machine=ruling + HOSTILE, versions={HOSTILE: ruling}),
        )
        for ruling, interval in (("supported", (2, 3, 4)), (HOSTILE, (0.1, 0.2, 0.3)))
    )
    return [before, replace(before, claim="A" + HOSTILE)], [after, replace(after, claim="B" + HOSTILE)]


def test_hostile_text_is_inert_on_the_page_and_in_the_terminal() -> None:
    comparison = compare(*make_hostile())
    page = render_comparison(comparison)
    assert Page(page).tags & {"script", "img", "iframe", "a"} == {"a"}
    assert len(page) < 200_000
    for text in (page.replace("\n", ""), *write_lines(comparison)):
        assert all(character.isprintable() for character in text)
        assert len(text) < 200_000


def test_the_page_is_closed_in_itself(records: list[Record]) -> None:
    html = render_comparison(compare(records, [judge("supported"), *records[3:]]))
    page = Page(html)
    assert page.scripts == []
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "prefers-color-scheme: dark" in html
    assert not {"style", "onclick"} & page.attributes


def test_equal_runs_in_any_order_give_equal_bytes(records: list[Record]) -> None:
    after = [judge("inconclusive"), *records[3:]]
    page = render_comparison(compare(records, after))
    assert render_comparison(compare(records[::-1], after[::-1])) == page


@pytest.mark.parametrize("as_folder", [True, False], ids=["folders", "files"])
def test_the_command_prints_and_writes_the_comparison(
    as_folder: bool, records: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = [judge("inconclusive"), *records[1:]]
    for name, run in (("a", records), ("b", after)):
        write_records(run, tmp_path / name / "records.jsonl")
    paths = [str(tmp_path / name / ("" if as_folder else "records.jsonl")) for name in ("a", "b")]
    assert main(["compare", *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *write_lines(compare(records, after)),
        "",
        str(tmp_path / "b" / "runs.html"),
    ]
    assert (tmp_path / "b" / "runs.html").read_text(encoding="utf-8") == render_comparison(compare(records, after))
    assert main(["compare", *paths, "--out", str(tmp_path / "c")]) == 0
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["runs.html"]
