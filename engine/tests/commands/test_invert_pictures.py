"""A film and a curve in text: lined up, readable without colours, and safe on a terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from engine.commands.invert.chart import LABEL, ROWS, draw_chart
from engine.commands.invert.summary import quote_words
from engine.commands.invert.token_view import (
    Film,
    Match,
    draw_frame,
    draw_target,
    judge,
    lay_out,
    show_token,
    write_frame,
)
from engine.experiments.inversion.arm import Snapshot

TEXTS = {0: "The", 1: " sky", 2: "\x1b[31m", 3: "[bold]", 4: "\n", 5: " considerably", 6: "天空", 7: "", 8: "\u202e"}
WRONG, KNOWN = 9, {**TEXTS, 9: "\n"}


def make_film(count: int) -> Film:
    target = tuple(k % len(TEXTS) for k in range(count))
    return Film(target=target, given_back=target, slots=(0, 1, 10, 100), text=lambda i: KNOWN[i], bound=2.0)


def make_frame(film: Film, **changes: float) -> Snapshot:
    """The first token right, the second in the top five, the others neither."""
    tops = [
        (i, 90, 91, 92, 93) if k == 0 else (WRONG, i, 1) if k == 1 else (WRONG, 95) for k, i in enumerate(film.target)
    ]
    plain = {"distance": 6.0, "l2": 1.5, "recovery": 0.0, **changes}
    return Snapshot(iteration=10, top=tuple(tops), **plain)


@pytest.mark.parametrize(
    ("top", "match"),
    [((5, 1), Match.RIGHT), ((1, 5), Match.NEAR), ((1, 2), Match.WRONG)],
    ids=["top", "near", "neither"],
)
def test_a_token_is_judged_by_its_place_among_the_most_activated(top: tuple[int, ...], match: Match) -> None:
    assert judge(5, top) is match


def test_every_match_has_a_mark_of_its_own() -> None:
    assert len({match.mark for match in Match}) == len({match.style for match in Match}) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" sky", "␣sky"),
        ("", "∅"),
        ("\x1b[31m", "\\u001b[31m"),
        ("\n", "\\n"),
        ("\u202e", "\\u202e"),
        ("\xa0", "\\u00a0"),
        ("[bold]", "[bold]"),
        (" considerably", "␣consider…"),
        ("天空天空天空", "天空天空…"),
    ],
)
def test_a_token_is_shown_so_that_it_cannot_act(text: str, shown: str) -> None:
    assert show_token(text, 10) == shown
    assert cell_len(show_token(text, 10)) <= 10


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("count", [2, 7, 40])
def test_a_film_fits_its_terminal_with_every_position_under_its_own(width: int, count: int) -> None:
    film = make_film(count)
    layout = lay_out(film, width)
    head, frame = draw_target(film, layout).plain.splitlines(), draw_frame(film, make_frame(film), layout).plain
    lines = frame.splitlines()
    assert len(head) == len(lines)
    shown = "".join(lines)
    assert (shown.count("✓"), shown.count("~"), shown.count("×")) == (1, 1, count - 2)
    # The numbers on the left alone may be cut by a terminal of twenty columns.
    assert all(cell_len(line.rstrip()) <= max(width, 31 if layout.beside else 46) for line in lines[:1])
    assert all(cell_len(line.rstrip()) <= width for line in lines[1:])


def test_a_film_that_fits_has_a_line_per_frame() -> None:
    film = make_film(4)
    assert len(draw_frame(film, make_frame(film), lay_out(film, 100)).plain.splitlines()) == 1


def test_a_frame_for_a_log_is_one_line() -> None:
    film = make_film(9)
    line = write_frame(film, make_frame(film))
    assert line.isprintable()
    assert line.startswith("iteration  10         3 bounds  L²      1.5  1/9  ✓The ~\\n ×\\n")


def test_what_has_diverged_decodes_to_nothing() -> None:
    film = make_film(3)
    frame = make_frame(film, l2=float("nan"), distance=float("inf"))
    assert write_frame(film, frame).endswith("diverged")
    assert draw_frame(film, frame, lay_out(film, 80)).plain.endswith("diverged")


def test_a_position_that_the_codec_misses_is_marked_in_the_prompt() -> None:
    film = make_film(3)
    film.given_back = (0, 7, 2)
    assert draw_target(film, lay_out(film, 100)).plain.count("!") == 1


def test_a_curve_has_the_bound_across_it_and_the_hit_under_its_column() -> None:
    # Two powers of ten above the bound and one below: four rows above, two below, half a power of ten each.
    slots = (0, 1, 2, 3, 10, 20)
    curve = {0: 200.0, 1: 20.0, 2: 2.1, 3: 0.6, 10: 0.2}
    lines = draw_chart(curve, 2.0, slots, 3, width=LABEL + 2 + len(slots)).plain.splitlines()
    assert len(lines) == ROWS + 2
    bound = next(k for k, line in enumerate(lines) if "bound" in line)
    assert bound == 4
    assert lines[bound].split()[1] == "───┄┄┄"
    assert [line[LABEL + 1] for line in lines[:4]] == ["█"] * 4
    assert [line[LABEL + 2 : LABEL + 3] for line in lines[:4]] == [" ", " ", "█", "█"]
    assert lines[0].split()[0] == "100×"
    assert lines[6].split()[0] == "0.1×"
    assert lines[7].index("▲") == LABEL + 1 + slots.index(3)
    assert "hit at 3" in lines[7]


@pytest.mark.parametrize(
    "curve",
    [{0: 5.0}, {0: 0.5, 1: 0.4}, {0: 5.0, 1: float("inf"), 2: float("nan")}, {0: 5.0, 1: 0.0}, {0: 2.0}],
    ids=["above", "below", "diverged", "zero", "at the bound"],
)
def test_a_curve_of_any_kind_has_its_rows(curve: dict[int, float]) -> None:
    for hit in (None, 0, 2):
        assert len(draw_chart(curve, 2.0, (0, 1, 2), hit, width=80).plain.splitlines()) == ROWS + 2


def test_a_curve_before_its_first_point_is_empty() -> None:
    assert not draw_chart({}, 2.0, (0, 1), None, width=80)


@pytest.mark.parametrize("word", ["plain", "it's", "a b", "$HOME `x`", "\x1b[31m", "tab\t'\\", "\u202eabc ü"])
def test_a_quoted_word_is_printable(word: str) -> None:
    assert quote_words([word]).isprintable()
