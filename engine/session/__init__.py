"""The pytest plugin: options, collection, measuring. `outcomes` holds the fixture `verdict`, `ending` the report.

It is registered as the entry point `engine.session`, so that it also serves claims outside this checkout.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.claim.claim import Claim
from engine.errors import (
    EngineError,
    EscapedError,
    LedgerError,
    explain,
    no_exits,
    say_count,
)
from engine.ledger.provenance import identify
from engine.models.devices import explain_allowance
from engine.running.endings import Endings, check_interpreter
from engine.running.output import prepare_output
from engine.running.scheduler import ItemRun, Scheduler
from engine.running.slices import share_items
from engine.session import ending, outcomes
from engine.session.ending import cut_short, take_over
from engine.session.items import Item, expand_items, explain_skip, remark_on_prompts
from engine.session.options import are_asked
from engine.session.spelling import LOADED_BEFORE, add_options, find_mistaken, find_taken, refuse_taken, spell_out
from engine.session.state import (
    BEGAN,
    EMPTY_SLICE,
    ENDINGS,
    FAILED,
    RECORDS,
    REPORT_LINES,
    RUN_OF_ITEM,
    SHARED_ITEMS,
    TAKEN,
    item_of,
    options_of,
    parameters_of,
    scheduler_of,
    usage_errors,
)

ADDED = "PYTEST_ADDOPTS"
MARKERS = {
    "gpu": "needs a GPU, or --subject to ask for it on a CPU",
    "xl": "needs a GPU with room for 1.6 billion parameters",
    "weights": "needs weights from the hub",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    if None in (sys.stdin, sys.stdout, sys.stderr):
        prepare_output()  # pytest itself fails with a traceback if standard output or error is closed
    add_options(parser.getgroup("claims", "LM Claims"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Replace short spellings by the long ones, unless a plugin or a conftest has an option of that name."""
    # Otherwise pytest searches an option's value for conftests. A line it cannot parse may need a conftest's options.
    with suppress(pytest.UsageError, SystemExit):
        spelled = spell_out(args, find_taken(parser))
        early_config.known_args_namespace.file_or_dir = parser.parse_known_args(spelled).file_or_dir
    loaded = yield
    early_config.stash[TAKEN] = taken = find_taken(parser)
    args[:] = spell_out(args, taken)
    return loaded


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Start again if pytest took an option's value for a test path while it looked for its root and settings."""
    given = [*shlex.split(os.environ.get(ADDED, "")), *config.invocation_params.args]
    if hasattr(config, "workerinput"):
        return None  # a worker gets its root and settings from the session
    taken = config.stash.get(TAKEN, frozenset[str]())
    workers = bool(getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None))
    if not find_mistaken(given, config.invocation_params.dir, taken, workers=workers):
        return None
    spelled = spell_out(given, taken)
    added = os.environ.pop(ADDED, None)
    try:
        return pytest.main([*LOADED_BEFORE, *spelled], config.invocation_params.plugins)
    finally:
        if added is not None:
            os.environ[ADDED] = added


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    for part in (outcomes, ending):
        config.pluginmanager.register(part)
    began = getattr(config, "workerinput", {}).get("claims_began")
    config.stash[BEGAN] = began or datetime.now(UTC).isoformat(timespec="seconds")
    config.stash[ENDINGS] = Endings()
    config.stash[RECORDS] = []
    config.stash[REPORT_LINES] = []
    if are_asked(config):  # report a wrong option before anything is collected
        with usage_errors():
            options_of(config)
    if config.option.claims_plan and hasattr(config.option, "dist"):
        config.option.dist = "no"  # one process prints the plan


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    claim = getattr(metafunc.module, "CLAIM", None)
    if "verdict" not in metafunc.fixturenames or not isinstance(claim, Claim):
        return
    config = metafunc.config
    if (other := outcomes.find_other_verdict(metafunc.definition)) is not None:
        got, expected = f"a fixture verdict in {other}", "the plugin's, or one that wraps it"
        remedy = "rename that fixture, or let it request verdict itself"
        raise pytest.Collector.CollectError(explain(who=f"claim {claim.id}", got=got, expected=expected, remedy=remedy))
    take_over(config)
    try:
        with no_exits():
            items = expand_items(claim, options_of(config))
    except EngineError as error:
        raise pytest.Collector.CollectError(f"claim {claim.id}: {error}") from error
    metafunc.parametrize(
        "verdict",
        [pytest.param(i, id=i.id, marks=[getattr(pytest.mark, name) for name in i.markers]) for i in items],
        indirect=True,
    )


@pytest.hookimpl(trylast=True)  # after pytest's own -k and -m: slices share what they leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect claims without an item under these options, which pytest would show as skipped."""
    empty = [test for test in items if "verdict" in parameters_of(test) and item_of(test) is None]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [test for test in items if test not in empty]
    if config.option.claims_slice is not None:
        _keep_slice(config, items)


