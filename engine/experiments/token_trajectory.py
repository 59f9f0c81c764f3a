"""The film of a descent or a walk: what its positions decode to on the way, and where the target stands among it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.records import CHOICES, Table

FILMED = 3
"""Units of an arm that are filmed."""


Row = tuple[str | int | float | None, ...]
Frame = tuple[int, Sequence[Sequence[int]]]
"""Steps taken so far, and the most activated tokens at each position."""


def film_rows(
    name: str, number: int, seed: int, target: Sequence[int], frames: Iterable[Frame], texts: Mapping[int, str]
) -> list[Row]:
    """A row for each frame and position. number: the unit's place among its arm's runs, from 1.

    The rank is found by id, as two ids can have one text.
    """
    return [
        (
            *(name, number, seed, steps, position, texts.get(wanted, "")),
            *(texts.get(i, "") for i in top[: len(CHOICES)]),
            *("",) * (len(CHOICES) - len(top)),
            list(top).index(wanted) + 1 if wanted in top[: len(CHOICES)] else None,
        )
        for steps, tops in frames
        for position, (wanted, top) in enumerate(zip(target, tops, strict=False), 1)
    ]


def film_table(rows: Sequence[Row], *, counted: str = "iteration") -> Table:
    """counted: what a frame's number counts."""
    return Table(
        title="Decoded tokens",
        columns=("arm", "run", "start seed", counted, "position", "target", *CHOICES, "rank"),
        rows=tuple(rows),
        note=f"The first {FILMED} units of each arm. rank: where the target stands among the five, by its id.",
        kind="film",
    )
