"""The report: what a record says is on the page, nothing in it acts, and equal records give equal bytes."""

from __future__ import annotations

import json
import os
import posixpath
import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from engine.records import SENSITIVITY, Record, Registration, Table, read_records
from engine.report import render, write_report
from engine.report.render import ABANDONED_S, STAGED
from engine.report.site import CLAIM_BYTES, arrange_report, render_site
from engine.report.words import write_registration
from engine.tests.report_pages import RENDERED_AT, Page, read_site, show_single, show_site
from engine.tests.report_samples import AMENDED, REGISTERED, make_criterion, make_record, make_records
from engine.tests.report_worlds import make_illustrated_records
from engine.text import format_interval


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


def test_equal_records_give_equal_bytes_in_any_order(records: list[Record]) -> None:
    shuffled = [replace(r, settings=dict(reversed(r.settings.items()))) for r in reversed(make_records())]
    assert show_single(shuffled) == show_single(records)
    assert show_site(shuffled) == show_site(records)


def test_records_survive_their_file(records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path, rendered_at=RENDERED_AT)
    again = arrange_report(read_records(tmp_path / "records.jsonl"), title="LM Claims", rendered_at=RENDERED_AT)
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    del files["records.jsonl"]
    assert files == render_site(again)


def test_the_page_of_a_claim_that_is_gone_is_removed_and_no_other_file(records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path, rendered_at=RENDERED_AT)
    (tmp_path / "claims" / "mine.html").write_text("<p>Somebody's own.</p>")
    write_report([r for r in records if r.claim != "C16"], tmp_path, rendered_at=RENDERED_AT)
    left = {path.name for path in (tmp_path / "claims").iterdir()}
    assert left == {f"{r.claim}.html" for r in records if r.claim != "C16"} | {"mine.html"}
    assert not (tmp_path / "data" / "C16.csv").exists()


def test_what_is_not_ours_beside_the_pages_is_left_alone(records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path, rendered_at=RENDERED_AT)
    (tmp_path / "claims" / "folder.html").mkdir()
    os.mkfifo(tmp_path / "claims" / "pipe.html")
    write_report(records[:1], tmp_path, rendered_at=RENDERED_AT)
    left = {path.name for path in (tmp_path / "claims").iterdir()}
    assert left == {f"{records[0].claim}.html", "folder.html", "pipe.html"}
    assert not list(tmp_path.glob(".pages-*"))


def test_pages_that_a_killed_session_left_are_removed_once_nobody_can_be_writing_them(
    records: list[Record], tmp_path: Path
) -> None:
    for name, age in (("old", 2 * ABANDONED_S), ("new", 0)):
        (left := tmp_path / f"{STAGED}{name}").mkdir()
        (left / "index.html").write_text("cut")
        os.utime(left, (time.time() - age,) * 2)
    write_report(records[:1], tmp_path, rendered_at=RENDERED_AT)
    assert [path.name for path in tmp_path.glob(f"{STAGED}*")] == [f"{STAGED}new"]


def test_a_claim_named_like_a_file_of_the_run_has_another(records: list[Record], tmp_path: Path) -> None:
    named = [replace(records[0], claim="estimates"), *records[1:]]
    write_report(named, tmp_path, rendered_at=RENDERED_AT)
    write_report(records, tmp_path, rendered_at=RENDERED_AT)
    assert (tmp_path / "data" / "estimates.csv").read_bytes().count(b"\n") > len(records)


def test_the_caveat_says_whether_the_documents_model_was_measured(records: list[Record]) -> None:
    one, two = (replace(records[0], claim=claim, subject=model) for claim, model in (("C01", "gpt2"), ("C02", "m")))
    assert "which was not measured here" in read_site([two])
    both = read_site([one, two])
    assert "which was not measured here" not in both
    assert "Not every claim was measured on the document's own model." in both


def test_names_that_differ_in_case_alone_have_files_of_their_own(records: list[Record]) -> None:
    pages = show_site([replace(records[0], claim=name) for name in ("c16", "C16")])
    claims = [path.casefold() for path in pages if path.startswith("claims/")]
    assert len(set(claims)) == len(claims) == 2


