"""The report: what a record says is on the page, nothing in it acts, and equal records give equal bytes."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.records import SENSITIVITY, Record, Registration, Table, read_records
from engine.report import render, write_report
from engine.report.words import write_registration
from engine.tests.report_samples import AMENDED, REGISTERED, make_criterion, make_record, make_records
from engine.text import format_interval

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Ids, links, tags, scripts and text of a page; fails on a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            self.scripts += [data] if self._open[-1] == "script" else []
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def show(records: list[Record], previous: list[Record] | None = None) -> str:
    return render(records, title="LM Claims", rendered_at="2026-02-14 10:02 UTC", previous=previous or [])


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


def test_equal_records_give_equal_bytes_in_any_order(records: list[Record]) -> None:
    page = show(records)
    shuffled = [replace(r, settings=dict(reversed(r.settings.items()))) for r in reversed(make_records())]
    assert show(shuffled) == page


def test_records_survive_their_file(records: list[Record], tmp_path: Path) -> None:
    index = write_report(records, tmp_path, rendered_at="2026-02-14 10:02 UTC")
    assert show(read_records(tmp_path / "records.jsonl")).encode() == index.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "records.jsonl"]


@pytest.mark.parametrize("count", [0, 1, 5, 16], ids=lambda n: f"{n} items")
def test_every_link_has_its_target_and_every_id_is_given_once(records: list[Record], count: int) -> None:
    page = Page(show(records[:count], previous=records))
    assert len(page.ids) == len(set(page.ids))
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inner
    assert inner <= set(page.ids)


def test_claims_whose_ids_differ_only_in_punctuation_get_targets_of_their_own(records: list[Record]) -> None:
    page = Page(show([replace(records[0], claim=c) for c in ("a b", "a/b", "a_b", "é", "☃", "")]))
    assert len(page.ids) == len(set(page.ids))


def test_the_page_asks_for_nothing_from_outside(records: list[Record]) -> None:
    html = show(records)
    page = Page(html)
    # The document is named with a link, which a reader may follow.
    document = "https://github.com/blbadger/blbadger.github.io"
    assert {link for link in page.links if not link.startswith("#")} == {"records.jsonl", document}
    bare = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).replace(f'href="{document}"', "")
    assert not re.search(r"url\(|@import|<link|<img|<iframe|srcset|\bon\w+=|https?://", bare)
    assert "default-src 'none'" in html


def test_only_the_pages_own_scripts_may_run(records: list[Record]) -> None:
    html = show(records)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    allowed = set(re.findall(r"'sha256-([^']+)'", policy.group(1)))
    running = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert {b64encode(sha256(script.encode()).digest()).decode() for script in running} == allowed
    assert "unsafe-eval" not in policy.group(1)
    assert set(re.findall(r"<script([^>]*)>", html)) <= {"", ' type="application/json"'}


def test_the_numbers_of_a_record_are_readable_as_text() -> None:
    criterion = make_criterion(
        "gap > 2", ("gap", 0.123456, -7.5, 31337.0), "inconclusive", n=419, method="bootstrap 9999"
    )
    record = make_record("C16", "gpt2", "page", "inconclusive", "inconclusive", criteria=(criterion,), cost_s=192.4)
    text = Page(show([record])).text
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


def test_every_text_of_a_record_is_on_the_page(records: list[Record]) -> None:
    text = Page(show(records)).text
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
        words += [r.command, *r.settings, *r.settings.values(), *r.sources.values(), *r.arms, r.subject_note]
        words += [w for c in r.criteria for w in (c.text, c.because, c.method, c.estimate)]
        words += [w for t in r.tables for w in (t.title, t.note, *t.columns)]
        words += [str(c) for t in r.tables for row in t.rows for c in row if isinstance(c, str | int)]
        words += [r.on_record.date, r.on_record.reason] if r.on_record else []
        words += [write_registration(r.registration)] if r.registration else []
        assert [w for w in words if " ".join(w.split()) not in text] == []


@pytest.mark.parametrize(
    "words",
    [
        "4 ✓ supported 1 ◐ partly supported 4 ✗ refuted 1 ? inconclusive 1 ○ not run at this effort 4 – skipped "
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
def test_the_page_says(records: list[Record], words: str) -> None:
    assert words in Page(show(records)).text


def test_a_clean_commit_is_not_called_dirty(records: list[Record]) -> None:
    origin = records[0].provenance
    assert origin is not None
    assert "dirty" not in Page(show([replace(records[0], provenance=replace(origin, dirty=False))])).text


def test_records_that_are_older_than_registrations_say_nothing_of_them(records: list[Record]) -> None:
    text = Page(show([replace(record, registration=None) for record in records])).text
    assert "Registration" not in text
    assert "Exploratory" not in text


def test_a_claim_whose_items_differ_says_of_how_many_each_is_so(records: list[Record]) -> None:
    three = [replace(records[0], subject=f"s{k}", registration=r) for k, r in enumerate((REGISTERED, AMENDED, AMENDED))]
    text = Page(show(three)).text
    assert "registered 2026-01-15, commit 515151515151 (1 item)" in text
    assert f"amended: {AMENDED.why} (2 items)" in text


def test_a_claim_that_was_measured_says_nothing_of_items_that_wait(records: list[Record]) -> None:
    (waiting,) = [r for r in records if r.claim == "C28" and r.protocol == "page"]
    measured = replace(waiting, subject="s", arms=("a",), outcome="passed", registration=AMENDED)
    sentence = "registered 2026-01-15, commit 515151515151"
    assert sentence in Page(show([waiting])).text
    assert sentence not in Page(show([waiting, measured])).text


def test_few_subjects_make_a_matrix_and_many_make_rows(records: list[Record]) -> None:
    many = [replace(records[0], subject=f"local:model-{k}") for k in range(13)]
    assert '<table class="matrix"' in show(records[:5])
    assert '<table class="forest"' in show(many)


def test_the_newest_record_of_a_page_can_be_found_by_its_line(records: list[Record], tmp_path: Path) -> None:
    html = write_report(records, tmp_path, rendered_at="now").read_text(encoding="utf-8")
    stored = read_records(tmp_path / "records.jsonl")
    for item in re.findall(r'<section class="item" id="([^"]+)".*?line (\d+) of records.jsonl', html, flags=re.DOTALL):
        name, line = item
        record = stored[int(line) - 1]
        assert name == f"{record.claim}_{record.subject}_{record.protocol}"


def test_changes_since_the_previous_run_are_named(records: list[Record]) -> None:
    first, second, third = records[:3]
    amended = replace(second, criteria=(replace(second.criteria[0], text="share recovered ≥ 0.9"),))
    text = Page(show([first, second], previous=[replace(first, ruling="supported"), amended, third])).text
    assert "smollm2-135m · direct: was supported, now ✗ refuted" in text
    assert "still ✓ supported; its criteria were amended" in text
    assert "1 not in this run" in text


def test_a_page_of_very_many_items_has_a_line_for_each_with_all_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.report.views.MANY_ITEMS", 15)
    records = make_records()
    html = show(records)
    page = Page(html)
    assert "More items than a page can draw" in page.text
    assert len(re.findall(r'<tr class="item" id=', html)) == len(records)
    for c in (c for r in records for c in r.criteria if c.value is not None):
        assert f"{c.estimate} {format_interval(c.value, c.low, c.high)}" in page.text
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_lists_of_changes_end_somewhere_and_say_how_many_more_there_are(records: list[Record]) -> None:
    page = Page(show([replace(records[0], subject=f"s{k}") for k in range(203)], previous=records[:1]))
    assert "203 new" in page.text
    assert "and 3 more" in page.text


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


def test_what_other_choices_make_of_a_verdict_is_shown_and_not_among_the_raw_numbers(records: list[Record]) -> None:
    variants = Table(
        title="Sensitivity: one choice made otherwise at a time",
        columns=("factor", "choice", "verdict"),
        rows=(("start", "N(0, 1)", "refuted"),),
        note="As declared it is supported.",
        kind=SENSITIVITY,
    )
    page = show([replace(records[0], tables=(variants,))])
    assert "<td>N(0, 1)</td>" in page
    assert "As declared it is supported." in page
    assert "Raw numbers" not in page
