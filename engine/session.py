"""The pytest plugin: options, items, outcomes, the report. Measuring and judging live elsewhere.

Registered as the entry point `engine.session`, so that claims in a folder of a user's own work too.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from engine.allowance import explain_allowance
from engine.campaign import Campaign, Job
from engine.claim import Claim
from engine.endings import Endings, check_interpreter, explain_ending, explain_fault
from engine.errors import (
    EngineError,
    EscapedError,
    LedgerError,
    MissingError,
    TooShallowError,
    explain,
    no_exits,
    say_count,
)
from engine.ledger import Ledger
from engine.options import Choices, are_asked, read_choices
from engine.output import Unbroken, prepare_output
from engine.procedures import Evidence
from engine.progress import make_progress
from engine.provenance import identify
from engine.records import RECORD, OnRecord, Record
from engine.registration import LOCK, find_registration
from engine.report.finish import finish_report
from engine.report.results import LONGEST, print_verdicts, sort_by_claim
from engine.report.text import write_plain
from engine.selection import read_selection
from engine.slices import deal
from engine.spelling import LOADED_BEFORE, add_options, find_mistaken, find_taken, refuse_taken, spell_out
from engine.trials import Item, explain_skip, items_of, name_left_out
from engine.verdicts import RED_WHEN_STRICT, Outcome, find_verdicts, settle
from engine.writing import write_record

BEGAN = pytest.StashKey[str]()
TAKEN = pytest.StashKey[frozenset[str]]()
"""Short spellings of our options that another plugin or a conftest has."""
CHOICES = pytest.StashKey[Choices]()
"""Read when the first claim is met: in other people's sessions there is nothing to choose."""
CAMPAIGN = pytest.StashKey[Campaign]()
RECORDS = pytest.StashKey[list[Record]]()
REPORT_LINES = pytest.StashKey[list[str]]()
FAILED = pytest.StashKey[bool]()
SUMMARIZED = pytest.StashKey[bool]()
SPARED = pytest.StashKey[bool]()
"""Of more slices than items: a machine without one has done its share."""
ENDINGS = pytest.StashKey[Endings]()
INTERRUPT = pytest.StashKey[KeyboardInterrupt]()
RECORD_OF_ITEM = pytest.StashKey[Record]()
JOB_OF_ITEM = pytest.StashKey[Job]()
ADDED = "PYTEST_ADDOPTS"
MARKERS = {
    "gpu": "needs a GPU, or --subject to ask for it on a CPU",
    "xl": "needs a GPU with room for 1.6 billion parameters",
    "weights": "needs weights from the hub",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    if None in (sys.stdin, sys.stdout, sys.stderr):
        prepare_output()  # pytest itself ends in a traceback where standard output or error is closed
    add_options(parser.getgroup("claims", "LM Claims"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Read short spellings as the long ones, where nobody else has them: neither a plugin, nor now a conftest."""
    # The value of an option is not to be searched for conftests; a line that cannot be read may be a conftest's own.
    with suppress(pytest.UsageError, SystemExit):
        spelled = spell_out(args, find_taken(parser))
        early_config.known_args_namespace.file_or_dir = parser.parse_known_args(spelled).file_or_dir
    loaded = yield
    early_config.stash[TAKEN] = taken = find_taken(parser)
    args[:] = spell_out(args, taken)
    return loaded


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Begin anew where pytest took an option's value for a test path when it looked for its root and its settings."""
    given = [*shlex.split(os.environ.get(ADDED, "")), *config.invocation_params.args]
    if not find_mistaken(given, config.invocation_params.dir):
        return None
    spelled = spell_out(given, config.stash.get(TAKEN, frozenset()))
    added = os.environ.pop(ADDED, None)
    try:
        return pytest.main([*LOADED_BEFORE, *spelled], config.invocation_params.plugins)
    finally:
        if added is not None:
            os.environ[ADDED] = added


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    began = getattr(config, "workerinput", {}).get("claims_began")
    config.stash[BEGAN] = began or datetime.now(UTC).isoformat(timespec="seconds")
    config.stash[ENDINGS] = Endings()
    config.stash[RECORDS] = []
    config.stash[REPORT_LINES] = []
    if are_asked(config):  # what is wrong with an option is better said before anything is collected
        with _usage_errors():
            choices_of(config)
    if config.option.claims_plan and hasattr(config.option, "dist"):
        config.option.dist = "no"  # a plan is printed by one process


def choices_of(config: pytest.Config) -> Choices:
    """What the user asked for, read once. Raises as `read_choices` does."""
    if CHOICES not in config.stash:
        config.stash[CHOICES] = read_choices(config, began=config.stash[BEGAN])
    return config.stash[CHOICES]


def _names_claims(config: pytest.Config) -> bool:
    """Whether the command line names a file or folder of claims; of others it is told as they are collected."""
    from engine.register import declares_claim

    places = [config.invocation_params.dir / str(argument).partition("::")[0] for argument in config.args]
    return any((place / LOCK).is_file() or (place.is_file() and declares_claim(place)) for place in places)


def _take_over(config: pytest.Config) -> None:
    """Make signals and output a session of claims' own. In other people's sessions both do what they always did."""
    if config.stash[ENDINGS].listening or hasattr(config, "workerinput"):
        return  # a worker that is ended costs its item: the others go on
    config.stash[ENDINGS].listen()
    prepare_output()
    if config.pluginmanager.hasplugin("terminalreporter"):
        writer: Any = config.get_terminal_writer()
        writer._file = Unbroken(writer._file)  # else whoever stops reading, as `head` does, ends the measuring


def pytest_unconfigure(config: pytest.Config) -> None:
    if ENDINGS in config.stash:
        config.stash[ENDINGS].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    claim = getattr(metafunc.module, "CLAIM", None)
    if "verdict" not in metafunc.fixturenames or not isinstance(claim, Claim):
        return
    config = metafunc.config
    _take_over(config)
    try:
        with no_exits():
            items = items_of(claim, choices_of(config))
    except EngineError as error:
        raise pytest.Collector.CollectError(f"claim {claim.id}: {error}") from error
    metafunc.parametrize(
        "verdict",
        [pytest.param(i, id=i.id, marks=[getattr(pytest.mark, name) for name in i.markers]) for i in items],
        indirect=True,
    )


@pytest.hookimpl(trylast=True)  # after pytest's own -k and -m: dealt is what they leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out claims without an item under these options, which pytest would show as skipped."""
    empty = [test for test in items if "verdict" in _parameters(test) and _item_of(test) is None]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [test for test in items if test not in empty]
    if config.option.claims_slice is not None:
        _keep_slice(config, items)


def _keep_slice(config: pytest.Config, tests: list[pytest.Item]) -> None:
    """Leave a machine its share of the claims' items; whatever else there is runs on each."""
    from engine.planning import estimate_job

    choices = choices_of(config)
    assert choices.slice is not None
    claimed = [(test, item) for test in tests if (item := _item_of(test)) is not None]
    costs = [
        estimate_job(Job(claim=item.claim, trial=item.trial)) if explain_skip(item, choices) is None else {}
        for _, item in claimed
    ]
    dealt = deal(costs, choices.slice.of)
    others = {test for (test, _), number in zip(claimed, dealt, strict=True) if number != choices.slice.number}
    config.hook.pytest_deselected(items=list(others))
    tests[:] = [test for test in tests if test not in others]
    kept = len(claimed) - len(others)
    config.stash[REPORT_LINES].append(f"slice {choices.slice}: {kept} of {say_count(len(claimed), 'item')}")
    config.stash[SPARED] = bool(claimed) and not tests


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Measure what all items ask for in common rounds, before the first verdict; or print the plan."""
    config = session.config
    items = [(item, _item_of(item)) for item in session.items]
    claimed = [(test, item) for test, item in items if item is not None]
    if not claimed or config.option.collectonly or config.option.setuponly or session.testsfailed:
        return None
    choices = choices_of(config)
    with _usage_errors():
        refuse_taken(config.invocation_params.args, config.stash.get(TAKEN, frozenset()))
    identify(choices.began)  # before hours of measuring in which somebody may edit the code
    if hasattr(config, "workerinput"):
        return None  # a worker is handed its items one by one, and measures them so
    with _usage_errors():
        check_interpreter()
        with no_exits():
            choices.check_prompts(item.trial.subject for _, item in claimed)
        campaign = _campaign(config)
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    if terminal and not choices.elsewhere and (limited := explain_allowance()):
        terminal.ensure_newline()
        terminal.write_line(limited)
    config.stash[REPORT_LINES] += name_left_out(item.trial.subject for _, item in claimed)
    if choices.plan:
        _print_plan(config, [item for _, item in claimed], campaign)
        return True
    jobs: list[Job] = []
    for test, item in claimed:
        if explain_skip(item, choices) is None:
            jobs.append(test.stash.setdefault(JOB_OF_ITEM, Job(claim=item.claim, trial=item.trial)))
    capture: Any = config.pluginmanager.getplugin("capturemanager")  # None under -p no:capture
    with _usage_errors(), capture.global_and_fixture_disabled() if capture else nullcontext():
        try:
            with no_exits():
                campaign.run(jobs)
        except (KeyboardInterrupt, LedgerError, EscapedError) as cut:
            _cut_short(session, [test for test, _ in claimed], cut)
        except EngineError:
            raise
        except Exception as cut:  # a fault of ours costs what was not measured yet, not what was
            traceback.print_exception(cut)
            _cut_short(session, [test for test, _ in claimed], cut)
    return None


def _cut_short(session: pytest.Session, claimed: list[pytest.Item], cut: KeyboardInterrupt | Exception) -> None:
    """Leave the session the items that need no more measuring, for their verdicts and a report of them."""
    config = session.config
    lines = config.stash[REPORT_LINES]
    if isinstance(cut, KeyboardInterrupt):
        config.stash[ENDINGS].hold()
        config.stash[INTERRUPT] = cut
    else:
        config.stash[FAILED] = True
        lines.append(explain_fault(cut))
    jobs = {test: test.stash[JOB_OF_ITEM] for test in claimed if JOB_OF_ITEM in test.stash}
    missing = [test for test, job in jobs.items() if not job.done or job.error is cut]
    # Of nothing but skipped items no report is made: it would replace one that says more.
    session.items[:] = [test for test in claimed if test not in missing] if len(missing) < len(jobs) else []
    left = f"{len(missing)} of {say_count(len(jobs), 'item')}"
    lines.append(f"not measured, and left out: {left}; the same command goes on with them")


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Any:
    """The verdict on the module's claim for one subject and protocol.

    Skips with what to do where hardware, weights or an extra is missing; an error of the experiment is the suite's.
    """
    item: Item = request.param
    if request.config.option.setuponly:
        return None  # it is only shown what would be set up; nothing is judged
    choices = choices_of(request.config)
    node: pytest.Item = request.node
    write = partial(write_record, item, choices, request.path)
    registration = None
    try:
        registration = find_registration(item.claim, item.trial, request.path, request.config.rootpath)
        with no_exits():
            missing = explain_skip(item, choices)
            evidence = None if missing else _find_evidence(request, item)
        judged = item.claim.judge(evidence.estimates, item.trial.scopes) if evidence else None
        on_record = _find_on_record(request, item)
    except (MissingError, TooShallowError) as error:
        missing, evidence, judged, on_record = str(error), None, None, None
    except EngineError as error:
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
    outcome = settle(judged, on_record)
    _note(node, write(outcome, judged.sentence, judged, evidence, on_record, registration))
    return judged


def _find_evidence(request: pytest.FixtureRequest, item: Item) -> Evidence:
    """What the session's rounds found for an item; a worker measures it now. Raises the experiment's error."""
    node: pytest.Item = request.node
    job = node.stash.get(JOB_OF_ITEM, None) or Job(claim=item.claim, trial=item.trial)
    if not job.done:
        _campaign(request.config).run([job])
    if job.evidence is None:
        assert job.error is not None
        raise job.error
    return job.evidence


def _find_on_record(request: pytest.FixtureRequest, item: Item) -> OnRecord | None:
    """The verdict on record; None under prompts, seeds or a dtype that are not the registered ones."""
    if not item.trial.registered:
        return None
    known = find_verdicts(request.path, request.config.rootpath)
    return known.get((item.claim.id, item.trial.subject.id, item.trial.protocol.name))


def _note(node: pytest.Item, record: Record) -> None:
    """Leave the record on the item for the report, and the verdict in JUnit."""
    node.stash[RECORD_OF_ITEM] = record
    facts = {"outcome": record.outcome, "verdict": record.ruling, "sentence": record.sentence}
    others = [(name, value) for name, value in node.user_properties if name not in facts]
    shown = [(name, write_plain(value, LONGEST)) for name, value in facts.items() if value is not None]
    node.user_properties[:] = others + shown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a claim's assertion into its outcome: a refuted claim is a finding, not a failure."""
    report: Any = yield
    record = item.stash.get(RECORD_OF_ITEM, None)
    if record is None or report.when == "teardown" or (report.when == "setup" and report.passed):
        return report
    if report.when == "call":
        mishap = _find_mishap(call, Outcome(record.outcome))
        if mishap is None:
            _rewrite(report, record, strict=choices_of(item.config).strict)
        else:
            record = replace(record, outcome=Outcome.ERROR.value, sentence=mishap)
            _note(item, record)
    report.claim_record = RECORD.dump_python(record, mode="json")
    return report


def _find_mishap(call: pytest.CallInfo[None], outcome: Outcome) -> str | None:
    """What went wrong in a claim's test beside its verdict: the suite's failure, which no verdict may cover."""
    if call.excinfo is None or (call.excinfo.errisinstance(AssertionError) and outcome is not Outcome.PASSED):
        return None
    return " ".join(f"The claim's test raised {call.excinfo.exconly()}".split())


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
    elif outcome in RED_WHEN_STRICT:
        report.outcome = "failed" if strict else "passed"
        report.longrepr = f"{outcome.value}: {sentence}" if strict else None


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    record = getattr(report, "claim_record", None)
    if record is None or report.failed or report.when != "call":
        return None
    letters = {Outcome.FINDING: "f", Outcome.INCONCLUSIVE: "i", Outcome.NOT_RUN: "n"}
    outcome = Outcome(record["outcome"])
    return (outcome.value, letters[outcome], outcome.value.upper()) if outcome in letters else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Workers take --fresh to mean: not stored before this session began."""
    node.workerinput["claims_began"] = node.config.stash[BEGAN]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Take over where workers run claims."""
    from engine.register import declares_claim

    files = dict.fromkeys(id.partition("::")[0] for id in ids)
    if any(declares_claim(node.config.rootpath / file) for file in files):
        _take_over(node.config)


class _Reports:
    """Gathers the records of all items, whichever worker they come from."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = getattr(report, "claim_record", None)
        if report.when not in ("setup", "call", "teardown") and self._config.stash[ENDINGS].listening:
            self._config.stash[FAILED] = True  # a worker of pytest-xdist died with the item, which has no verdict
        if plain is not None:
            self._config.stash[RECORDS].append(RECORD.validate_python(plain))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Let an interrupt go on to pytest, once what was measured before it is judged."""
        done = yield
        if INTERRUPT in self._config.stash:
            raise self._config.stash[INTERRUPT]
        return done


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if are_asked(session.config) or _names_claims(session.config):
        _take_over(session.config)
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Reports(session.config), "claims-reports")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """Keep the run, write the report, and exit with 3 when the suite itself failed rather than a claim.

    Before any other plugin ends: one that fails then, as the cache does on a disk that takes no more, costs neither
    report nor verdicts. In a session without claims its failure is none of ours.
    """
    config = session.config
    config.stash[ENDINGS].hold()  # what is sent from here on waits until the report is there
    records = config.stash[RECORDS]
    lines, ended_by = config.stash[REPORT_LINES], config.stash[ENDINGS].name
    if ended_by not in (None, "SIGINT"):  # of Ctrl-C pytest tells
        lines.insert(0, explain_ending(ended_by))
    failed = config.stash.get(FAILED, False) or any(record.outcome == Outcome.ERROR for record in records)
    if CAMPAIGN in config.stash:
        config.stash[REPORT_LINES].extend(config.stash[CAMPAIGN].ledger.list_untrusted())
    if records:
        try:
            with no_exits():
                choices = choices_of(config)
                asked = read_selection(session, exitstatus, choices, cut=FAILED in config.stash)
                written = finish_report(sort_by_claim(records), choices.report_dir, asked=asked, tell=lines.append)
        except Exception as error:
            traceback.print_exception(error)
            lines.append(explain_fault(error))
            written = False
        failed |= not written
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.stash.get(SPARED, False):
        session.exitstatus = pytest.ExitCode.OK
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR or not config.pluginmanager.hasplugin("terminalreporter"):
        print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr)  # pytest comes to no summary
    try:
        yield
    except Exception as error:
        if not records:
            raise
        failed = True
        _tell_at_last(config, error)
    finally:
        if failed and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def _tell_at_last(config: pytest.Config, error: Exception) -> None:
    """Show what the summary would have shown, had another plugin not failed before it."""
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    what = " ".join(f"{type(error).__name__}: {error}".split())
    line = explain(
        who="pytest",
        got=f"a failure at its end, in no code of ours ({what})",
        expected="every plugin to end",
        remedy="what was measured is stored and reported; mend the cause, or leave the plugin out with -p no:NAME",
    )
    if terminal is None:
        print(line, file=sys.stderr)
        return
    if not config.stash.get(SUMMARIZED, False):
        pytest_terminal_summary(terminal, config)
    terminal.write_line(line)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    config.stash[SUMMARIZED] = True
    if config.stash[RECORDS]:
        print_verdicts(config.stash[RECORDS], terminalreporter)
    for line in config.stash[REPORT_LINES]:
        terminalreporter.write_line(line)


def _parameters(test: pytest.Item) -> dict[str, object]:
    callspec = getattr(test, "callspec", None)
    return callspec.params if callspec is not None else {}


def _item_of(test: pytest.Item) -> Item | None:
    found = _parameters(test).get("verdict")
    return found if isinstance(found, Item) else None


def _campaign(config: pytest.Config) -> Campaign:
    from engine.planning import foresee

    if CAMPAIGN not in config.stash:
        choices = choices_of(config)
        config.stash[CAMPAIGN] = Campaign(
            Ledger(choices.ledger, choices.other_ledgers),
            choices.make_executor,
            progress=make_progress(quiet=hasattr(config, "workerinput")),
            fresh_since=choices.began if choices.fresh else "",
            foresee=foresee,
        )
    return config.stash[CAMPAIGN]


def _print_plan(config: pytest.Config, items: list[Item], campaign: Campaign) -> None:
    from engine.planning import Room, make_plan, print_arms, print_items, print_plan, print_skips

    choices = choices_of(config)
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    write: Callable[[str], None] = terminal.write_line if terminal else print
    write("")
    jobs: list[tuple[str, Job]] = []
    skipped: list[tuple[str, str]] = []
    for item in items:
        missing = explain_skip(item, choices)
        if missing is None:
            jobs.append((item.name, Job(claim=item.claim, trial=item.trial)))
        else:
            skipped.append((item.name, missing))
    with _usage_errors():
        plan = make_plan(jobs, campaign)
        room = Room(workers=choices.workers, threads=choices.threads, arms_bytes=choices.arms_bytes)
        print_plan(plan, write, room=room)
        print_items([name for name, _ in jobs], [name for name, _ in skipped], plan, write)
        print_skips(skipped, write, each=config.get_verbosity() > 0)
        if config.get_verbosity() > 0:
            print_arms(plan, write, room=room)
        else:
            write("-v lists every arm and every item that skips")
    for name, job in jobs:
        if job.error is not None:
            config.stash[FAILED] = True
            write(f"cannot be planned  {name}: {job.error}")


class _usage_errors:
    """Our one-line errors, as pytest's usage errors: no traceback, exit code 4."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EngineError):
            raise pytest.UsageError(str(error)) from error