@pytest.mark.parametrize("count", [0, 1, 5, 16], ids=lambda n: f"{n} items")
def test_every_link_has_its_target_and_every_id_is_given_once(records: list[Record], count: int) -> None:
    report = arrange_report(records[:count], title="LM Claims", rendered_at=RENDERED_AT, previous=records)
    files = render_site(report)
    pages = {path: Page(content.decode()) for path, content in files.items() if path.endswith(".html")}
    pages["single.html"] = Page(show_single(records[:count], previous=records))
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            if link.startswith("https://"):
                continue
            name, _, place = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
            assert target in {*files, *pages, "records.jsonl"}, (path, link)
            if place:
                assert place in pages[target].ids, (path, link)


def test_claims_whose_ids_differ_only_in_punctuation_get_targets_of_their_own(records: list[Record]) -> None:
    spelt = [replace(records[0], claim=c) for c in ("a b", "a/b", "a_b", "é", "☃", "", "..", "../x")]
    page = Page(show_single(spelt))
    assert len(page.ids) == len(set(page.ids))
    pages = [path for path in show_site(spelt) if path.startswith("claims/")]
    assert len(pages) == len(spelt)
    assert not any(".." in path or path.count("/") > 1 for path in pages)


def test_no_page_asks_for_anything_from_outside(records: list[Record]) -> None:
    # The document is named with a link, which a reader may follow.
    document = "https://github.com/blbadger/blbadger.github.io"
    for path, html in {**show_site(records), "single": show_single(records)}.items():
        bare = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).replace(f'href="{document}"', "")
        assert not re.search(r"url\(|@import|<link|<img|<iframe|srcset|\bon\w+=|https?://", bare), path
        assert "default-src 'none'" in html


def test_only_the_pages_own_scripts_may_run(records: list[Record]) -> None:
    drawn = make_illustrated_records()
    for path, html in {**show_site(drawn), "single": show_single(drawn)}.items():
        policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
        assert policy is not None
        allowed = set(re.findall(r"'sha256-([^']+)'", policy.group(1)))
        running = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
        assert {b64encode(sha256(script.encode()).digest()).decode() for script in running} == allowed
        assert "unsafe-eval" not in policy.group(1)
        bundle = ' src="../assets/charts.js"'
        assert ("'self'" in policy.group(1)) == (f"<script{bundle}>" in html)
        assert set(re.findall(r"<script([^>]*)>", html)) <= {"", ' type="application/json"', bundle}, path


def test_the_numbers_of_a_record_are_readable_as_text() -> None:
    criterion = make_criterion(
        "gap > 2", ("gap", 0.123456, -7.5, 31337.0), "inconclusive", n=419, method="bootstrap 9999"
    )
    record = make_record("C16", "gpt2", "page", "inconclusive", "inconclusive", criteria=(criterion,), cost_s=192.4)
    text = read_site([record])
    for number in (
        "0.1235",
        "-7.5",
        "31337",
        "419 prompts",
        "bootstrap 9999",
        "192.4 s (3.2 min)",
        "1000",
        "2 threads",
    ):
        assert number in text


def test_every_text_of_a_record_is_on_a_page(records: list[Record]) -> None:
    text = read_site(records)
    for r in records:
        words = [
            r.claim,
            r.section,
            r.statement,
            r.estimand,
            r.document,
            *r.notes,
            r.subject,
            r.tier,
            r.sentence,
        ]
        words += [
            r.command,
            *r.settings,
            *r.settings.values(),
            *r.sources.values(),
            *(arm[:12] for arm in r.arms),
            r.subject_note,
        ]
        words += [w for c in r.criteria for w in (c.text, c.because, c.method, c.estimate)]
        words += [w for t in r.tables for w in (t.title, t.note, *t.columns)]
        words += [str(c) for t in r.tables for row in t.rows for c in row if isinstance(c, str | int)]
        words += [r.on_record.date, r.on_record.reason] if r.on_record else []
        words += [write_registration(r.registration)] if r.registration else []
        assert [w for w in words if " ".join(w.split()) not in text] == []


@pytest.mark.parametrize(
    "words",
    [
        "4 ✓ supported, 1 ◐ partly supported, 4 ✗ refuted, 1 ? inconclusive, 1 ○ not run at this effort, 4 – skipped, "
        "1 ! error",
        "4 passed, 3 as on record (xfailed)",
        "Contrary to the record: C16 on smollm2-135m · controlled is now refuted; "
        "it was partly supported on 2026-01-20.",
        "The suite failed, not the claim: C25 on fcnet · controlled",
        "3f9ac1d27be0, dirty: with uncommitted changes",
        "x86_64, 2 cores, 8 GB (cpu)",
        "A refuted claim is a finding, not a failure",
        "needs a GPU with 8 GB",
        "A pilot was looked at before",
        "registered 2026-01-15, commit 515151515151",
        "13 registered, 1 amended, 2 exploratory",
        "Amended since they were registered: C06. Exploratory, not as registered: C25.",
    ],
    ids=[
        *("verdicts", "outcomes", "drift", "error", "commit", "machine", "how to read", "skipped", "pilot"),
        *("registered", "registrations", "not registered"),
    ],
)
def test_the_site_says(records: list[Record], words: str) -> None:
    assert words in read_site(records)


