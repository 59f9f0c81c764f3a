"""Tokens and a chart of distances in text: lined up, readable without colours, and safe on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from engine.commands.invert.summary import quote_words
from engine.commands.invert.view import (
    CHART_LABEL,
    CHART_ROWS,
    Match,
    Trajectory,
    compare_token,
    draw_chart,
    draw_prompt,
    draw_snapshot,
    show_token,
    write_snapshot,
)
from engine.experiments.inversion.arm import Snapshot

TEXTS = {0: "The", 1: " sky", 2: "\x1b[31m", 3: "[bold]", 4: "\n", 5: " considerably", 6: "天空", 7: "", 8: "\u202e"}
WRONG, KNOWN = 9, {**TEXTS, 9: "\n"}


def make_trajectory(count: int) -> Trajectory:
    target = tuple(k % len(TEXTS) for k in range(count))
    return Trajectory(target=target, decoded_target=target, slots=(0, 1, 10, 100), text=lambda i: KNOWN[i], bound=2.0)


def make_snapshot(trajectory: Trajectory, **changes: float) -> Snapshot:
    """The first token right, the second in the top five, the others neither."""
    tops = [
        (i, 90, 91, 92, 93) if k == 0 else (WRONG, i, 1) if k == 1 else (WRONG, 95)
        for k, i in enumerate(trajectory.target)
    ]
    plain = {"distance": 6.0, "l2": 1.5, "recovery": 0.0, **changes}
    return Snapshot(iteration=10, top=tuple(tops), **plain)


def draw(drawn: RenderableType, width: int) -> list[str]:
    """The lines that a terminal of this width shows, without trailing spaces."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    with console.capture() as capture:
        console.print(drawn)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize(
    ("top", "match"),
    [((5, 1), Match.RIGHT), ((1, 5), Match.NEAR), ((1, 2), Match.WRONG)],
    ids=["top", "near", "neither"],
)
def test_a_token_is_compared_by_its_place_among_the_most_activated(top: tuple[int, ...], match: Match) -> None:
    assert compare_token(5, top) is match


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


@pytest.mark.parametrize("width", [3, 20, 40, 80, 200])
@pytest.mark.parametrize("count", [2, 7, 40])
def test_a_table_fits_its_terminal_with_every_position_under_its_own(width: int, count: int) -> None:
    trajectory = make_trajectory(count)
    snapshot = make_snapshot(trajectory)
    head = draw(draw_prompt(trajectory, width), width)
    lines = draw(draw_snapshot(trajectory, snapshot, width), width)
    assert len(head) == len(lines)
    assert all(cell_len(line) <= width for line in (*head, *lines))
    shown = "".join(lines)
    if width >= 20:
        assert (shown.count("✓"), shown.count("~"), shown.count("×")) == (1, 1, count - 2)
    if width >= 80:  # every prompt's token begins one column behind the mark of what was decoded in its place
        marks = [(row, k) for row, line in enumerate(lines) for k, c in enumerate(spread(line)) if c in "✓~×"]
        texts = [show_token(trajectory.text(i), 12) for i in trajectory.target]
        assert all(
            "".join(spread(head[row]))[k + 1 :].startswith("".join(spread(text)))
            for (row, k), text in zip(marks, texts, strict=True)
        )


def spread(line: str) -> list[str]:
    """Characters by column: one of two columns is followed by an empty place."""
    return [c for character in line for c in ([character, "\0"] if cell_len(character) == 2 else [character])]


def test_a_prompt_that_fits_takes_one_line_and_a_longer_one_says_how_many_are_right() -> None:
    short, long = make_trajectory(4), make_trajectory(40)
    assert len(draw(draw_snapshot(short, make_snapshot(short), 100), 100)) == 1
    lines = draw(draw_snapshot(long, make_snapshot(long), 100), 100)
    assert len(lines) > 1
    assert lines[0].endswith("1 of 40 right")


def test_a_snapshot_in_a_log_is_one_line() -> None:
    trajectory = make_trajectory(9)
    line = write_snapshot(trajectory, make_snapshot(trajectory))
    assert line.isprintable()
    assert line.startswith("iteration  10         3 bounds  L²      1.5  1/9  ✓The ~\\n ×\\n")


def test_what_has_diverged_decodes_to_nothing() -> None:
    trajectory = make_trajectory(3)
    snapshot = make_snapshot(trajectory, l2=float("nan"), distance=float("inf"))
    assert write_snapshot(trajectory, snapshot).endswith("diverged")
    (line,) = draw(draw_snapshot(trajectory, snapshot, 80), 80)
    assert line.endswith("diverged")


def test_a_position_that_the_codec_misses_is_marked_in_the_prompt() -> None:
    trajectory = make_trajectory(3)
    trajectory.decoded_target = (0, 7, 2)
    (line,) = draw(draw_prompt(trajectory, 100), 100)
    assert line.count("!") == 1


def make_curve(curve: dict[int, float], slots: tuple[int, ...], hit: int | None) -> Trajectory:
    return Trajectory(target=(0,), decoded_target=(0,), slots=slots, text=str, bound=2.0, curve=curve, hit=hit)


def test_a_curve_has_the_bound_across_it_and_the_hit_under_its_column() -> None:
    # Two powers of ten above the bound and one below: four rows above, two below, half a power of ten each.
    slots = (0, 1, 2, 3, 10, 20)
    curve = {0: 200.0, 1: 20.0, 2: 2.1, 3: 0.6, 10: 0.2}
    lines = draw_chart(make_curve(curve, slots, 3), CHART_LABEL + 2 + len(slots)).plain.splitlines()
    assert len(lines) == CHART_ROWS + 2
    bound = next(k for k, line in enumerate(lines) if "bound" in line)
    assert bound == 4
    assert lines[bound].split()[1] == "───┄┄┄"
    assert [line[CHART_LABEL + 1] for line in lines[:4]] == ["█"] * 4
    assert [line[CHART_LABEL + 2 : CHART_LABEL + 3] for line in lines[:4]] == [" ", " ", "█", "█"]
    assert lines[0].split()[0] == "100×"
    assert lines[6].split()[0] == "0.1×"
    assert lines[7].index("▲") == CHART_LABEL + 1 + slots.index(3)
    assert "hit at 3" in lines[7]


@pytest.mark.parametrize(
    "curve",
    [{0: 5.0}, {0: 0.5, 1: 0.4}, {0: 5.0, 1: float("inf"), 2: float("nan")}, {0: 5.0, 1: 0.0}, {0: 2.0}],
    ids=["above", "below", "diverged", "zero", "at the bound"],
)
def test_a_curve_of_any_kind_has_its_rows(curve: dict[int, float]) -> None:
    for hit in (None, 0, 2):
        assert len(draw_chart(make_curve(curve, (0, 1, 2), hit), 80).plain.splitlines()) == CHART_ROWS + 2


def test_a_curve_before_its_first_point_is_empty() -> None:
    assert not draw_chart(make_curve({}, (0, 1), None), 80)


@pytest.mark.parametrize("word", ["plain", "it's", "a b", "$HOME `x`", "\x1b[31m", "tab\t'\\", "\u202eabc ü"])
def test_a_quoted_word_is_printable(word: str) -> None:
    assert quote_words([word]).isprintable()
