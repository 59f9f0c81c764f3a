"""Errors in one line: who complains, what it got, what it expected, and the remedy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class EngineError(Exception):
    """An error that the user can fix. It is shown as one line, without a traceback, and with a non-zero exit."""


class UsageError(EngineError):
    """An option or name that the engine does not know."""


class SubjectError(EngineError):
    """A model that cannot be used: damaged, tampered with, unsupported, too shallow."""


class InapplicableError(SubjectError):
    """A model that a claim or a protocol cannot be asked of. The item skips."""


class TooShallowError(InapplicableError):
    """A model with fewer blocks than a claim needs."""


class MissingError(EngineError):
    """Weights, hardware or an extra that this machine lacks. Items that need it skip."""


class PromptError(EngineError):
    """A prompt that an experiment cannot use: empty, too short, past the context."""


class TooLongError(PromptError):
    """A prompt past a model's context. An item skips if the prompt is the suite's own."""


class ShapeError(EngineError):
    """A tensor with the wrong shape, or with numbers that are not finite."""


class LedgerError(EngineError):
    """A ledger or report folder that cannot be read or written."""


class DeclarationError(EngineError):
    """A claim, criterion, protocol or arm that contradicts itself."""


class EscapedError(EngineError):
    """A library called exit, or its compiled part panicked, which ordinary handlers of errors do not catch."""

    @classmethod
    def of(cls, error: BaseException) -> EscapedError:
        got, expected = f"{type(error).__name__}: {error}", "a result or an error"
        return cls(explain(who="a library", got=got, expected=expected, remedy="try another model, prompt or option"))


@contextmanager
def no_exits() -> Generator[None]:
    """Turn a library's exit or panic into an EscapedError, so that it never ends the session."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EscapedError.of(error) from error


def explain_replaced(subject: str, *, got: str, expected: str) -> str:
    """The message for a model whose files changed after its arms were requested."""
    return explain(
        who=subject,
        got=f"files that were replaced while the session ran ({got})",
        expected=expected,
        remedy="leave a model's files alone while it is measured, and start again",
    )


def explain(*, who: str, got: object, expected: object, remedy: str) -> str:
    """One line: who, got, expected, remedy. Line breaks are folded.

    Control and invisible characters are escaped, since much of it is text from files and users.
    """
    line = " ".join(f"{who}: got {got}, expected {expected}; {remedy}".split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def say_count(count: int, noun: str) -> str:
    """A number and what it counts: '1 item', '2 items', '20 locks that nobody holds'."""
    first, space, rest = noun.partition(" ")
    return f"{count:,} {first}{'' if count == 1 else 's'}{space}{rest}"