def test_a_clean_commit_is_not_called_dirty(records: list[Record]) -> None:
    origin = records[0].provenance
    assert origin is not None
    assert "dirty" not in read_site([replace(records[0], provenance=replace(origin, dirty=False))])


def test_records_that_are_older_than_registrations_say_nothing_of_them(records: list[Record]) -> None:
    text = read_site([replace(record, registration=None) for record in records])
    assert "Registration" not in text
    assert "Exploratory" not in text


def test_a_claim_whose_items_differ_says_of_how_many_each_is_so(records: list[Record]) -> None:
    three = [replace(records[0], subject=f"s{k}", registration=r) for k, r in enumerate((REGISTERED, AMENDED, AMENDED))]
    text = read_site(three)
    assert "registered 2026-01-15, commit 515151515151 (1 item)" in text
    assert f"amended: {AMENDED.why} (2 items)" in text


def test_a_claim_that_was_measured_says_nothing_of_items_that_wait(records: list[Record]) -> None:
    (waiting,) = [r for r in records if r.claim == "C28" and r.protocol == "page"]
    measured = replace(waiting, subject="s", arms=("a",), outcome="passed", registration=AMENDED)
    sentence = "registered 2026-01-15, commit 515151515151"
    assert sentence in read_site([waiting])
    assert sentence not in read_site([waiting, measured])


def test_few_models_have_columns_and_of_many_verdicts_are_counted(records: list[Record]) -> None:
    few = show_site(records[:5])["index.html"]
    assert '<th scope="col">smollm2-135m</th>' in few
    assert "Tests by verdict" not in few
    many = [replace(records[0], subject=f"local:model-{k}") for k in range(13)]
    index = show_site(many)["index.html"]
    assert "local:model-3" not in index.partition('id="matrix"')[2]
    assert "✗ 13" in Page(index).text


def test_a_record_can_be_found_by_the_line_that_its_page_names(records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path, rendered_at="now")
    stored = read_records(tmp_path / "records.jsonl")
    found = [
        pair
        for page in (tmp_path / "claims").iterdir()
        for pair in re.findall(
            r'<section class="item" id="([^"]+)".*?line (\d+) of records.jsonl', page.read_text(), flags=re.DOTALL
        )
    ]
    assert len(found) > 5
    for name, line in found:
        record = stored[int(line) - 1]
        assert name == f"{record.claim}_{record.subject}_{record.protocol}"


def test_changes_since_the_previous_run_are_named(records: list[Record]) -> None:
    first, second, third = records[:3]
    amended = replace(second, criteria=(replace(second.criteria[0], text="share recovered ≥ 0.9"),))
    text = read_site([first, second], previous=[replace(first, ruling="supported"), amended, third])
    assert "smollm2-135m · direct: was supported, now ✗ refuted" in text
    assert "still ✓ supported; its criteria were amended" in text
    assert "1 not in this run" in text


def test_a_claim_of_very_many_items_has_a_line_for_each_with_all_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.report.views.MANY_ITEMS", 1)
    (one,) = [r for r in make_records() if r.claim == "C06"]
    records = [replace(one, subject=f"s{k}") for k in range(3)]
    html = show_site(records)["claims/C06.html"]
    assert len(re.findall(r'<tr class="item" id=', html)) == len(records) > 1
    text = Page(html).text
    for c in (c for r in records for c in r.criteria if c.value is not None):
        assert f"{c.estimate} {format_interval(c.value, c.low, c.high)}" in text


def test_lists_of_changes_end_somewhere_and_say_how_many_more_there_are(records: list[Record]) -> None:
    text = read_site([replace(records[0], subject=f"s{k}") for k in range(203)], previous=records[:1])
    assert "203 new" in text
    assert "and 3 more" in text


HOSTILE = (
    '</title></style></code><script>alert(1)</script><img src=x onerror="go()">'
    "'\"&lt;\u202e\x1b[2J\x00\u2066\u2028\ud800"
)


