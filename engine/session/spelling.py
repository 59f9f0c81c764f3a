"""The options and their two spellings: `--claims-NAME` in any pytest, and `--NAME` unless another plugin has that.

pytest's parser knows the long spelling alone, so that no plugin and no conftest can clash with it, whichever is loaded
first. Short spellings are replaced by long ones before the command line is parsed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.arms.protocol import PROTOCOLS
from engine.claim.units import EFFORTS
from engine.errors import UsageError, explain

DTYPES = ("float32", "float64", "bfloat16", "float16")
EXECUTORS = ("auto", "inline", "pool", "ray")
SHORT, LONG = "--", "--claims-"

LOADED_BEFORE = ("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning")
"""For a session in a process that has imported the engine: its plugin has no assertion for pytest to rewrite."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option. details: its arguments for argparse, besides its help."""

    name: str
    help: str
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def short(self) -> str:
        return SHORT + self.name

    @property
    def long(self) -> str:
        return LONG + self.name

    @property
    def dest(self) -> str:
        """The attribute of pytest's namespace that holds its value."""
        return self.long.lstrip("-").replace("-", "_")

    @property
    def takes_value(self) -> bool:
        return self.details.get("action") != "store_true"


_FLAG: dict[str, Any] = {"action": "store_true"}
_REPEATABLE: dict[str, Any] = {"action": "append", "default": []}

