"""What a session of pytest with claims keeps, and what its parts share."""

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
"""Short spellings of our options that another plugin or a conftest has."""
SESSION_OPTIONS = pytest.StashKey[SessionOptions]()
"""Read when the first claim is met: in other people's sessions there is nothing to choose."""
SCHEDULER = pytest.StashKey[Scheduler]()
RECORDS = pytest.StashKey[list[Record]]()
REPORT_LINES = pytest.StashKey[list[str]]()
FAILED = pytest.StashKey[bool]()
LOST = pytest.StashKey[bool]()
"""Whether a file could not be collected, so that the session does not have all that it was asked for."""
SUMMARIZED = pytest.StashKey[bool]()
SHARED_ITEMS = pytest.StashKey[int]()
"""How many items the shares of a run have together, where the session has one of several."""
EMPTY_SLICE = pytest.StashKey[bool]()
"""Of more slices than items: a machine without one has done its share."""
ENDINGS = pytest.StashKey[Endings]()
INTERRUPT = pytest.StashKey[KeyboardInterrupt]()
RECORD_OF_ITEM = pytest.StashKey[Record]()
RUN_OF_ITEM = pytest.StashKey[ItemRun]()


def options_of(config: pytest.Config) -> SessionOptions:
    """What the user asked for, read once. Raises as `read_options` does."""
    if SESSION_OPTIONS not in config.stash:
        config.stash[SESSION_OPTIONS] = read_options(config, began=config.stash[BEGAN])
    return config.stash[SESSION_OPTIONS]


def scheduler_of(config: pytest.Config) -> Scheduler:
    """What measures for the session, made once."""
    from engine.running.plan import forecast_arms

    if SCHEDULER not in config.stash:
        choices = options_of(config)
        config.stash[SCHEDULER] = Scheduler(
            Ledger(choices.ledger, choices.other_ledgers),
            choices.make_executor,
            progress=make_progress(quiet=hasattr(config, "workerinput")),
            fresh_since=choices.began if choices.fresh else "",
            forecast=forecast_arms,
        )
    return config.stash[SCHEDULER]


def parameters_of(test: pytest.Item) -> dict[str, object]:
    """What a test is called with by its parametrization."""
    callspec = getattr(test, "callspec", None)
    return callspec.params if callspec is not None else {}


def item_of(test: pytest.Item) -> Item | None:
    """The claim's item that a test is for."""
    found = parameters_of(test).get("verdict")
    return found if isinstance(found, Item) else None


class usage_errors:
    """Our one-line errors, as pytest's usage errors: no traceback, exit code 4."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EngineError):
            raise pytest.UsageError(str(error)) from error
