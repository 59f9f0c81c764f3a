"""Numbers and other people's text, made fit to read: rounded, cut, and with nothing invisible left in it."""

from __future__ import annotations

import math
import re
import unicodedata

from markupsafe import Markup, escape

CUT_AT = 400
"""Characters of a text that are shown before it is cut."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKDOWN = re.compile(r"[\\|`*~]|\b_|_\b|](?=\()|\[(?=\^)")
_LIVE = re.compile(r"@|#(?=\w)|\bGH-(?=\d)|:(?=//|[\w+-]+:)|\bwww(?=\.)", re.IGNORECASE)
"""Where GitHub finds a name to tell, an issue to name, an address or an emoji in text, escaped or not."""

_COMMIT = re.compile(r"\b[0-9a-f]{7,}\b", re.IGNORECASE)
_SHORT_OF_A_COMMIT = re.compile(r".{6}(?=.)")
_APART = "&#8203;"
"""A space of no width."""

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_number(value: float | None, digits: int = 4) -> str:
    """As many significant digits, more where those would pass for a rounder number: 0.99998 never reads 1.

    None and NaN are a dash, infinities their sign.
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
        # What a share lacks of one is what it says: two digits of that, not four of the nines.
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
    """'148 [92, 251]', the interval left out where there is none or where an exhaustive count needs none."""
    if low is None or high is None or low == high == value:
        return format_number(value)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"


def format_percent(share: float | None) -> str:
    """'4.95 %': a share of one with two decimals at most, more where those would pass for none or for all."""
    if share is None:
        return "—"
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return f"{text if text not in ('0', '100') else format_number(100 * share)} %"


def format_duration(seconds: float) -> str:
    """'41 s', and from two minutes on '192.4 s (3.2 min)'; hours from two hours on."""
    text = f"{format_number(seconds)} s"
    if not math.isfinite(seconds) or seconds < 120:
        return text
    return f"{text} ({seconds / 60:.1f} min)" if seconds < 7200 else f"{text} ({seconds / 3600:.1f} h)"


def is_invisible(character: str) -> bool:
    """Whether it acts on the page without being seen: controls, bidi and zero-width marks, surrogates."""
    return unicodedata.category(character) in _INVISIBLE


def name_escape(character: str) -> str:
    """The escape that a reader sees instead: '\\n', '\\u202e', '\\U000e0001'."""
    code = ord(character)
    long = f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return _SHORT_ESCAPES.get(character, long)


def cut(text: str, limit: int = CUT_AT) -> tuple[str, str]:
    """The text up to `limit`, and a remark on the full length where something was left off ('' otherwise)."""
    if len(text) <= limit:
        return text, ""
    return text[:limit], f"… (cut; {len(text)} characters in all)"


def write_plain(text: str, limit: int = CUT_AT) -> str:
    """Visible text without markup, for titles and attributes; the template escapes it."""
    head, remark = cut(text, limit)
    return "".join(name_escape(c) if is_invisible(c) else c for c in head) + remark


def write_html(text: str, limit: int = CUT_AT, *, lines: bool = False) -> Markup:
    """Markup of a text that cannot act: escaped, cut, invisible characters as marked escapes.

    lines: keep line breaks, for blocks that are preformatted.
    """
    head, remark = cut(text, limit)
    if not remark and head.isascii() and head.isprintable():
        return escape(head)  # most of a report: nothing in it can hide
    shown = Markup().join(_write_character(c, lines=lines) for c in head)
    if any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in head):
        shown = Markup("<bdi>{}</bdi>").format(shown)
    return shown + Markup('<span class="cut">{}</span>').format(remark) if remark else shown


def _write_character(character: str, *, lines: bool) -> Markup:
    if not is_invisible(character) or (lines and character == "\n"):
        return escape(character)
    return Markup('<span class="esc">{}</span>').format(name_escape(character))


def write_markdown_cell(text: str, limit: int = 240, *, commits: bool = False) -> str:
    """One cell of a GitHub table: no markup, no line break, no cell border of its own, and nothing that calls.

    GitHub looks for mentions, issues, commits and addresses in the text that Markdown leaves: no backslash stops it,
    but a space of no width within does, and a dollar sign in an element of its own begins no formula. commits: whether
    their names stay whole, and so lead to them.
    """
    escaped = _MARKDOWN.sub(r"\\\g<0>", write_plain(text, limit))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    apart = _LIVE.sub(rf"\g<0>{_APART}", escaped)
    if not commits:
        apart = _COMMIT.sub(lambda name: _SHORT_OF_A_COMMIT.sub(rf"\g<0>{_APART}", name[0]), apart)
    return apart.replace("$", "<span>&#36;</span>")


def shorten(text: str, limit: int = 40) -> str:
    """The text in quotes, cut so that a whole page does not land in an error message."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def is_text(text: str) -> bool:
    """Whether it can be written down: bytes from the system that are not UTF-8 come as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


LONGEST_CAUSE = 160
