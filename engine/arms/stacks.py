"""The stack whose output is inverted: the first blocks of a model, or a fully connected net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Depth = int | Literal["all", "half"]
"""Number of blocks. A declaration may give it relative to the model's depth; an arm holds the number."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The first `blocks` transformer blocks, with or without the final norm and the language-model head."""

    tag: ClassVar[str] = "Stack"
    blocks: Depth
    head: bool = False
    final_norm: bool = False

    def count(self, depth: int) -> int:
        """Its number of blocks in a model of `depth` blocks."""
        if isinstance(self.blocks, int):
            return self.blocks
        return depth if self.blocks == "all" else depth // 2


WHOLE = Stack(blocks="all", head=True, final_norm=True)
"""The whole model, as its users run it."""


@dataclass(frozen=True, kw_only=True)
class SentenceNet:
    """A fully connected net over a whole sentence of n tokens: n·d → 4n·d → 4n·d, or → n·d when narrow.

    Source: the document's fully connected net (section 'Sentence Representation with Language Models').
    """

    tag: ClassVar[str] = "SentenceNet"
    tokens: int = 5
    narrow: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenNet:
    """A fully connected net applied to each token: d → 4d → d.

    d_model: None takes the subject's; any other size is fed random inputs of the subject's embedding scale.
    Source: the document's three-layer net that mimics a transformer's MLP.
    """

    tag: ClassVar[str] = "TokenNet"
    d_model: int | None = None
    seed: int = 0


Net = SentenceNet | TokenNet


AnyStack = Stack | SentenceNet | TokenNet


def describe_stack(stack: AnyStack) -> str:
    """A stack in a few words, for reports and progress lines."""
    if isinstance(stack, Stack):
        words = f"{stack.blocks} block{'s' if stack.blocks != 1 else ''}, {'head' if stack.head else 'no head'}"
        return words + (", final norm" if stack.final_norm else ", no final norm")
    if isinstance(stack, SentenceNet):
        return f"fully connected over {stack.tokens} tokens, {'narrow' if stack.narrow else 'wide'}"
    return f"fully connected over each token, d = {stack.d_model or 'd_model'}"
