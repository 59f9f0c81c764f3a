"""The sentences that experiments run on, and the check that a prompt fits an experiment."""

from collections.abc import Sequence
from importlib.resources import files

from engine.errors import PromptError, TooLongError, explain, say_count
from engine.text import is_text, shorten


def read_sentences(name: str) -> tuple[str, ...]:
    """The sentences of a packaged file, one a line, in order."""
    text = (files("engine") / "data" / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


DOCUMENT = ("The sky is", "The sky is blue.", "This is a prompt sentence.")
"""The document's own three prompts."""

SHORT = read_sentences("prompts_short.txt")
"""36 further sentences, of 5 to 8 tokens each for GPT-2 and for SmolLM2."""

MORE = read_sentences("prompts_more.txt")
"""36 more, of 5 to 9 tokens each, for claims that take more than 36 units."""

LONG = read_sentences("prompts_long.txt")
"""20 further sentences, of 12 to 40 tokens each for GPT-2 and for SmolLM2."""


def check_prompt(
    text: str,
    ids: Sequence[int],
    *,
    context: int,
    needs: int = 2,
    vocab: int | None = None,
    dropped: str | None = None,
    who: str,
) -> None:
    """Refuse a prompt that an experiment cannot use.

    That is one that is blank, is no text, has fewer than `needs` tokens or more than the model's context, lost
    characters, or holds a token without a row in the model's embedding (such as one added to the tokenizer).
    ids: the tokens of `text`. vocab: rows of the embedding; None skips that check. dropped: the characters that became
    no token, in words. who: the subject or procedure that complains.
    Raises PromptError, or TooLongError past the context.
    """
    strange = [] if vocab is None else [i for i in ids if i >= vocab]
    if not text.strip():
        problem = ("an empty prompt", "a sentence", "pass some text with --prompt")
    elif not is_text(text):
        problem = ("a prompt with bytes that are not UTF-8", "text", "check the terminal's encoding")
    elif dropped is not None:
        got = f"{dropped}, which its tokenizer drops, in {shorten(text)}"
        problem = (got, "characters that it has tokens for", "leave them out of the prompt")
    elif len(ids) < needs:
        problem = (f"{say_count(len(ids), 'token')} in {shorten(text)}", f"at least {needs}", "use a longer prompt")
    elif len(ids) > context:
        problem = (f"{len(ids)} tokens in {shorten(text)}", f"at most {context}", "use a shorter prompt")
    elif strange:
        got = f"token {strange[0]}, which the model has no embedding of, in {shorten(text)}"
        problem = (got, f"tokens below {vocab}", "leave it out of the prompt")
    else:
        return
    got, expected, remedy = problem
    kind = TooLongError if len(ids) > context else PromptError
    raise kind(explain(who=who, got=got, expected=expected, remedy=remedy))
