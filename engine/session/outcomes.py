"""The fixture `verdict` that a claim's test asserts, and the outcome that pytest shows for it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from engine.claim.on_record import RED_WHEN_STRICT, Outcome, classify_outcome, find_verdicts
from engine.claim.procedure import Evidence
from engine.claim.registration import find_registration
from engine.errors import EngineError, InapplicableError, MissingError, TooLongError, explain, no_exits
from engine.records import RECORD, Record, RecordedVerdict
from engine.running.scheduler import ItemRun
from engine.session.items import Item, explain_skip
from engine.session.record import write_record
from engine.session.state import RECORD_OF_ITEM, RUN_OF_ITEM, SHARED_ITEMS, item_of, options_of, scheduler_of
from engine.session.summary import LONGEST
from engine.text import write_plain


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Any:
    """The verdict on the module's claim for one subject and protocol.

    Skips, saying what to do, where hardware, weights or an extra is missing. An error of the experiment is an error.
    """
    item = getattr(request, "param", None)
    if not isinstance(item, Item):
        got, remedy = f"no claim in {request.path.name}", "write CLAIM = Claim(…) there, as CONTRIBUTING.md shows"
        line = explain(who="verdict", got=got, expected="a module that declares one", remedy=remedy)
        raise pytest.fail.Exception(line, pytrace=False)
    if request.config.option.setuponly:
        return None  # --setup-only judges nothing
    options = options_of(request.config)
    node: pytest.Item = request.node
    write = partial(write_record, item, options, request.path)
    registration = None
    try:
        registration = find_registration(item.claim, item.trial, request.path, request.config.rootpath)
        with no_exits():
            missing = explain_skip(item, options)
            evidence = None if missing else _find_evidence(request, item)
        judged = item.claim.judge(evidence.estimates, item.trial.scopes) if evidence else None
        on_record = _find_on_record(request, item)
    except EngineError as error:
        # No fault: hardware, weights or depth that is lacking, or one of the suite's own prompts past the context.
        lacking = isinstance(error, (MissingError, InapplicableError))
        if lacking or (isinstance(error, TooLongError) and not item.trial.prompts):
            missing, evidence, judged, on_record = str(error), None, None, None
        else:
            _note(node, write(outcome=Outcome.ERROR, sentence=str(error), registration=registration))
            raise pytest.fail.Exception(str(error), pytrace=False) from None
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        _note(node, write(outcome=Outcome.ERROR, sentence=words, registration=registration))
        raise
    if judged is None:
        assert missing is not None
        _note(node, write(outcome=Outcome.SKIPPED, sentence=missing, registration=registration))
        pytest.skip(write_plain(missing, LONGEST))
    outcome = classify_outcome(judged, on_record)
    _note(node, write(outcome, judged.sentence, judged, evidence, on_record, registration))
    return judged


def find_other_verdict(test: pytest.Item) -> str | None:
    """The module whose fixture `verdict` replaces the one above for a test; None if there is none, or it wraps it."""
    info: Any = getattr(test, "_fixtureinfo", None)
    for definition in reversed(info.name2fixturedefs.get("verdict", ()) if info else ()):
        if definition.func.__module__ == __name__:
            return None
        if "verdict" not in definition.argnames:
            return str(definition.func.__module__)
    return None


def _find_evidence(request: pytest.FixtureRequest, item: Item) -> Evidence:
    """The evidence of an item from the session's rounds; a worker measures it now. Raises the experiment's error."""
    node: pytest.Item = request.node
    run = node.stash.get(RUN_OF_ITEM, None) or ItemRun(claim=item.claim, trial=item.trial)
    if not run.done:
        scheduler_of(request.config).run([run])
    if run.evidence is None:
        assert run.error is not None
        raise run.error
    return run.evidence


def _find_on_record(request: pytest.FixtureRequest, item: Item) -> RecordedVerdict | None:
    """The verdict on record; None if prompts, seeds or dtype are not the registered ones."""
    if not item.trial.registered:
        return None
    known = find_verdicts(request.path, request.config.rootpath)
    return known.get((item.claim.id, item.trial.subject.id, item.trial.protocol.name))


def _note(node: pytest.Item, record: Record) -> None:
    """Keep the record on the item for the report, and the verdict for JUnit."""
    if record.session is not None and (dealt := node.config.stash.get(SHARED_ITEMS, 0)):
        record = replace(record, session=replace(record.session, dealt=dealt))
    node.stash[RECORD_OF_ITEM] = record
    facts = {"outcome": record.outcome, "verdict": record.ruling, "sentence": record.sentence}
    others = [(name, value) for name, value in node.user_properties if name not in facts]
    shown = [(name, write_plain(value, LONGEST)) for name, value in facts.items() if value is not None]
    node.user_properties[:] = others + shown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace a failed assertion by the claim's outcome: a refuted claim is a finding, not a failure."""
    report: Any = yield
    record = item.stash.get(RECORD_OF_ITEM, None)
    if record is None and report.failed and (asked := item_of(item)) is not None:
        # Another fixture failed before `verdict`: the report has to say that the item was lost.
        words = " ".join(f"The claim's test raised {call.excinfo.exconly() if call.excinfo else ''}".split())
        record = write_record(asked, options_of(item.config), item.path, outcome=Outcome.ERROR, sentence=words)
        _note(item, record)
    if record is None or report.when == "teardown" or (report.when == "setup" and report.passed):
        return report
    if report.when == "call":
        raised = call.excinfo
        asserted = raised is not None and raised.errisinstance(AssertionError)
        if raised is None or (asserted and record.outcome != Outcome.PASSED):
            _rewrite(report, record, strict=options_of(item.config).strict)
        else:
            # The test failed other than by its assertion on the verdict: no verdict may hide that.
            words = " ".join(f"The claim's test raised {raised.exconly()}".split())
            record = replace(record, outcome=Outcome.ERROR.value, sentence=words)
            _note(item, record)
    report.claim_record = RECORD.dump_python(record, mode="json")
    return report


def _rewrite(report: pytest.TestReport, record: Record, *, strict: bool) -> None:
    outcome = Outcome(record.outcome)
    reason = f" (on record since {record.on_record.date}: {record.on_record.reason})" if record.on_record else ""
    sentence, reason = write_plain(record.sentence, LONGEST), write_plain(reason, LONGEST)
    if outcome is Outcome.DRIFT:
        report.outcome = "failed"
        assert record.on_record is not None
        report.longrepr = f"Drift: {sentence} On record: {record.on_record.ruling}{reason}"
    elif outcome is Outcome.XFAILED:
        report.outcome = "skipped"
        report.wasxfail = f"{sentence}{reason}"
        report.longrepr = None
    elif outcome in RED_WHEN_STRICT or outcome is Outcome.NOT_TESTED:
        red = strict and outcome in RED_WHEN_STRICT
        report.outcome = "failed" if red else "passed"
        report.longrepr = f"{outcome.value}: {sentence}" if red else None


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    record = getattr(report, "claim_record", None)
    if record is None or report.failed or report.when != "call":
        return None
    letters = {Outcome.FINDING: "f", Outcome.INCONCLUSIVE: "i", Outcome.NOT_RUN: "n", Outcome.NOT_TESTED: "t"}
    outcome = Outcome(record["outcome"])
    return (outcome.value, letters[outcome], outcome.value.upper()) if outcome in letters else None