def make_hostile(text: str) -> Record:
    sample = make_records()[0]
    criterion = replace(
        sample.criteria[0],
        text=text,
        because=text,
        estimate=text,
        counts=text,
        method=text,
        ruling=text,
        role=text,
    )
    table = replace(sample.tables[0], title=text, columns=(text,), rows=((text,),) * 9, note=text)
    assert sample.provenance is not None
    assert sample.on_record is not None
    words = dict.fromkeys(
        (
            "claim",
            "section",
            "statement",
            "estimand",
            "document",
            "subject",
            "subject_note",
            "tier",
            "protocol",
            "effort",
        ),
        text,
    ) | dict.fromkeys(("sentence", "command", "outcome", "ruling"), text)
    return replace(
        sample,
        **words,
        notes=(text,),
        criteria=(criterion,),
        tables=(table,),
        arms=(text,),
        settings={text: text},
        sources={text: text},
        on_record=replace(sample.on_record, ruling=text, date=text, reason=text),
        registration=Registration(status=text, date=text, commit=text, why=text),
        provenance=replace(
            sample.provenance,
            commit=text,
            versions={text: text},
            device=text,
            machine=text,
            dtype=text,
            measured_at=text,
        ),
    )


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("outcome", [None, "error", "skipped", "drift", "finding", "xfailed"])
def test_hostile_text_is_shown_and_does_not_act(outcome: str | None) -> None:
    record = make_hostile(HOSTILE)
    if outcome:
        record = replace(record, outcome=outcome)
    html = render([record], title=HOSTILE, rendered_at=HOSTILE, previous=[replace(record, subject=HOSTILE * 2)])
    page = Page(html)
    assert not page.tags & {"img", "iframe", "object", "embed"}
    assert not any("alert(1)" in script for script in page.scripts if not is_json(script))
    assert not {a for a in page.attributes if a.startswith("on")}
    html = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)  # our own, which has escapes of its own
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", html)
    for escape in ("\\u202e", "\\u001b", "\\u0000", "\\u2066", "\\u2028", "\\ud800"):
        assert escape in page.text
    assert html.encode().decode() == html


def test_long_text_is_cut_and_its_length_is_stated() -> None:
    html = render([make_hostile("x" * 100_000)], title="y" * 100_000, rendered_at="z")
    assert len(html) < 200_000
    assert "100000 characters in all" in Page(html).text


def test_what_other_choices_make_of_a_verdict_is_drawn_and_not_among_the_raw_numbers(records: list[Record]) -> None:
    name = records[0].criteria[0].estimate
    variants = Table(
        title="Sensitivity: one choice made otherwise at a time",
        columns=("factor", "choice", "estimates", "verdict", "beside the declared experiment"),
        rows=(
            ("start", "N(0, 1)", f"{name} = 0.5 [0.25, −∞] (n = 12 prompts); other = 3", "refuted", "as declared"),
            ("σ", "1/25", f"{name} = 1 [0.999, 1] (n = 12 prompts)", "supported", "flips"),
        ),
        note="As declared it is refuted.",
        kind=SENSITIVITY,
    )
    page = show_site([replace(records[0], tables=(variants,))])["claims/C01.html"]
    assert "<td>N(0, 1)</td>" in page
    text = Page(page).text
    assert "As declared it is refuted." in text
    assert "Does one choice decide it? Yes: 1 of 2 other set-ups comes to another verdict." in text
    rows = re.findall(r'<div class="row(?: declared)?"><span class="label">(.*?)</span>', page)
    assert [re.sub("<.*?>", "", row) for row in rows][-3:] == ["start: N(0, 1)", "as declared", "σ: 1/25"]
    assert "Raw numbers" not in page


def test_a_claims_page_keeps_to_its_size_by_leaving_out_rows(records: list[Record]) -> None:
    table = Table(title="Long", columns=("a", "b"), rows=tuple(("word" * 20, "x" * 90) for _ in range(40)))
    heavy = [replace(records[0], subject=f"s{k}", tables=(table,) * 3) for k in range(20)]
    page = show_site(heavy)["claims/C01.html"]
    assert 0.3 * CLAIM_BYTES < len(page.encode()) <= CLAIM_BYTES
    assert "records.jsonl" in page
    assert Page(show_site([heavy[0]])["claims/C01.html"]).text.count("word" * 20) == 3 * 40
