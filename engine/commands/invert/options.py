"""The command line of `lm-claims invert`, checked before anything is loaded."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.arms.protocol import CONTROLLED, PAGE, SCRIPT
from engine.arms.settings import Metric
from engine.arms.stacks import Depth
from engine.commands.command_line import make_parser
from engine.errors import LedgerError, PromptError, UsageError, explain
from engine.files import STANDARD_OUTPUT, expand_home, output_path
from engine.text import is_text

DEFAULT_SUBJECT = "smollm2-135m"

PROTOCOL_NAMES = (PAGE.name, SCRIPT.name, CONTROLLED.name)


@dataclass(frozen=True, kw_only=True)
class InvertOptions:
    """One inversion as the user asked for it.

    iterations: None takes as many as claims do. step: None takes the protocol's step size, or tunes one.
    search: also recover the prompt token by token, with every candidate checked.
    json: also write the descent's measurement here; if this is standard output, everything else goes to standard error.
    Raises UsageError, PromptError or LedgerError for a value that cannot be used.
    """

    prompt: str
    subject: str = DEFAULT_SUBJECT
    blocks: Depth = 1
    head: bool = False
    protocol: str = PAGE.name
    iterations: int | None = None
    step: float | None = None
    seed: int = 0
    sigma: float = 0.05
    metric: Metric = "l1"
    dtype: str = "float32"
    device: str = "auto"
    ledger: Path = Path(".ledger")
    live: bool = True
    search: bool = True
    fresh: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            got, remedy = "an empty prompt", 'write it in quotes, as in "The sky is blue."'
            raise PromptError(explain(who="invert", got=got, expected="a sentence", remedy=remedy))
        if not is_text(self.prompt):
            got, remedy = "a prompt with bytes that are not UTF-8", "check the terminal's encoding"
            raise PromptError(explain(who="invert", got=got, expected="text", remedy=remedy))
        blocks = self.blocks if isinstance(self.blocks, int) else 1
        iterations = 1 if self.iterations is None else self.iterations
        step = 1.0 if self.step is None else self.step
        for wrong, who, got, expected, remedy in (
            (blocks < 1, "--blocks", blocks, "a whole number from 1, 'half' or 'all'", "leave it out for one"),
            (iterations < 1, "--iterations", iterations, "a whole number from 1", "leave it out for the claims' own"),
            (self.seed < 0, "--seed", self.seed, "a whole number from 0", "leave it out for 0"),
            (not 0 < self.sigma < math.inf, "--sigma", f"{self.sigma:g}", "a number above 0", "leave it out for 0.05"),
            (not 0 < step < math.inf, "--step", f"{step:g}", "a number above 0", "leave it out to have it tuned"),
        ):
            if wrong:
                raise UsageError(explain(who=who, got=got, expected=expected, remedy=remedy))
        if self.json is None or self.json == STANDARD_OUTPUT:
            return
        # os.path.isdir is false for a path that is too long, where pathlib raises.
        if os.path.isdir(self.json) or not os.path.isdir(self.json.absolute().parent):
            expected = "a file in a folder that exists"
            raise LedgerError(explain(who="--json", got=self.json, expected=expected, remedy="choose another"))


def parse(arguments: Sequence[str]) -> InvertOptions:
    """Read a command line. Raises UsageError, PromptError or LedgerError, each with one line."""
    parser = make_parser("a prompt and known options")(
        prog="lm-claims invert",
        description="Finds an input whose output, through a model's first blocks, is that of the prompt, by gradient "
        "descent from noise. Shows the tokens that the input decodes to on the way. Then recovers the prompt from the "
        "same output token by token, with every candidate checked.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,  # the defaults are those of InvertOptions
    )
    option = parser.add_argument
    option("prompt", help='a text of two tokens or more, such as "The sky is blue."')
    option("--subject", metavar="ID", help=f"gpt2-untrained …, local:PATH or ORG/NAME (default: {DEFAULT_SUBJECT})")
    option("--blocks", type=_read_depth, metavar="K", help="the first K blocks, 'half' or 'all' (default: 1)")
    option("--head", action="store_true", help="with the language-model head on top")
    option("--protocol", choices=PROTOCOL_NAMES, help="how the descent starts (default: page)")
    option("--iterations", type=int, metavar="N", help="length of the descent (default: the claims' own)")
    option("--step", type=float, metavar="η", help="step size (default: the protocol's, or tuned first)")
    option("--seed", type=int, metavar="K", help="seed of the start (default: 0)")
    option("--sigma", type=float, metavar="S", help="size of the shift that sets the bound (default: 0.05)")
    option("--metric", choices=("l1", "l2"), help="the distance that the descent minimizes (default: l1)")
    option("--dtype", help="float32, float64, bfloat16 or float16 (default: float32)")
    option("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    option("--ledger", type=Path, metavar="FOLDER", help="where measurements are stored (default: .ledger)")
    option("--fresh", action="store_true", help="measure again even if a measurement is stored")
    option("--no-search", dest="search", action="store_false", help="the descent alone, no recovery token by token")
    option("--no-live", dest="live", action="store_false", help="print plain lines, as for a log")
    option("--json", type=output_path, metavar="FILE", help="write the descent as JSON; - is standard output")
    option("--traceback", action="store_true", help="show where an unexpected error came from")
    chosen = vars(parser.parse_args(arguments))
    chosen.pop("traceback", None)
    if "json" in chosen:
        chosen["json"] = expand_home(chosen["json"])
    chosen["ledger"] = expand_home(chosen.get("ledger") or find_root(Path.cwd()) / ".ledger")
    return InvertOptions(**chosen)


def find_root(here: Path) -> Path:
    """The project that a folder belongs to: the nearest one at or above it with pytest's settings, or itself."""
    for folder in (here, *here.parents):
        if any((folder / name).is_file() for name in ("pytest.ini", "pyproject.toml")):
            return folder
    return here


def _read_depth(text: str) -> Depth:
    match text:
        case "all" | "half":
            return text
        case _:
            try:
                return int(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"{text!r} is no number of blocks") from None
