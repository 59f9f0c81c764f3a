"""Formats numbers and durations, and makes text from files and users safe to show."""

from __future__ import annotations

import math
import re
import unicodedata

from markupsafe import Markup, escape

CUT_AT = 400
"""Characters of a text that are shown by default."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKDOWN = re.compile(r"[\\|`*~]|\b_|_\b|](?=\()|\[(?=\^)")
_LIVE = re.compile(r"@|#(?=\w)|\bGH-(?=\d)|:(?=//|[\w+-]+:)|\bwww(?=\.)", re.IGNORECASE)
"""Where GitHub finds a mention, an issue, an address or an emoji in text, escaped or not."""

_COMMIT = re.compile(r"\b(?!(?<=\d\.)\d+\b)[0-9a-f]{7,}\b", re.IGNORECASE)
"""Seven digits or more of a commit's name. The decimals of a number, as in 0.0007937, are none."""

_SHORT_OF_A_COMMIT = re.compile(r".{6}(?=.)")
_APART = "&#8203;"
"""A zero-width space."""

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, or more if it would look rounder than it is: 0.99998 never reads 1.

    None and NaN are a dash.
    """
    if value is None or math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if 1e4 <= abs(value) < 1e6:
        return f"{value:.0f}"
    if 0.99 < abs(value) < 1:
        # A share just below one is told by its distance from one: two digits of that.
        decimals = 1 - math.floor(math.log10(1 - abs(value)))
        return f"{value:.{decimals}f}".rstrip("0")
    return _shorten_exponent(_round(value, digits))


def _round(value: float, fewest: int) -> str:
    for digits in range(fewest, 13):
        text = f"{value:.{digits}g}"
        mantissa = text.split("e")[0].replace(".", "").lstrip("-0").rstrip("0")
        if len(mantissa) > 2 or math.isclose(float(text), value, rel_tol=1e-12):
            return text
    return repr(value)


def _shorten_exponent(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def format_interval(value: float | None, low: float | None, high: float | None) -> str:
    """'148 [92, 251]', without the interval if there is none, or if a value was counted exactly."""
    if low is None or high is None or low == high == value:
        return format_number(value)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"


def format_percent(share: float | None) -> str:
    """'4.95 %': a share with up to two decimals, or more if it would read 0 % or 100 %."""
    if share is None:
        return "—"
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return f"{text if text not in ('0', '100') else format_number(100 * share)} %"


def format_duration(seconds: float) -> str:
    """'41 s'; from two minutes '192.4 s (3.2 min)', from two hours with hours."""
    text = f"{format_number(seconds)} s"
    if not math.isfinite(seconds) or seconds < 120:
        return text
    return f"{text} ({seconds / 60:.1f} min)" if seconds < 7200 else f"{text} ({seconds / 3600:.1f} h)"


def is_invisible(character: str) -> bool:
    """Whether it is a control, bidi or zero-width mark, or a surrogate, which acts without being seen."""
    return unicodedata.category(character) in _INVISIBLE


def name_escape(character: str) -> str:
    """The escape that is shown instead: '\\n', '\\u202e', '\\U000e0001'."""
    code = ord(character)
    long = f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return _SHORT_ESCAPES.get(character, long)


def cut(text: str, limit: int = CUT_AT) -> tuple[str, str]:
    """The text up to `limit`, and a remark on its full length if it was cut (else '')."""
    if len(text) <= limit:
        return text, ""
    return text[:limit], f"… (cut; {len(text)} characters in all)"


def write_plain(text: str, limit: int = CUT_AT) -> str:
    """Visible plain text, for titles and attributes, which the template escapes."""
    head, remark = cut(text, limit)
    return "".join(name_escape(c) if is_invisible(c) else c for c in head) + remark


def write_html(text: str, limit: int = CUT_AT, *, lines: bool = False) -> Markup:
    """Safe markup of a text: escaped, cut, with invisible characters as marked escapes.

    lines: keep line breaks, for preformatted blocks.
    """
    head, remark = cut(text, limit)
    if not remark and head.isascii() and head.isprintable():
        return escape(head)  # most of a report: printable ASCII hides nothing
    shown = Markup().join(_write_character(c, lines=lines) for c in head)
    if any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in head):
        shown = Markup("<bdi>{}</bdi>").format(shown)
    return shown + Markup('<span class="cut">{}</span>').format(remark) if remark else shown


def _write_character(character: str, *, lines: bool) -> Markup:
    if not is_invisible(character) or (lines and character == "\n"):
        return escape(character)
    return Markup('<span class="esc">{}</span>').format(name_escape(character))


def write_markdown_cell(text: str, limit: int = 240, *, commits: bool = False) -> str:
    """A cell of a GitHub table, without markup, line breaks, cell borders, mentions or links.

    GitHub looks for mentions, issues, commits and addresses in the rendered text, where no backslash stops it, but a
    zero-width space does. A dollar sign in its own element starts no formula. commits: leave commits whole, as links.
    """
    escaped = _MARKDOWN.sub(r"\\\g<0>", write_plain(text, limit))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    apart = _LIVE.sub(rf"\g<0>{_APART}", escaped)
    if not commits:
        apart = _COMMIT.sub(lambda name: _SHORT_OF_A_COMMIT.sub(rf"\g<0>{_APART}", name[0]), apart)
    return apart.replace("$", "<span>&#36;</span>")


def shorten(text: str, limit: int = 40) -> str:
    """The text in quotes, cut to fit into an error message."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def is_text(text: str) -> bool:
    """Whether it can be encoded: bytes from the system that are not UTF-8 come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def duration(seconds: float) -> str:
    """Whole seconds in words: '41 s', '3 min 12 s', '2 h 5 min'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


LONGEST_CAUSE = 160
