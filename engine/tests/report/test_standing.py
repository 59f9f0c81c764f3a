"""One standing a claim over its rows, by the rules that were fixed before: every rule, and what a standing turns on."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree

import pytest

from engine.records import CriterionRecord, Record
from engine.report.charts.vega import render_inline
from engine.report.overview import RollUp, list_figures, roll_up
from engine.report.site import arrange_report, render_badge, render_site
from engine.report.standing import Standing, find_standing, find_standings
from engine.report.views import arrange_claims

SUPPORTED, PARTLY, REFUTED, OPEN = "supported", "partly supported", "refuted", "inconclusive"
NOT_RUN, NOT_TESTED = "not run at this effort", "not tested on this model"


def make_row(subject: str, protocol: str, ruling: str | None, *, claim: str = "C90", alike: bool = False) -> Record:
    return Record(
        claim=claim,
        section="none",
        statement="A statement.",
        estimand="a number",
        document="nothing",
        notes=(),
        pilot_seen=False,
        subject=subject,
        subject_note="",
        tier="cpu",
        protocol=protocol,
        effort="standard",
        outcome="skipped" if ruling is None else "passed",
        ruling=ruling,
        sentence="",
        command="",
        counts_untrained=alike,
    )


def stand(*rulings: str | None) -> Standing:
    """The standing of a claim with these rulings, a model each."""
    return find_standing([make_row(f"model{k}", "page", ruling) for k, ruling in enumerate(rulings)]).standing


@pytest.mark.parametrize(
    ("rulings", "standing"),
    [
        ((SUPPORTED,), Standing.HOLDS),
        ((SUPPORTED, SUPPORTED, OPEN, None), Standing.HOLDS),
        ((SUPPORTED, PARTLY), Standing.IN_PART),
        ((PARTLY, OPEN), Standing.IN_PART),
        ((REFUTED, REFUTED, NOT_RUN), Standing.DOES_NOT_HOLD),
        ((SUPPORTED, REFUTED), Standing.DEPENDS),
        ((PARTLY, REFUTED), Standing.DEPENDS),
        ((SUPPORTED, PARTLY, REFUTED), Standing.DEPENDS),
        ((OPEN, OPEN, NOT_RUN), Standing.OPEN),
        ((NOT_RUN, None), Standing.UNTESTED),
        ((NOT_TESTED, None), Standing.UNTESTED),
        ((None,), Standing.UNTESTED),
    ],
)
def test_the_rules(rulings: tuple[str | None, ...], standing: Standing) -> None:
    assert stand(*rulings) is standing


@pytest.mark.parametrize("rulings", list(product([SUPPORTED, PARTLY, REFUTED, OPEN, NOT_RUN, None], repeat=3)))
def test_the_order_of_rows_decides_nothing_and_undecided_rows_change_no_standing(
    rulings: tuple[str | None, ...],
) -> None:
    assert stand(*rulings) is stand(*reversed(rulings))
    if stand(*rulings) not in (Standing.OPEN, Standing.UNTESTED):
        assert stand(*rulings, OPEN, NOT_RUN, None) is stand(*rulings)


def test_untrained_rows_are_controls_of_a_claim_about_trained_models() -> None:
    rows = [make_row("smollm2-135m", "page", REFUTED), make_row("smollm2-135m-untrained", "page", SUPPORTED)]
    assert find_standing(rows).standing is Standing.DOES_NOT_HOLD
    skipped = [make_row("gpt2", "page", None), make_row("gpt2-untrained:3", "page", SUPPORTED)]
    assert find_standing(skipped).standing is Standing.UNTESTED
    alike = [make_row(row.subject, row.protocol, row.ruling, alike=True) for row in rows]
    assert find_standing(alike).standing is Standing.DEPENDS
    untrained_alone = [make_row("gpt2-untrained", "page", SUPPORTED)]
    found = find_standing(untrained_alone)
    assert (found.standing, found.on_own_model) == (Standing.HOLDS, True)


@pytest.mark.parametrize(
    ("rows", "turns_on"),
    [
        ((("a", "page", REFUTED), ("a", "controlled", SUPPORTED)), ("protocol",)),
        ((("a", "page", REFUTED), ("b", "page", SUPPORTED)), ("model",)),
        (
            (("a", "page", REFUTED), ("a", "controlled", SUPPORTED), ("b", "page", SUPPORTED)),
            ("protocol", "model"),
        ),
        ((("a", "page", REFUTED), ("b", "controlled", SUPPORTED)), ("protocol", "model")),
        ((("a", "page", SUPPORTED), ("b", "page", PARTLY)), ()),
    ],
)
def test_what_a_standing_turns_on(rows: tuple[tuple[str, str, str], ...], turns_on: tuple[str, ...]) -> None:
    assert find_standing([make_row(*row) for row in rows]).turns_on == turns_on


def test_the_documents_own_models_come_first() -> None:
    standing = find_standing([make_row("m", "page", SUPPORTED), make_row("gpt2", "page", SUPPORTED)])
    assert [record.subject for record in standing.decided] == ["gpt2", "m"]


def test_every_claim_has_one_and_ours_are_told_apart() -> None:
    rows = [make_row("m", "page", ruling, claim=claim) for claim in ("C90", "A90") for ruling in (SUPPORTED, OPEN)]
    found = find_standings(rows)
    assert [(one.claim, one.standing, one.ours) for one in found] == [
        ("C90", Standing.HOLDS, False),
        ("A90", Standing.HOLDS, True),
    ]


def roll(*rows: Record) -> RollUp:
    found = roll_up(arrange_claims(rows, (), (), render_inline))
    assert found is not None
    return found


def test_a_run_is_counted_in_claims_and_ours_are_in_no_count() -> None:
    rows = [
        make_row("m", protocol, ruling, claim=claim)
        for claim, rulings in (
            ("C90", (SUPPORTED, SUPPORTED)),
            ("C91", (SUPPORTED, REFUTED)),
            ("C92", (REFUTED, OPEN)),
            ("C93", (REFUTED, None)),
            ("A90", (SUPPORTED, SUPPORTED)),
        )
        for protocol, ruling in zip(("page", "controlled"), rulings, strict=True)
    ]
    found = roll(*rows)
    assert found.sentence == "Of 4 claims, 1 holds, 1 depends on model or protocol and 2 do not hold."
    assert found.caveat.endswith("The trained models that were: m.")
    assert [(group.symbol.word, len(group.claims)) for group in found.groups] == [
        ("holds", 1),
        ("depends on model or protocol", 1),
        ("does not hold", 2),
    ]
    assert [claim.record.claim for group in found.ours for claim, _ in group.claims] == ["A90"]


@pytest.mark.parametrize(
    ("rulings", "words"),
    [
        ((SUPPORTED, REFUTED, OPEN, NOT_RUN), "1 of 3 tested claims hold"),
        ((REFUTED,), "0 of 1 tested claims hold"),
        ((), "0 of 0 tested claims hold"),
    ],
)
def test_the_badge_counts_what_was_tested(rulings: tuple[str, ...], words: str) -> None:
    own = [make_row("model", "page", SUPPORTED, claim="A90")]
    rows = own + [make_row("model", "page", ruling, claim=f"C9{k}") for k, ruling in enumerate(rulings)]
    badge = render_badge(arrange_report(rows, title="", rendered_at=""))
    root = ElementTree.fromstring(badge)  # noqa: S314 (it was made here)
    assert root.get("aria-label") == f"LM Claims: {words}"
    assert int(root.get("width", "0")) < 300


def test_where_trained_gpt2_was_measured_there_is_no_caveat() -> None:
    assert roll(make_row("gpt2", "page", SUPPORTED)).caveat == ""
    assert roll(make_row("gpt2-untrained", "page", SUPPORTED)).caveat == ""
    assert roll(make_row("gpt2", "page", None)).caveat == ""  # nothing was measured at all
    assert roll(make_row("gpt2", "page", None), make_row("m", "page", SUPPORTED)).caveat != ""


def test_ours_alone_make_no_sentence() -> None:
    assert roll(make_row("m", "page", SUPPORTED, claim="A90")).sentence == ""


def make_figure(subject: str, protocol: str, value: float | None, *, figure: float | None = 100.0) -> Record:
    criterion = CriterionRecord(
        text="ratio > 100",
        role="only",
        because="",
        estimate="ratio",
        region_low=100.0,
        region_high=math.inf,
        value=value,
        low=None if value is None else value / 2,
        high=None if value is None else value * 2,
        n=12,
        counts="pairs",
        method="",
        ruling=REFUTED,
        sentence="",
        figure=figure,
    )
    return replace(make_row(subject, protocol, REFUTED), criteria=(criterion,))


def test_what_the_document_says_stands_beside_what_was_measured_on_one_axis() -> None:
    rows = [
        make_figure("m", "page", 2.0),
        make_figure("m", "controlled", 40.0),
        make_figure("m-untrained", "page", 7.0),  # a control
        make_figure("m", "direct", None),  # not run
        replace(make_figure("n", "page", 3.0, figure=None), claim="C91"),
    ]
    ((claim, name, drawn),) = list_figures(arrange_claims(rows, (), (), render_inline))
    assert (claim.record.claim, name) == ("C90", "ratio")
    assert [(row.item.record.protocol, row.criterion.value) for row in drawn] == [("controlled", 40.0), ("page", 2.0)]
    # The figure lies at one place in both pictures, and the values do not.
    assert len({row.picture.figure for row in drawn}) == 1
    assert drawn[0].picture.value != drawn[1].picture.value
    assert "the document's figure is 100" in drawn[0].picture.words


def test_a_figure_whose_claim_has_further_conditions_says_what_all_of_them_come_to() -> None:
    fits = make_figure("m", "page", 120.0)
    other = replace(fits.criteria[0], estimate="other", figure=None, ruling=REFUTED)
    several = replace(fits, criteria=(*fits.criteria, other), ruling=REFUTED)
    words = "One of 2 conditions; all in all the claim"
    for row, said in ((fits, False), (several, True)):
        page = render_site(arrange_report([row], title="", rendered_at=""))["index.html"].decode()
        assert (words in page) == said
    assert "does not hold" in page[page.index(words) :][:120]
