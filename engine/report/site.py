"""The report as a small site: an index, a page for each claim, and pages that explain and compare. Pure.

Equal records give equal bytes, in whatever order they come. Each page opens offline and is complete without a script.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from engine.records import CriterionRecord, Record
from engine.report.charts.vega import DrawingError, VegaRenderer, read_bundle
from engine.report.export import export_estimates
from engine.report.findings import list_findings
from engine.report.history import Run
from engine.report.intervals import Axis, IntervalView, arrange_interval
from engine.report.models import arrange_models
from engine.report.overview import (
    RollUp,
    arrange_claims_table,
    count_conditions,
    count_outcomes,
    count_registrations,
    count_verdicts,
    find_changes,
    gather_facts,
    group_skipped,
    group_unregistered,
    list_figures,
    list_filters,
    roll_up,
)
from engine.report.pairs import arrange_pairs
from engine.report.standing import Standing
from engine.report.templates import load_template, read_data
from engine.report.trends import arrange_trends
from engine.report.views import ClaimView, ItemView, arrange_claims
from engine.report.words import OUTCOMES, find_symbol
from engine.sheets import write_csv

INDEX = "index.html"
BUNDLE = "assets/charts.js"
BADGE = "assets/badge.svg"
FOLDERS = ("claims", "data", "assets")
"""Where the site's files lie beside its first pages."""

GENERATOR = '<meta name="generator" content="LM Claims">'
"""What marks a page as one of ours, so that a later report may replace or remove it."""

INDEX_BYTES, CLAIM_BYTES, SINGLE_BYTES = 150_000, 250_000, 3_000_000
"""What the index, a claim's page and a single file may weigh. In the last two, tables behind the numbers are cut until
they fit."""

ROWS = (100, 40, 12, 4, 0)
"""Rows of a table that a page shows, the most that fit."""

PAGES = {
    INDEX: "Results",
    "models.html": "Models",
    "compare.html": "Compare",
    "trends.html": "Trends",
    "how.html": "How we decide",
    "data.html": "Data",
}
"""The pages in the bar on top, with their names."""

IN_ONE_FILE = {INDEX: "top", "models.html": "models", "how.html": "how", "data.html": "data"}
"""Where the pages stand in a single file; it has none that compare."""

Kind = Literal["site", "single"]


@dataclass(frozen=True, kw_only=True)
class Links:
    """Where things are, seen from one page.

    kind: whether claims have pages of their own or stand in one file. here: the page's own path in the site.
    """

    kind: Kind
    here: str = INDEX

    @property
    def root(self) -> str:
        return "../" * (len(PurePosixPath(self.here).parts) - 1)

    def page(self, name: str) -> str:
        return self.root + name if self.kind == "site" else f"#{IN_ONE_FILE[name]}"

    def claim(self, view: ClaimView) -> str:
        return f"#{view.anchor}" if self.kind == "single" else f"{self.root}{claim_path(view)}"

    def item(self, view: ClaimView, item: ItemView) -> str:
        here = self.kind == "single" or self.here == claim_path(view)
        return f"#{item.anchor}" if here else f"{self.root}{claim_path(view)}#{item.anchor}"


def claim_path(view: ClaimView) -> str:
    """The path of a claim's page in the site."""
    return f"claims/{view.anchor}.html"


