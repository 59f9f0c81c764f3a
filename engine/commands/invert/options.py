"""What the user asks for on the command line, checked before anything is loaded."""

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
from engine.commands.command_line import Parser, make_parser
from engine.errors import LedgerError, PromptError, UsageError, explain
from engine.files import STANDARD_OUTPUT, expand_home, read_target
from engine.text import is_text

PROTOCOL_NAMES = (PAGE.name, SCRIPT.name, CONTROLLED.name)
WHO = "invert"


@dataclass(frozen=True, kw_only=True)
class InvertOptions:
    """One inversion as it was asked for.

    iterations: None takes the number that claims take. step: None takes the protocol's, or tunes. json: where the
    measurement is written too; on standard output it has that to itself.
    """

    prompt: str
    subject: str
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
    fresh: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        _check_text(self.prompt)
        if isinstance(self.blocks, int) and self.blocks < 1:
            raise _wrong("--blocks", self.blocks, "a whole number from 1, 'half' or 'all'", "leave it out for one")
        if self.iterations is not None and self.iterations < 1:
            raise _wrong("--iterations", self.iterations, "a whole number from 1", "leave it out for the claims' own")
        if self.seed < 0:
            raise _wrong("--seed", self.seed, "a whole number from 0", "leave it out for 0")
        for name, value, remedy in (
            ("--sigma", self.sigma, "leave it out for 0.05"),
            ("--step", 1.0 if self.step is None else self.step, "leave it out to have it tuned"),
        ):
            if not (math.isfinite(value) and value > 0):
                raise _wrong(name, f"{value:g}", "a number above 0", remedy)
        if self.json is not None and self.json != STANDARD_OUTPUT:
            _check_file(self.json)


def parse(arguments: Sequence[str]) -> InvertOptions:
    """The wish behind command-line arguments. Raises UsageError, PromptError or LedgerError with one line."""
    chosen = _build_parser().parse_args(arguments)
    return InvertOptions(
        prompt=chosen.prompt,
        subject=chosen.subject,
        blocks=chosen.blocks,
        head=chosen.head,
        protocol=chosen.protocol,
        iterations=chosen.iterations,
        step=chosen.step,
        seed=chosen.seed,
        sigma=chosen.sigma,
        metric=chosen.metric,
        dtype=chosen.dtype,
        device=chosen.device,
        ledger=expand_home(chosen.ledger or find_root(Path.cwd()) / ".ledger"),
        live=not chosen.no_live,
        fresh=chosen.fresh,
        json=chosen.json and expand_home(chosen.json),
    )


def _build_parser() -> Parser:
    parser = make_parser("a prompt and known options")(
        prog=f"lm-claims {WHO}",
        description="Finds an input whose output, through a model's first blocks, is that of the prompt, by gradient "
        "descent from noise; shows the tokens that the input decodes to on the way.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("prompt", help='a text of two tokens or more, such as "The sky is blue."')
    option("--subject", required=True, metavar="ID", help="smollm2-135m, gpt2-untrained …, or local:PATH")
    option("--blocks", type=_depth, default=1, metavar="K", help="the first K blocks, 'half' or 'all' (default: 1)")
    option("--head", action="store_true", help="with the language-model head on top")
    option("--protocol", choices=PROTOCOL_NAMES, default=PAGE.name, help="how it starts (default: page)")
    option("--iterations", type=int, metavar="N", help="length of the descent (default: the claims' own)")
    option("--step", type=float, metavar="η", help="step size (default: the protocol's, or tuned first)")
    option("--seed", type=int, default=0, metavar="K", help="of the start (default: 0)")
    option("--sigma", type=float, default=0.05, metavar="S", help="shift behind the bound (default: 0.05)")
    option("--metric", choices=("l1", "l2"), default="l1", help="distance that is descended (default: l1)")
    option("--dtype", default="float32", help="float32, float64, bfloat16 or float16 (default: float32)")
    option("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    option("--ledger", type=Path, metavar="FOLDER", help="where measurements are stored (default: .ledger)")
    option("--fresh", action="store_true", help="measure again what is stored")
    option("--no-live", action="store_true", help="plain lines, as for a log")
    option("--json", type=read_target, metavar="FILE", help="write the measurement as JSON; - is standard output")
    option("--traceback", action="store_true", help="show where an unexpected error came from")
    return parser


def find_root(here: Path) -> Path:
    """The project that a folder belongs to: where pytest would find its settings, else the folder itself."""
    for folder in (here, *here.parents):
        if any((folder / name).is_file() for name in ("pytest.ini", "pyproject.toml")):
            return folder
    return here


def _depth(text: str) -> Depth:
    match text:
        case "all" | "half":
            return text
        case _:
            try:
                return int(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"{text!r} is no number of blocks") from None


def _check_text(prompt: str) -> None:
    if not prompt.strip():
        got, remedy = "an empty prompt", 'write it in quotes, as in "The sky is blue."'
        raise PromptError(explain(who=WHO, got=got, expected="a sentence", remedy=remedy))
    if not is_text(prompt):
        got, remedy = "a prompt with bytes that are not UTF-8", "check the terminal's encoding"
        raise PromptError(explain(who=WHO, got=got, expected="text", remedy=remedy))


def _check_file(path: Path) -> None:
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):  # no error where the path is too long
        expected, remedy = "a file in a folder that exists", "choose another"
        raise LedgerError(explain(who="--json", got=path, expected=expected, remedy=remedy))


def _wrong(who: str, got: object, expected: str, remedy: str) -> UsageError:
    return UsageError(explain(who=who, got=got, expected=expected, remedy=remedy))
