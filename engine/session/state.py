"""The state that a session keeps in pytest's stash, and how its parts get at it."""

from __future__ import annotations

import pytest

from engine.errors import EngineError
from engine.ledger import Ledger
from engine.records import Record
from engine.running.endings import Endings
from engine.running.progress import make_progress
from engine.running.scheduler import ItemRun, Scheduler
from engine.session.items import Item
from engine.session.options import SessionOptions, read_options

BEGAN = pytest.StashKey[str]()
TAKEN = pytest.StashKey[frozenset[str]]()
"""Short spellings that another plugin or a conftest has."""
SESSION_OPTIONS = pytest.StashKey[SessionOptions]()
"""Read at the first claim: other sessions have no such options to check."""
SCHEDULER = pytest.StashKey[Scheduler]()
RECORDS = pytest.StashKey[list[Record]]()
REPORT_LINES = pytest.StashKey[list[str]]()
FAILED = pytest.StashKey[bool]()
LOST = pytest.StashKey[bool]()
"""Whether a file could not be collected, so that items are missing."""
SUMMARIZED = pytest.StashKey[bool]()
SHARED_ITEMS = pytest.StashKey[int]()
"""How many items all slices have together, in a session that has one of several."""
EMPTY_SLICE = pytest.StashKey[bool]()
"""Whether this slice has no items, since there are more slices than items."""
ENDINGS = pytest.StashKey[Endings]()
INTERRUPT = pytest.StashKey[KeyboardInterrupt]()
RECORD_OF_ITEM = pytest.StashKey[Record]()
RUN_OF_ITEM = pytest.StashKey[ItemRun]()


def options_of(config: pytest.Config) -> SessionOptions:
    """The session's options, read once. Raises what `read_options` raises."""
    if SESSION_OPTIONS not in config.stash:
        config.stash[SESSION_OPTIONS] = read_options(config, began=config.stash[BEGAN])
    return config.stash[SESSION_OPTIONS]


def scheduler_of(config: pytest.Config) -> Scheduler:
    """The session's scheduler, made once."""
    from engine.running.plan import forecast_arms

    if SCHEDULER not in config.stash:
        options = options_of(config)
        config.stash[SCHEDULER] = Scheduler(
            Ledger(options.ledger, options.other_ledgers),
            options.make_executor,
            progress=make_progress(quiet=hasattr(config, "workerinput")),
            fresh_since=options.began if options.fresh else "",
            reads_only=options.stored,
            forecast=forecast_arms,
        )
    return config.stash[SCHEDULER]


def parameters_of(test: pytest.Item) -> dict[str, object]:
    """The parameters of a test."""
    callspec = getattr(test, "callspec", None)
    return callspec.params if callspec is not None else {}


def item_of(test: pytest.Item) -> Item | None:
    """The item of a claim that a test asserts; None for other tests."""
    found = parameters_of(test).get("verdict")
    return found if isinstance(found, Item) else None


class usage_errors:
    """Turns the engine's one-line errors into pytest's usage errors: no traceback, exit code 4."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EngineError):
            raise pytest.UsageError(str(error)) from error
