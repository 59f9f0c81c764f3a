"""Numbers and what they count agree, and so do an article and the name behind it."""

from __future__ import annotations

import pytest

from engine.errors import say_count


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "item", "0 items"),
        (1, "item", "1 item"),
        (12_000, "arm", "12,000 arms"),
        (1, "lock that nobody holds", "1 lock that nobody holds"),
        (20, "lock that nobody holds", "20 locks that nobody holds"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, noun: str, expected: str) -> None:
    assert say_count(count, noun) == expected
