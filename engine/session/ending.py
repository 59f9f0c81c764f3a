"""The end of a session of claims: whatever ended it, what was measured is judged and reported."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from typing import Any

import pytest

from engine.claim.on_record import Outcome
from engine.claim.registration import LOCK
from engine.errors import explain, no_exits, say_count
from engine.records import RECORD, Record, key_of
from engine.running.endings import explain_ending, explain_fault
from engine.running.output import ForgivingStream, prepare_output
from engine.session.finish import finish_empty, finish_report
from engine.session.options import are_asked
from engine.session.selection import read_selection
from engine.session.state import (
    EMPTY_SLICE,
    ENDINGS,
    FAILED,
    INTERRUPT,
    LOST,
    RECORDS,
    REPORT_LINES,
    RUN_OF_ITEM,
    SCHEDULER,
    SUMMARIZED,
    options_of,
)
from engine.session.summary import print_verdicts, sort_by_claim


def _names_claims(config: pytest.Config) -> bool:
    """Whether the command line names a file or folder of claims. Others are noticed when they are collected."""
    from engine.claim.discover import declares_claim

    places = [config.invocation_params.dir / str(argument).partition("::")[0] for argument in config.args]
    return any((place / LOCK).is_file() or (place.is_file() and declares_claim(place)) for place in places)


def take_over(config: pytest.Config) -> None:
    """Handle signals and output, once claims are part of the session. Other sessions keep their behaviour."""
    if config.stash[ENDINGS].listening or hasattr(config, "workerinput"):
        return  # a worker that is killed costs its item alone
    config.stash[ENDINGS].listen()
    prepare_output()
    if config.pluginmanager.hasplugin("terminalreporter"):
        writer: Any = config.get_terminal_writer()
        writer._file = ForgivingStream(
            writer._file
        )  # otherwise a reader that leaves, such as `head`, ends the measuring


def pytest_unconfigure(config: pytest.Config) -> None:
    if ENDINGS in config.stash:
        config.stash[ENDINGS].close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Take over if workers run claims."""
    from engine.claim.discover import declares_claim

    files = dict.fromkeys(id.partition("::")[0] for id in ids)
    if any(declares_claim(node.config.rootpath / file) for file in files):
        take_over(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Note the session's slice as a worker reports it: all workers report the same."""
    config: pytest.Config = node.config
    line, nothing_left = getattr(node, "workeroutput", {}).get("claims_slice", ("", False))
    if line and line not in config.stash[REPORT_LINES]:
        config.stash[REPORT_LINES].append(line)
        config.stash[EMPTY_SLICE] = nothing_left


def cut_short(session: pytest.Session, claimed: list[pytest.Item], cut: KeyboardInterrupt | Exception) -> None:
    """Keep the items that need no more measuring, so that they are judged and reported, and drop the others."""
    config = session.config
    lines = config.stash[REPORT_LINES]
    if isinstance(cut, KeyboardInterrupt):
        config.stash[ENDINGS].hold()
        config.stash[INTERRUPT] = cut
    else:
        config.stash[FAILED] = True
        lines.append(explain_fault(cut))
    runs = {test: test.stash[RUN_OF_ITEM] for test in claimed if RUN_OF_ITEM in test.stash}
    missing = [test for test, run in runs.items() if not run.done or run.error is cut]
    # A report of nothing but skipped items would replace one that says more.
    session.items[:] = [test for test in claimed if test not in missing] if len(missing) < len(runs) else []
    left = f"{len(missing)} of {say_count(len(runs), 'item')}"
    lines.append(f"not measured, and left out: {left}; run the same command to resume")


class _Reports:
    """Collects the records of all items, from whichever worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = getattr(report, "claim_record", None)
        if report.when not in ("setup", "call", "teardown") and self._config.stash[ENDINGS].listening:
            self._config.stash[FAILED] = True  # a worker of pytest-xdist died, and its item has no verdict
        if plain is not None:
            self._keep(RECORD.validate_python(plain))

    def _keep(self, record: Record) -> None:
        """Keep one record for each item, however often its test runs. An error stays."""
        records = self._config.stash[RECORDS]
        before = next((old for old in records if key_of(old) == key_of(record)), None)
        if before is None:
            records.append(record)
        elif before.outcome != Outcome.ERROR:
            records[records.index(before)] = record

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._config.stash[LOST] = self._config.stash.get(LOST, False) or report.failed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Raise an interrupt again for pytest, once what was measured before it is judged."""
        done = yield
        if INTERRUPT in self._config.stash:
            raise self._config.stash[INTERRUPT]
        return done


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if are_asked(session.config) or _names_claims(session.config):
        take_over(session.config)
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Reports(session.config), "claims-reports")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """Keep the run, write the report, and exit with 3 if the suite itself failed rather than a claim.

    It runs before the other plugins end. One that fails then, such as the cache on a full disk, costs neither report
    nor verdicts. In a session without claims its failure is left alone.
    """
    config = session.config
    config.stash[ENDINGS].hold()  # ignore signals until the report is written
    records = config.stash[RECORDS]
    lines, ended_by = config.stash[REPORT_LINES], config.stash[ENDINGS].name
    if ended_by not in (None, "SIGINT"):  # pytest reports Ctrl-C itself
        lines.insert(0, explain_ending(ended_by))
    failed = config.stash.get(FAILED, False) or any(record.outcome == Outcome.ERROR for record in records)
    lost = bool(records) and config.stash.get(LOST, False)
    failed |= lost
    if SCHEDULER in config.stash:
        config.stash[REPORT_LINES].extend(config.stash[SCHEDULER].ledger.list_untrusted())
    if records:
        try:
            with no_exits():
                options = options_of(config)
                asked = read_selection(session, exitstatus, options, cut=FAILED in config.stash or lost)
                written = finish_report(sort_by_claim(records), options.report_dir, asked=asked, tell=lines.append)
        except Exception as error:
            traceback.print_exception(error)
            lines.append(explain_fault(error))
            written = False
        failed |= not written
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.stash.get(EMPTY_SLICE, False):
        session.exitstatus = pytest.ExitCode.OK
        if not hasattr(config, "workerinput"):
            failed |= not finish_empty(options_of(config).report_dir, tell=lines.append)
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR or not config.pluginmanager.hasplugin("terminalreporter"):
        print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr)  # pytest will print no summary
    try:
        yield
    except Exception as error:
        if not records:
            raise
        failed = True
        _print_after_failure(config, error)
    finally:
        if failed and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def _print_after_failure(config: pytest.Config, error: Exception) -> None:
    """Print the summary that another plugin's failure prevented, and that failure."""
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    what = " ".join(f"{type(error).__name__}: {error}".split())
    line = explain(
        who="pytest",
        got=f"a failure of another plugin at its end ({what})",
        expected="every plugin to end",
        remedy="what was measured is stored and reported; fix the cause, or leave out the plugin with -p no:NAME",
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