OPTIONS = (
    Option(
        name="effort",
        help=f"{', '.join(EFFORTS)} (default: standard)",
        details={"default": "standard", "metavar": "NAME"},
    ),
    Option(
        name="subject",
        help="a subject, local:PATH or ORG/NAME of the hub; repeatable",
        details={**_REPEATABLE, "metavar": "ID"},
    ),
    Option(
        name="text",
        help="a folder of text that the suite's own models are trained on (default: documentation in botocore's wheel)",
        details={"default": None, "metavar": "DIR"},
    ),
    Option(name="protocol", help=f"{', '.join(PROTOCOLS)}; repeatable", details={**_REPEATABLE, "metavar": "NAME"}),
    Option(name="prompt", help="a prompt of your own; repeatable", details={**_REPEATABLE, "metavar": "TEXT"}),
    Option(
        name="seeds",
        help="start seeds for each prompt (default: 1)",
        details={"type": int, "default": 1, "metavar": "N"},
    ),
    Option(name="all-units", help="measure every unit, also where fewer decide a claim", details=_FLAG),
    Option(
        name="device",
        help="auto, cpu, cuda (every GPU), cuda:1 … (default: auto)",
        details={"default": "auto", "metavar": "NAME"},
    ),
    Option(
        name="dtype", help=f"{', '.join(DTYPES)} (default: float32)", details={"default": "float32", "metavar": "NAME"}
    ),
    Option(
        name="executor",
        help="inline measures arm after arm, pool several at once, ray on a cluster; auto (default) is a pool where "
        "there are several cores or GPUs",
        details={"default": "auto", "metavar": "NAME"},
    ),
    Option(
        name="ray-address",
        help="a running cluster's (default: one is started here)",
        details={"default": None, "metavar": "ADDRESS"},
    ),
    Option(
        name="workers",
        help="arms at once (default: one for each core, or GPU)",
        details={"type": int, "default": None, "metavar": "N"},
    ),
    Option(
        name="threads",
        help="of each arm (default: 1; beside GPUs, all cores)",
        details={"type": int, "default": None, "metavar": "N"},
    ),
    Option(
        # Two percent signs: argparse formats a single one.
        name="memory",
        help="for all processes, like 4G (default: 80 %% of what is free)",
        details={"default": None, "metavar": "SIZE"},
    ),
    Option(
        name="report-dir",
        help="where the report goes (default: reports/latest)",
        details={"default": None, "metavar": "DIR"},
    ),
    Option(
        name="ledger",
        help="where measurements are stored (default: .ledger); repeatable, the others are only read",
        details={**_REPEATABLE, "metavar": "DIR"},
    ),
    Option(name="strict-verdicts", help="findings and undecided claims fail", details=_FLAG),
    Option(name="fresh", help="ignore stored measurements", details=_FLAG),
    Option(name="stored", help="judge what the ledger holds, on whatever device, and measure nothing", details=_FLAG),
    Option(
        name="slice",
        help="share K of N, for as many machines; the same shares on each",
        details={"default": None, "metavar": "K/N"},
    ),
    Option(name="plan", help="print what would be run, and run nothing", details=_FLAG),
)
MADE = ("ledger", "report-dir")
"""Options whose folders are created if missing."""
GROUPS = {
    "what is tested": ("effort", "subject", "text", "protocol", "prompt", "seeds", "all-units"),
    "where it is measured": ("device", "dtype", "executor", "ray-address", "workers", "threads", "memory"),
    "what is stored and reported": ("ledger", "report-dir", "fresh", "stored", "strict-verdicts"),
    "how much is run": ("slice", "plan"),
}
"""The options by topic, as `lm-claims verify --help` lists them."""
BY_SPELLING = {spelling: option for option in OPTIONS for spelling in (option.short, option.long)}


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the options to pytest. Defaults are those of a bare `pytest claims`."""
    for option in OPTIONS:
        group.addoption(option.long, help=f"or {option.short}: {option.help}", **option.details)


def find_taken(parser: pytest.Parser) -> frozenset[str]:
    """The short spellings that other plugins or conftests have declared by now."""
    spellings = [option.short for option in OPTIONS]
    if not _recognize(parser, spellings):
        return frozenset()
    return frozenset(spelling for spelling in spellings if _recognize(parser, [spelling]))


def _recognize(parser: pytest.Parser, spellings: list[str]) -> bool:
    try:
        _, unknown = parser.parse_known_and_unknown_args(spellings)
    except (pytest.UsageError, SystemExit) as error:
        # The option wants a value. A complaint that names no spelling is about another option, which is required.
        return len(spellings) > 1 or spellings[0] in str(error)
    return unknown != spellings


def expand_files(words: Iterable[str]) -> list[str]:
    """A command line with `@FILE` replaced by the lines of FILE, as pytest does. An unreadable file stays."""
    expanded: list[str] = []
    for word in words:
        if word.startswith("@") and len(word) > 1:
            with suppress(OSError, ValueError, RecursionError):
                text = Path(word[1:]).read_text(encoding=sys.getfilesystemencoding(), errors="surrogateescape")
                expanded += expand_files(text.splitlines())
                continue
        expanded.append(word)
    return expanded


def spell_out(words: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """A command line with every option of this plugin spelled `--claims-NAME=VALUE`.

    The value is joined, since pytest looks for its root and settings before it knows these options, and takes a
    separate word that names a folder for a test path. taken: short spellings that others have.
    """
    spelled, left = list[str](), expand_files(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*spelled, word, *left]
        spelling, joined, value = word.partition("=")
        option = BY_SPELLING.get(spelling)
        if option is None or spelling in taken:
            spelled.append(word)
            continue
        # A word that begins with a dash is the next option: argparse will report the missing value.
        if option.takes_value and not joined and left and not left[0].startswith("-"):
            joined, value = "=", left.pop(0)
        spelled.append(option.long + joined + value)
    return spelled


def find_mistaken(words: Sequence[str], here: Path, taken: Collection[str] = (), *, workers: bool = False) -> list[str]:
    """Values of options that pytest takes for test paths while it looks for its root and settings.

    They are separate words, and a file or folder of that name exists. taken: as in `spell_out`. workers: whether
    processes will read the same words later, when the folders of MADE exist.
    """
    found: list[str] = []
    for word, value in pairwise(expand_files(words)):
        option = BY_SPELLING.get(word) if word not in taken else None
        if option is None or not option.takes_value or value.startswith("-"):
            continue
        # A test path ends before '::'.
        if os.path.exists(here / value.partition("::")[0]) or (workers and option.name in MADE):
            found.append(value)
    return found


def refuse_taken(words: Iterable[str], taken: Collection[str]) -> None:
    """Raises UsageError for a short spelling that another plugin or a conftest has."""
    for word in expand_files(words):
        spelling = word.partition("=")[0]
        if spelling in taken:
            option = BY_SPELLING[spelling]
            got = "a name that another plugin or a conftest has here"
            remedy = f"write {option.long}, or run lm-claims verify, where the short name is free"
            raise UsageError(explain(who=spelling, got=got, expected=option.long, remedy=remedy))