def data_path(view: ClaimView) -> str:
    """The path of a claim's estimates, as CSV."""
    return f"data/{view.anchor}.csv"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the pages show, arranged once.

    bundle: the script that makes charts interactive; '' where no chart is, or it could not be made.
    """

    title: str
    rendered_at: str
    records: tuple[Record, ...]
    previous: tuple[Record, ...]
    history: tuple[Run, ...]
    claims: tuple[ClaimView, ...]
    bundle: str
    beside: tuple[tuple[str, str], ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


def arrange_report(
    records: Sequence[Record],
    *,
    title: str,
    rendered_at: str,
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
    beside: Sequence[tuple[str, str]] = (),
) -> Report:
    """Arrange the records for the pages, and draw their charts.

    rendered_at: the date to print; no clock is read. previous: the run before, to compare with. history: the kept
    runs, whose estimates are drawn over time. beside: pages that lie in the report's folder, with words for a link.
    """
    drawn = {(r.claim, t.kind) for r in records for t in r.tables if t.kind}
    with VegaRenderer(len(drawn)) as renderer:
        wait = read_bundle(renderer.submit) if drawn or history else None
        claims = arrange_claims(records, previous, history, renderer.submit)
        for claim in claims:
            for chart in claim.charts:
                _ = chart.svg  # while its renderer lives
        bundle = ""
        if wait is not None and any(claim.charts for claim in claims):
            with suppress(DrawingError):  # the charts stay static
                bundle = wait()
    items = [item for claim in claims for item in claim.items]
    values = {
        "items": len(records),
        "verdicts": count_verdicts(claims),
        "rolled": roll_up(claims),
        "findings": list_findings(claims),
        "figures": list_figures(claims),
        "conditions": {claim.record.claim: count_conditions(claim) for claim in claims},
        "outcomes": count_outcomes(records),
        "outcome_words": OUTCOMES,
        "registrations": count_registrations(records),
        "unregistered": group_unregistered(claims),
        "facts": gather_facts(records),
        "table": arrange_claims_table(claims),
        "filters": list_filters(claims),
        "drifts": [item for item in items if item.record.outcome == "drift"],
        "errors": [item for item in items if item.record.outcome == "error"],
        "changes": find_changes(claims, previous),
        "skipped": group_skipped(claims),
        "legend": arrange_legend(),
        "owners": {item.anchor: claim for claim in claims for item in claim.items},
    }
    return Report(
        title=title,
        rendered_at=rendered_at,
        records=tuple(records),
        previous=tuple(previous),
        history=tuple(history),
        claims=claims,
        bundle=bundle,
        beside=tuple(beside),
        values=values,
    )


def render_site(report: Report) -> dict[str, bytes]:
    """All files of the site but records.jsonl, by their paths; the index comes last."""

    def has_live(claim: ClaimView) -> bool:
        return bool(report.bundle) and any(chart.spec for chart in claim.charts)

    files: dict[str, bytes] = {}
    if report.bundle:
        files[BUNDLE] = report.bundle.encode()
    files["data/estimates.csv"] = write_csv(export_estimates(report.records))
    for place, claim in enumerate(report.claims):
        own = [item.record for item in claim.items]
        files[data_path(claim)] = write_csv(export_estimates(own))
        around = {
            "before": report.claims[place - 1] if place else None,
            "after": report.claims[place + 1] if place + 1 < len(report.claims) else None,
        }
        path = claim_path(claim)
        files[path] = _fit(
            CLAIM_BYTES,
            lambda rows, claim=claim, path=path, around=around: _render(
                "claim.html.j2", report, path, claim=claim, rows_shown=rows, live=has_live(claim), **around
            ),
        )
    files["models.html"] = _render("models.html.j2", report, "models.html", models=arrange_models(report.claims))
    files["compare.html"] = _render(
        "compare.html.j2", report, "compare.html", pairs=arrange_pairs(report.claims, report.previous)
    )
    files["trends.html"] = _render(
        "trends.html.j2", report, "trends.html", trends=arrange_trends(report.claims, report.history)
    )
    files["how.html"] = _render("how.html.j2", report, "how.html")
    files["data.html"] = _render("data.html.j2", report, "data.html")
    files[BADGE] = render_badge(report).encode()
    files[INDEX] = _render("index.html.j2", report, INDEX)
    return files


def render_single(report: Report) -> str:
    """The whole report in one file, for mail and artefacts: charts stay still, and tables of raw numbers are left out.

    Of films and charts it has the first ones of each claim, as far as they fit.
    """
    return _fit(
        SINGLE_BYTES,
        lambda rows: load_template("index.html.j2").render(
            _values(report, Links(kind="single"))
            | {"claims": report.claims, "rows_shown": min(rows, 4), "models": arrange_models(report.claims)}
        ),
    ).decode()


def render_badge(report: Report) -> str:
    """The counts of the document's claims as one line of a picture, for a README: '6 hold, 17 do not'."""
    rolled: RollUp | None = report.values["rolled"]
    counts = {group.claims[0][1].standing: len(group.claims) for group in rolled.groups} if rolled is not None else {}
    tested = sum(number for standing, number in counts.items() if standing is not Standing.UNTESTED)
    words = f"{counts.get(Standing.HOLDS, 0)} of {tested} tested claims hold"
    label = "LM Claims"
    # Widths are those of 11-pixel Verdana, about. The picture states them, so that every font fits.
    label_width, words_width = (round(6.6 * len(text)) + 12 for text in (label, words))
    return load_template("badge.svg.j2").render(
        label=label, words=words, label_width=label_width, width=label_width + words_width
    )


def _fit(most: int, render: Callable[[int], str | bytes]) -> bytes:
    """The page with as many rows of its tables as keep it within so many bytes."""
    page = b""
    for rows in ROWS:
        text = render(rows)
        page = text if isinstance(text, bytes) else text.encode()
        if len(page) <= most:
            break
    return page


def _render(template: str, report: Report, here: str, **own: Any) -> bytes:
    values = _values(report, Links(kind="site", here=here)) | {"claims": report.claims} | own
    return load_template(template).render(values).encode()


def _values(report: Report, links: Links) -> dict[str, Any]:
    """What every page needs."""
    scripts = [read_data("page.js")]
    has_films = links.kind == "single" or links.here.startswith("claims/")
    # The page's policy names its scripts by their hash, so that no other one runs. Source: CSP 3.
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    return {
        **report.values,
        "title": report.title,
        "rendered_at": report.rendered_at,
        "style": read_data("style.css") + (read_data("film.css") if has_films else ""),
        "scripts": tuple(scripts),
        "script_sources": " ".join(f"'sha256-{digest}'" for digest in hashes),
        "links": links,
        "pages": PAGES if links.kind == "site" else {name: PAGES[name] for name in IN_ONE_FILE},
        "bundle": links.root + BUNDLE if report.bundle and links.kind == "site" else "",
        "beside": report.beside,
        "generator": GENERATOR,
        "data_path": data_path,
        "live": False,
    }


def arrange_legend() -> list[tuple[str, IntervalView | None]]:
    """The three ways in which an interval can lie, drawn as the report draws them."""
    legend: list[tuple[str, IntervalView | None]] = []
    for word, low, value, high in (
        ("supported", 6.0, 8.0, 10.0),
        ("refuted", 0.5, 1.2, 2.4),
        ("inconclusive", 2.6, 4.0, 6.2),
    ):
        example = CriterionRecord(
            text="example > 4.4",
            role="only",
            because="",
            estimate="example",
            region_low=4.4,
            region_high=float("inf"),
            value=value,
            low=low,
            high=high,
            n=None,
            counts="",
            method="",
            ruling=word,
            sentence="",
        )
        legend.append((word, arrange_interval([example], Axis(low=0.0, high=10.0), find_symbol(word).css_class)))
    return legend
