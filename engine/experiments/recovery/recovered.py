"""`engine.recover`: the tokens behind the activations of a model, for a notebook or a script of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from engine.arms.stacks import WHOLE, Stack
from engine.errors import MissingError, UsageError, explain
from engine.text import format_number

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COLUMNS = ("prompt", "position", "token", "text", "distance", "runner-up", "noise", "checks")


@dataclass(frozen=True, kw_only=True)
class RecoveredToken:
    """The token at one position.

    token: its id; None if no token of the vocabulary gives these activations behind the tokens before it. text: what it
    decodes to, without a tokenizer "". same: other tokens that give equal activations.
    distance: of its activations from those observed; up to `noise` they count as equal. runner_up: the smallest
    distance of another token that was checked; the search does not check all. checks: tokens that were checked.
    """

    token: int | None
    text: str
    same: tuple[int, ...]
    distance: float
    runner_up: float
    noise: float
    checks: int


@dataclass(frozen=True, repr=False)
class RecoveredPrompts:
    """What `recover` found: for each prompt its tokens, up to the first position without one.

    lengths: tokens of each prompt. step: η of the descents.
    """

    prompts: tuple[tuple[RecoveredToken, ...], ...]
    lengths: tuple[int, ...]
    step: float

    @property
    def tokens(self) -> list[list[int]]:
        """The ids of each prompt."""
        return [[found.token for found in row if found.token is not None] for row in self.prompts]

    @property
    def texts(self) -> list[str]:
        """The text of each prompt, token by token; "" without a tokenizer."""
        return ["".join(found.text for found in row) for row in self.prompts]

    @property
    def complete(self) -> list[bool]:
        """For each prompt, whether every position has its token."""
        return [len(row) == length for row, length in zip(self.tokens, self.lengths, strict=True)]

    def to_frame(self) -> pd.DataFrame:
        """One row for each position. Raises MissingError without pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingError("a table of what was recovered needs pandas: pip install pandas") from error
        return pd.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in self._list_rows()])

    def _list_rows(self) -> list[tuple[Any, ...]]:
        return [
            (number, position, one.token, one.text, one.distance, one.runner_up, one.noise, one.checks)
            for number, row in enumerate(self.prompts)
            for position, one in enumerate(row)
        ]

    def __repr__(self) -> str:
        found, asked = sum(map(len, self.tokens)), sum(self.lengths)
        whole = f"{sum(self.complete)} of {len(self.lengths)} prompts whole, {found} of {asked} tokens"
        shown = self.texts[0] if any(self.texts) else str(self.tokens[0])
        return f"Recovered: {whole}\n{shown if len(shown) <= 100 else shown[:99] + '…'}"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(_show(cell))}</td>" for cell in row) + "</tr>" for row in self._list_rows()
        )
        title = escape(repr(self).partition("\n")[0])
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _show(cell: object) -> str:
    if cell is None:
        return "none"
    return format_number(cell) if isinstance(cell, float) else str(cell)


def recover(
    model: PreTrainedModel,
    activations: Tensor | Sequence[Tensor],
    *,
    blocks: int | str,
    head: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
    iterations: int = 100,
    step: float | None = None,
) -> RecoveredPrompts:
    """The tokens of prompts, found from their activations alone, each of them checked by a forward pass.

    model: a decoder-only language model of transformers, on any device. It is left as it was.
    activations: what its first `blocks` blocks put out, as it computed them: [tokens, d_model] of one prompt,
    [prompts, tokens, d_model], or one tensor for each prompt. With `head`, logits in place of hidden states.
    blocks: a number, or 'all' for all of them with the norm behind them. tokenizer: gives the tokens' texts.
    iterations, step: of each descent that guesses; a step of None is tuned on random tokens first.
    Raises UsageError for a number of blocks that no stack has, SubjectError for a model that is no decoder, ShapeError
    for activations of another shape. Source: Nikolaou et al. 2025 (arXiv 2510.15511); claims A01 and A02.
    """
    from engine.experiments.recovery.own_model import search_own_model

    stack = _make_stack(blocks, head=head)
    single = getattr(activations, "ndim", 0) == 2
    rows: list[Any] = [activations] if single else list(activations)
    if not rows:
        expected, remedy = "activations of a prompt", "pass a tensor [tokens, d_model]"
        raise UsageError(explain(who="recover", got="no activations", expected=expected, remedy=remedy))
    found = search_own_model(model, rows, stack, iterations=iterations, step=step)
    return RecoveredPrompts(
        prompts=tuple(
            tuple(
                RecoveredToken(
                    token=match.token,
                    text="" if tokenizer is None or match.token is None else str(tokenizer.decode([match.token])),
                    same=match.same,
                    distance=match.distance,
                    runner_up=match.runner_up,
                    noise=found.epsilons[position],
                    checks=match.checks,
                )
                for position, match in enumerate(row)
            )
            for row in found.matches
        ),
        lengths=tuple(len(row) for row in rows),
        step=found.step,
    )


def _make_stack(blocks: int | str, *, head: bool) -> Stack:
    if blocks == "all":
        return WHOLE if head else Stack(blocks="all", final_norm=True)
    if not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 1:
        remedy = "say how many blocks the activations come from"
        raise UsageError(explain(who="recover", got=f"blocks={blocks!r}", expected="1, 2, … or 'all'", remedy=remedy))
    return Stack(blocks=blocks, head=head)