def _keep_slice(config: pytest.Config, tests: list[pytest.Item]) -> None:
    """Keep this machine's share of the claims' items. Tests that are no claims run on each machine."""
    from engine.running.plan import estimate_item

    options = options_of(config)
    assert options.slice is not None
    claimed = [(test, item) for test in tests if (item := item_of(test)) is not None]
    costs = [
        estimate_item(ItemRun(claim=item.claim, trial=item.trial)) if explain_skip(item, options) is None else {}
        for _, item in claimed
    ]
    slices = share_items(costs, options.slice.of)
    others = {test for (test, _), number in zip(claimed, slices, strict=True) if number != options.slice.number}
    config.hook.pytest_deselected(items=list(others))
    tests[:] = [test for test in tests if test not in others]
    kept = len(claimed) - len(others)
    line = f"slice {options.slice}: {kept} of {say_count(len(claimed), 'item')}"
    nothing_left = bool(claimed) and not tests
    config.stash[REPORT_LINES].append(line)
    config.stash[EMPTY_SLICE] = nothing_left
    if hasattr(config, "workeroutput"):
        config.workeroutput["claims_slice"] = (line, nothing_left)  # pyright: ignore[reportAttributeAccessIssue]
    config.stash[SHARED_ITEMS] = len(claimed) if options.slice.of > 1 else 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Measure what all items ask for, in common rounds, before the first verdict; or print the plan."""
    config = session.config
    items = [(item, item_of(item)) for item in session.items]
    claimed = [(test, item) for test, item in items if item is not None]
    if not claimed or config.option.collectonly or config.option.setuponly or session.testsfailed:
        return None
    options = options_of(config)
    with usage_errors():
        refuse_taken(config.invocation_params.args, config.stash.get(TAKEN, frozenset()))
    identify(options.began)  # now, since somebody may edit the code during hours of measuring
    if hasattr(config, "workerinput"):
        return None  # a worker gets its items one by one, and measures each in its fixture
    with usage_errors():
        check_interpreter()
        with no_exits():
            options.check_prompts(item.trial.subject for _, item in claimed)
        scheduler = scheduler_of(config)
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    if terminal and not options.elsewhere and (limited := explain_allowance()):
        terminal.ensure_newline()
        terminal.write_line(limited)
    config.stash[REPORT_LINES] += remark_on_prompts((item.trial.subject for _, item in claimed), options.prompts)
    if options.plan:
        _print_plan(config, [item for _, item in claimed], scheduler)
        return True
    runs: list[ItemRun] = []
    for test, item in claimed:
        if explain_skip(item, options) is None:
            runs.append(test.stash.setdefault(RUN_OF_ITEM, ItemRun(claim=item.claim, trial=item.trial)))
    capture: Any = config.pluginmanager.getplugin("capturemanager")  # None under -p no:capture
    with usage_errors(), capture.global_and_fixture_disabled() if capture else nullcontext():
        try:
            with no_exits():
                scheduler.run(runs)
        except (KeyboardInterrupt, LedgerError, EscapedError) as cut:
            cut_short(session, [test for test, _ in claimed], cut)
        except EngineError:
            raise
        except Exception as cut:  # a fault of the engine: what was measured is still judged and reported
            traceback.print_exception(cut)
            cut_short(session, [test for test, _ in claimed], cut)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell workers when the session began: --fresh means 'not stored before that'."""
    node.workerinput["claims_began"] = node.config.stash[BEGAN]


def _print_plan(config: pytest.Config, items: list[Item], scheduler: Scheduler) -> None:
    from engine.running.plan import ArmCapacity, plan_session, print_arms, print_items, print_plan, print_skips

    options = options_of(config)
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    write: Callable[[str], None] = terminal.write_line if terminal else print
    write("")
    runs: list[tuple[str, ItemRun]] = []
    skipped: list[tuple[str, str]] = []
    for item in items:
        missing = explain_skip(item, options)
        if missing is None:
            runs.append((item.name, ItemRun(claim=item.claim, trial=item.trial)))
        else:
            skipped.append((item.name, missing))
    with usage_errors():
        plan = plan_session(runs, scheduler)
        room = ArmCapacity(workers=options.workers, threads=options.threads, arms_bytes=options.arms_bytes)
        print_plan(plan, write, room=room)
        print_items([name for name, _ in runs], [name for name, _ in skipped], plan, write)
        print_skips(skipped, write, each=config.get_verbosity() > 0)
        if config.get_verbosity() > 0:
            print_arms(plan, write, room=room)
        else:
            write("-v lists every arm and every item that skips")
    for name, run in runs:
        if run.error is not None:
            config.stash[FAILED] = True
            write(f"cannot be planned  {name}: {run.error}")
