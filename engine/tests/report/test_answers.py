"""Answers, findings, other set-ups, pairs, models and trends: what the pages say is what the records hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.records import SENSITIVITY, Record, Session, Table
from engine.report.findings import LOST, list_findings
from engine.report.history import gather_run
from engine.report.intervals import arrange_interval, fit_axis
from engine.report.models import arrange_models, order_models
from engine.report.pairs import arrange_pairs
from engine.report.specification import arrange_specification, read_estimate
from engine.report.trends import arrange_trends
from engine.report.views import arrange_claims
from engine.tests.report_samples import make_criterion, make_record


def judge(
    value: float | None,
    low: float | None,
    high: float | None,
    ruling: str,
    *,
    claim: str = "C16",
    subject: str = "smollm2-135m",
    protocol: str = "page",
    figure: float | None = 100.0,
    **changes: Any,
) -> Record:
    """A row that one criterion decides: 'ratio > 100'."""
    criterion = make_criterion("ratio > 100", ("ratio", value, low, high), ruling, figure=figure)
    outcome = {"supported": "passed", "inconclusive": "inconclusive"}.get(ruling, "xfailed")
    record = make_record(claim, subject, protocol, outcome, ruling, criteria=(criterion,))
    return replace(record, question=f"Is {claim} so?", **changes)


def answer(*records: Record) -> tuple[str, str]:
    (view,) = arrange_claims(records)
    return view.answer


@pytest.mark.parametrize(
    ("rows", "lead", "reading"),
    [
        (
            [judge(2.24, 1.3, 4.34, "refuted"), judge(1.2, 0.3, 1.7, "refuted", protocol="controlled")],
            "No, on smollm2-135m. The document's own model, trained GPT-2, was not measured.",
            "Ratio: 1.2 (0.3 to 1.7), with confounds removed; 2.24 (1.3 to 4.34), in the document's set-up. "
            "The document says 100.",
        ),
        (
            [judge(150, 120, math.inf, "supported", subject="gpt2")],
            "Yes, on gpt2.",
            "Ratio: 150 (120 to ∞), in the document's set-up. The document says 100.",
        ),
        (
            [judge(150, 120, 180, "supported"), judge(1.2, 0.3, 1.7, "refuted", protocol="mine", figure=None)],
            "It depends on the protocol: the verdicts on smollm2-135m differ. "
            "The document's own model, trained GPT-2, was not measured.",
            "Ratio: 1.2 (0.3 to 1.7), under mine; 150 (120 to 180), in the document's set-up.",
        ),
        (
            [judge(90, 20, 180, "inconclusive", figure=None)],
            "We cannot tell yet, on smollm2-135m. The document's own model, trained GPT-2, was not measured.",
            "Ratio: 90 (20 to 180), in the document's set-up.",
        ),
        (
            [judge(150, 120, 180, "supported"), judge(90, 20, 180, "inconclusive", protocol="controlled", figure=None)],
            "Yes, on smollm2-135m; 1 other test is undecided. "
            "The document's own model, trained GPT-2, was not measured.",
            "Ratio: 150 (120 to 180), in the document's set-up. The document says 100.",
        ),
    ],
    ids=["no", "yes", "depends", "open", "another open"],
)
def test_an_answer_says_what_it_comes_to_and_its_numbers(rows: Sequence[Record], lead: str, reading: str) -> None:
    assert answer(*rows) == (lead, reading)


def test_a_claim_without_a_measurement_says_so() -> None:
    waiting = make_record("C16", "gpt2", "page", "skipped", None, arms=(), cost_s=0.0)
    assert answer(waiting) == ("Not tested yet.", "No model that can decide it was measured.")


def test_an_answer_of_many_models_names_some_and_counts_the_rest() -> None:
    rows = [judge(1.0 + k, 0.5, 9.0, "refuted", subject=f"m{k}", figure=None) for k in range(6)]
    _, reading = answer(*rows)
    assert reading.count(";") == 3
    assert reading.endswith("; and 3 more.")


def test_a_sentence_names_some_of_many_models() -> None:
    rows = [judge(1, 0.5, 2, "refuted", subject=f"m{k}") for k in range(40)]
    assert answer(*rows)[0].startswith("No, on m0, m1, m2, m3, m4 and 35 more. ")
    assert answer(*rows[:6])[0].startswith("No, on m0, m1, m2, m3, m4 and m5. ")


def make_ladder(first: float, best: float) -> Table:
    return Table(
        title="Searches",
        columns=("group", "search", "exact rate", "prompts"),
        rows=(("1 block", "page", first, 16), ("1 block", "checked", best, 16)),
        kind="searches",
    )


def test_three_findings_come_from_the_records_and_follow_them() -> None:
    turns = [
        judge(0.94, 0.8, 1.0, "supported", claim="C06", protocol="controlled"),
        judge(0.09, 0.0, 0.5, "refuted", claim="C06"),
    ]
    ours = judge(1, 0.8, 1.0, "supported", claim="C28", figure=None, tables=(make_ladder(0, 1),))
    rows = [judge(2.24, 1.3, 4.34, "refuted"), judge(1.2, 0.3, 1.7, "refuted", protocol="controlled"), *turns]
    found = list_findings(arrange_claims([*rows, replace(ours, claim="A03")]))
    assert [(f.heading, f.number) for f in found] == [
        ("Is C16 so?", "1.2 to 2.24"),
        (LOST, "0 → 16 of 16"),
        ("Is C06 so?", "0.94 or 0.09"),
    ]
    assert found[0].words.endswith(", on smollm2-135m. The document says 100.")
    assert found[2].words.endswith(
        "On smollm2-135m it holds with confounds removed (0.94), not in the document's set-up (0.09)."
    )
    # Nothing is said that the records do not hold.
    assert list_findings(arrange_claims([judge(None, None, None, "inconclusive")])) == ()
    (only,) = list_findings(arrange_claims([judge(7, 5, 9, "refuted")]))
    assert only.number == "7"


def make_choices(*rows: tuple[str, str, str, str]) -> Table:
    columns = ("factor", "choice", "estimates", "verdict", "beside the declared experiment")
    return Table(title="Sensitivity", columns=columns, rows=tuple((*row, "") for row in rows), kind=SENSITIVITY)


def test_other_set_ups_are_sorted_by_their_estimate_with_the_declared_one_among_them() -> None:
    table = make_choices(
        ("start", "N(0, 1)", "ratio = 4.17 [3.15, 5.97] (n = 12 pairs)", "refuted"),
        ("σ", "1/10", "other = 9 [8, 10]; ratio = 150 [120, ∞] (n = 12 pairs)", "supported"),
        ("cap", "N = 300", "ratio = 1 [0, ∞] (n = 12 pairs)", "inconclusive"),
        ("cap", "N = 3000", "no estimate at all", "inconclusive"),
    )
    spec = arrange_specification(judge(2.24, 1.3, 4.34, "refuted", tables=(table,)))
    assert spec is not None
    assert [choice.choice for choice in spec.choices] == ["N = 300", "as declared", "N(0, 1)", "1/10", "N = 3000"]
    assert (spec.turned, spec.axis.logarithmic, spec.choices[-1].picture) == (1, True, None)
    assert spec.title == (
        "Does one choice decide it? Yes: 1 of 4 other set-ups comes to another verdict, and 2 are undecided."
    )
    assert arrange_specification(judge(2.24, 1.3, 4.34, "refuted")) is None
    (view,) = arrange_claims([judge(2.24, 1.3, 4.34, "refuted", tables=(replace(table, note="Of before."),))])
    assert [found.note for found in view.specifications] == ["Of before."]


@pytest.mark.parametrize(
    ("ruling", "verdicts", "said"),
    [
        ("refuted", ["refuted"], "No: none of 1 other set-up comes to another verdict."),
        ("refuted", ["supported", "partly supported"], "Yes: 2 of 2 other set-ups come to another verdict."),
        (
            "partly supported",
            ["supported", "refuted", "inconclusive"],
            "Yes: 2 of 3 other set-ups come to another verdict, and 1 is undecided.",
        ),
        (
            "inconclusive",
            ["inconclusive", "supported"],
            "It is undecided as declared; 1 of 2 other set-ups decides it.",
        ),
        ("inconclusive", ["inconclusive"], "It is undecided as declared; none of 1 other set-up decides it."),
    ],
)
def test_whether_one_choice_decides_is_said_as_it_is(ruling: str, verdicts: list[str], said: str) -> None:
    table = make_choices(*((f"f{k}", "x", "ratio = 3 [2, 4]", verdict) for k, verdict in enumerate(verdicts)))
    spec = arrange_specification(judge(2.24, 1.3, 4.34, ruling, tables=(table,)))
    assert spec is not None
    assert spec.title == f"Does one choice decide it? {said}"


def test_rows_that_are_cut_or_odd_do_no_harm() -> None:
    table = make_choices(("a", "b", "ratio = 1.2.3", "refuted"), ("a", "c", "ratio = 3 [2, 4]", "refuted"))
    cut = replace(table, rows=(*table.rows, ("a", "b", "ratio = 1")))
    spec = arrange_specification(judge(2.24, 1.3, 4.34, "refuted", tables=(cut,)))
    assert spec is not None
    drawn = [(choice.choice, choice.picture is not None) for choice in spec.choices]
    assert drawn == [("as declared", True), ("c", True), ("b", False)]


def test_searches_without_names_or_gains_are_no_finding() -> None:
    columns, rows = ("group", "exact rate", "prompts"), (("g", 0, 4), ("g", 1, 4))
    nameless = replace(make_ladder(0, 1), columns=columns, rows=rows)
    ours = replace(judge(1, 0, 2, "supported", claim="C28", figure=None, tables=(nameless,)), claim="A03")
    assert list_findings(arrange_claims([ours])) == ()
    assert list_findings(arrange_claims([replace(ours, tables=(make_ladder(1, 1),))])) == ()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("ratio = 3.09 [2.15, 3.9] (n = 12 pairs)", (3.09, 2.15, 3.9)),
        ("ratio = 1e-7", (1e-7, None, None)),
        ("ratio = -0.4 [−∞, ∞]", (-0.4, -math.inf, math.inf)),
        ("a ratio = 3 [1, 2]", None),
        ("", None),
    ],
)
def test_an_estimate_in_words_is_read(text: str, numbers: tuple[float | None, ...] | None) -> None:
    found = read_estimate(text, judge(1, 0, 2, "refuted").criteria[0])
    assert (None if found is None else (found.value, found.low, found.high)) == numbers


def test_pairs_differ_by_protocol_by_training_by_model_and_from_the_run_before() -> None:
    sized = {"smollm2-135m": 135, "gemma3-270m": 270, "smollm2-135m-untrained": 135}
    rows = [
        judge(2.2, 1.3, 4.3, "refuted", parameters=135),
        judge(150, 120, 180, "supported", protocol="controlled", parameters=135),
        judge(1.1, 0.9, 1.2, "refuted", subject="gemma3-270m", parameters=270),
        judge(130, 110, 150, "supported", subject="smollm2-135m-untrained", parameters=135),
    ]
    before = [replace(rows[0], ruling="inconclusive"), rows[2]]
    groups = {group.id: group for group in arrange_pairs(arrange_claims(rows), before)}
    assert order_models(rows) == list(sized)
    (protocols,) = groups["protocols"].differing
    assert [(side.name, side.words) for side in protocols.sides] == [
        ("controlled", "150 [120, 180]"),
        ("page", "2.2 [1.3, 4.3]"),
    ]
    (training,) = groups["training"].differing
    assert [side.name for side in training.sides] == ["trained", "untrained"]
    (across,) = groups["across"].equal
    assert [side.name for side in across.sides] == ["smollm2-135m", "gemma3-270m"]
    assert [pair.of for pair in groups["runs"].differing] == ["smollm2-135m · page"]
    steps = [(was.word, now.word, count) for was, now, count in groups["runs"].transitions]
    assert steps == [("inconclusive", "refuted", 1), ("refuted", "refuted", 1)]


def test_models_are_listed_by_size_with_their_verdicts() -> None:
    waiting = make_record("C16", "gpt2-xl", "page", "skipped", None, arms=(), cost_s=0.0)
    rows = [
        judge(1, 0.5, 2, "refuted", subject="large", parameters=10**9),
        judge(1, 0.5, 2, "refuted", subject="small", parameters=10**6),
        judge(200, 150, 220, "supported", subject="small", protocol="controlled", parameters=10**6),
        waiting,
    ]
    models = arrange_models(arrange_claims(rows))
    assert [(m.id, m.parameters, len(m.rows), m.waiting) for m in models] == [
        ("small", 10**6, 2, 0),
        ("large", 10**9, 1, 0),
        ("gpt2-xl", None, 0, 1),
    ]
    assert [(symbol.word, count) for symbol, count in models[0].counts] == [("refuted", 1), ("supported", 1)]


def test_trends_follow_the_runs_and_those_that_changed_come_first() -> None:
    def run(day: int, value: float, ruling: str) -> list[Record]:
        session = Session(began=f"2026-02-0{day}T00:00:00+00:00", commit="f" * 40, dirty=False)
        steady = judge(5, 4, 6, "refuted", claim="C11", session=session)
        return [steady, judge(value, value - 1, value + 1, ruling, session=session)]

    runs = [run(1, 50, "refuted"), run(2, 150, "supported")]
    trends = arrange_trends(arrange_claims(runs[1]), [gather_run(records) for records in runs])
    assert [(trend.claim.record.claim, trend.changed) for trend in trends] == [("C16", True), ("C11", False)]
    first, last = trends[0].points
    assert (first.words, first.verdict.word, last.words, last.verdict.word) == ("50", "refuted", "150", "supported")
    assert first.x < last.x
    assert first.y > last.y, "a larger value stands higher"
    assert arrange_trends(arrange_claims(runs[1]), []) == ()
    odd = [run(1, math.nan, "inconclusive"), run(2, 150, "supported"), run(3, 160, "supported")]
    drawn = arrange_trends(arrange_claims(odd[2]), [gather_run(records) for records in odd])
    (found,) = [trend for trend in drawn if trend.claim.record.claim == "C16"]
    assert [point.words for point in found.points] == ["150", "160"], "what is no number has no place"


def test_no_axis_of_shares_goes_beyond_none_and_all() -> None:
    sure = replace(judge(1, 1, 1, "supported").criteria[0], region_low=0.9, region_high=math.inf, figure=None)
    axis = fit_axis([sure])
    assert axis is not None
    assert axis.high == 1
    picture = arrange_interval([sure], axis, "supported")
    assert picture is not None
    (region,) = picture.regions
    assert region.left + region.width == picture.value, "the region ends where the share does"
    ratio = replace(sure, value=1.0, low=0.9, high=1.2, region_low=0.9)
    wide = fit_axis([ratio])
    assert wide is not None
    assert wide.place(math.inf) == 100
