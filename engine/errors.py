"""Errors that name who complains, what it got, what it expected and the remedy, in one line."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class EngineError(Exception):
    """Anything the user can mend. Shown as one line without a traceback, with a non-zero exit."""


class UsageError(EngineError):
    """An option or name that the engine does not know."""


class SubjectError(EngineError):
    """A model that cannot be had as asked: damaged, tampered with, unsupported, too shallow."""


class TooShallowError(SubjectError):
    """A model with fewer blocks than a claim asks for. The claim does not apply to it: its item skips and says so."""


class MissingError(EngineError):
    """Weights, hardware or an extra that this machine lacks. Claims on it skip and say so."""


class PromptError(EngineError):
    """A prompt that an experiment cannot use: empty, too short, past the context."""


class TooLongError(PromptError):
    """A prompt past a model's context. An item whose prompt is the suite's own skips and says so."""


class ShapeError(EngineError):
    """A tensor whose shape or content does not fit what was asked of it."""


class LedgerError(EngineError):
    """A ledger or report folder that cannot be read or written."""


class DeclarationError(EngineError):
    """A claim, criterion, protocol or arm that contradicts itself."""


class EscapedError(EngineError):
    """What a library raised past every handler of errors: its own exit, or a panic of its compiled part."""

    @classmethod
    def of(cls, error: BaseException) -> EscapedError:
        got, expected = f"{type(error).__name__}: {error}", "a result or an error"
        return cls(explain(who="a library", got=got, expected=expected, remedy="try another model, prompt or option"))


@contextmanager
def no_exits() -> Generator[None]:
    """Let nothing but errors and interrupts out: an exit or a panic ends what it befell, never the session.

    Raises EscapedError for what else leaves.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EscapedError.of(error) from error


def explain_replaced(subject: str, *, got: str, expected: str) -> str:
    """Why nothing is measured on weights that are others than when the arm was asked for."""
    return explain(
        who=subject,
        got=f"files that were replaced while the session ran ({got})",
        expected=expected,
        remedy="leave a model's files alone while it is measured, and start again",
    )


def explain(*, who: str, got: object, expected: object, remedy: str) -> str:
    """One line in the order who, got, expected, remedy, with line breaks folded.

    What a terminal would obey or hide is shown as its escape: much of it is other people's text.
    """
    line = " ".join(f"{who}: got {got}, expected {expected}; {remedy}".split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def say_count(count: int, noun: str) -> str:
    """A number and what it counts: '1 item', '2 items', '20 locks that nobody holds'."""
    first, space, rest = noun.partition(" ")
    return f"{count:,} {first}{'' if count == 1 else 's'}{space}{rest}"
