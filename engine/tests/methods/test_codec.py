"""Decoding through a d×d factor equals the explicit pseudo-inverse, and the round trip is exhaustive."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from engine.errors import ShapeError
from engine.methods.round_trip import _Bounds, find_round_trip_misses
from engine.models.codec import Codec
from engine.models.pseudo_inverse import invert_gram


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def deficient(rows: int, columns: int, rank: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    left = torch.randint(-3, 4, (rows, rank), generator=source)
    return (left @ torch.randint(-3, 4, (rank, columns), generator=source)).double()


MATRICES = {
    "full rank": draw(60, 12),
    "more columns than rows": draw(8, 20, seed=1),
    "rank deficient": deficient(60, 12, 5),
    "one direction": deficient(30, 6, 1),
    "badly scaled": draw(80, 10, seed=2) @ torch.diag(10.0 ** -torch.arange(10.0, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_coefficients_are_those_of_torchs_pseudo_inverse(name: str) -> None:
    weight = MATRICES[name]
    e = draw(4, 3, weight.shape[1], seed=3) @ weight.T @ weight  # in the row space, where both must agree
    expected = e @ torch.linalg.pinv(weight)
    found = Codec(weight).coefficients(e)
    # The inverse of a matrix of condition 1e9 errs by 1e9 · ε, and the factor squares W: twice that, and some room.
    tolerance = 1e-6 if name == "badly scaled" else 1e-12
    assert (found - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("name", MATRICES)
def test_the_rank_is_torchs(name: str) -> None:
    assert invert_gram(MATRICES[name]).rank == int(torch.linalg.matrix_rank(MATRICES[name]))


def test_the_condition_number_is_torchs() -> None:
    weight = MATRICES["badly scaled"]
    assert invert_gram(weight).condition == pytest.approx(float(torch.linalg.cond(weight)), rel=1e-5)


def test_top_gives_the_largest_coefficients_in_order() -> None:
    codec, e = Codec(draw(50, 8)), draw(2, 3, 8, seed=4)
    assert torch.equal(codec.top(e, 4), codec.coefficients(e).argsort(descending=True)[..., :4])
    assert torch.equal(codec.decode(e), codec.coefficients(e).argmax(-1))


def brute_misses(weight: torch.Tensor) -> dict[int, int]:
    """The full product and an argmax a row, as the document's listing has it."""
    scores = weight @ torch.linalg.pinv(weight)
    return {i: int(row.argmax()) for i, row in enumerate(scores) if row.max() > row[i] * (1 + 1e-12)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 90), st.integers(1, 12))
def test_the_round_trip_finds_exactly_the_rows_that_an_exhaustive_argmax_loses(seed: int, vocab: int, d: int) -> None:
    # Rows of very different size: small leverages lose to large ones.
    weight = draw(vocab, d, seed=seed) * (10 ** draw(vocab, 1, seed=seed + 1))
    # The factor squares W, so that coefficients, which are at most 1, err by ε κ²: nothing is promised where that is
    # no longer small.
    condition = float(torch.linalg.cond(weight))
    assume(torch.finfo(torch.float64).eps * condition**2 < 1e-6)
    found = {miss.id: miss.winner for miss in find_round_trip_misses(Codec(weight), rows=16)}
    assert found == brute_misses(weight)


def nearly_orthogonal(seed: int, twins: int) -> torch.Tensor:
    """96 rows that are almost orthogonal, and a somewhat longer twin of some of them: those lose to their twins."""
    rows = torch.linalg.qr(draw(96, 96, seed=seed)).Q + 0.01 * draw(96, 96, seed=seed + 1)
    return torch.cat([rows, 1.3 * rows[:twins] + 0.02 * draw(twins, 96, seed=seed + 2)])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 9), st.sampled_from([16, 40]))
def test_bounds_rule_out_no_loser(seed: int, twins: int, rows: int) -> None:
    weight = nearly_orthogonal(seed, twins)
    found = {miss.id: miss.winner for miss in find_round_trip_misses(Codec(weight), rows=rows)}
    assert found == brute_misses(weight)
    assert len(found) == twins


def test_bounds_leave_few_rows_to_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Bounds, "MOST_DOUBTFUL", 1.0)  # the last block has nothing but losers
    weight, rows = nearly_orthogonal(seed=0, twins=6), 32  # the twins end one block, those that lose are the next
    codec = Codec(weight)
    leverages = codec.leverages()
    order = leverages.argsort(descending=True, stable=True)
    bounds = _Bounds(codec, order, leverages[order])
    found = bounds.find_doubtful(96, rows)
    assert found is not None
    assert {int(order[96 + at]) for at in found} == set(range(6))
    before = [bounds.find_doubtful(first, rows) for first in (32, 64)]
    assert [doubtful is not None and len(doubtful) < 8 for doubtful in before] == [True, True]


def test_where_rounding_is_large_nothing_is_ruled_out() -> None:
    weight = (draw(80, 30) @ torch.diag(10.0 ** -torch.linspace(0, 9, 30, dtype=torch.float64))).float()
    codec, order = Codec(weight), torch.arange(80)
    assert _Bounds(codec, order, codec.leverages()).find_doubtful(16, 16) is None


def test_a_miss_is_only_ever_lost_to_a_row_of_larger_leverage() -> None:
    misses = find_round_trip_misses(
        Codec(
            draw(80, 4) * (10 ** draw(80, 1, seed=9)),
        ),
        rows=7,
    )
    assert misses
    assert all(miss.winner_leverage > miss.leverage for miss in misses)


@pytest.mark.parametrize("rows", [3, 16, 64])
def test_a_row_does_not_lose_to_its_equal(rows: int) -> None:
    once = draw(20, 7, dtype=torch.float32)
    weight = torch.cat([once, once, once[:9]])
    misses = find_round_trip_misses(Codec(weight), rows=rows)
    assert misses
    assert not any(torch.equal(weight[miss.id], weight[miss.winner]) for miss in misses)


def test_orthogonal_rows_all_come_back() -> None:
    assert find_round_trip_misses(Codec(torch.eye(9, dtype=torch.float64))) == []


def test_logits_in_place_of_embeddings_are_refused() -> None:
    with pytest.raises(ShapeError, match="last axis is 50, expected d_model=8; pass embeddings, not logits"):
        Codec(draw(50, 8)).decode(torch.zeros(1, 2, 50, dtype=torch.float64))
