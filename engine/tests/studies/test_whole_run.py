"""A whole run's lower bound: its products are recorded, repeated bare, and added up by kind of work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.arms.measurement import Measurement
from engine.commands.bench import main
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.ledger import Ledger
from engine.running.executors.inline import Inline
from engine.studies.bench.cases import Variants, make_gpt2, prepare_block_descents, prepare_net_descents
from engine.studies.bench.product_replay import ATTENTION, ATTENTION_BACKWARD, PRODUCT, ProductRecorder, ProductReplay
from engine.studies.bench.whole_run import Remeasured, WorkKind, remeasure, sample_arms, write_table
from engine.tests.planted import make_inverse, make_measurement


def test_products_are_recorded_in_their_order_backward_ones_too() -> None:
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5)
    with ProductRecorder() as recorded:
        torch.addmm(torch.ones(5), torch.relu(x @ w) @ w.T, w).sum().backward()
    sizes = [tuple(view.sizes for view in views) for _, views in recorded.steps]
    there = [((3, 4), (4, 5)), ((3, 5), (5, 4)), ((3, 4), (4, 5))]
    back = [((3, 5), (5, 4)), ((3, 4), (4, 5)), ((3, 5), (5, 4))]
    assert sizes == there + back


def test_a_weight_is_read_where_it_lies_and_nothing_else_is() -> None:
    x, w = torch.randn(3, 4), torch.randn(6, 4)
    with ProductRecorder() as recorded:
        x @ w[1:5].T
    replay = ProductReplay(recorded, [w])
    (call,) = replay.calls
    left, right = call.args  # pyright: ignore[reportFunctionMemberAccess]
    assert torch.equal(right, w[1:5])
    assert right.data_ptr() == w[1:5].data_ptr()
    assert left.shape == x.shape
    assert left.data_ptr() != x.data_ptr()
    torch.testing.assert_close(call(), left @ right.T)


def test_operands_that_share_their_numbers_and_transposed_ones_keep_their_strides() -> None:
    stack = torch.randn(1, 3, 4).expand(2, -1, -1)
    with ProductRecorder() as recorded:
        torch.bmm(stack, torch.randn(2, 5, 4).mT)
    left, right = ProductReplay(recorded, ()).calls[0].args  # pyright: ignore[reportFunctionMemberAccess]
    assert left.stride() == stack.stride()
    assert right.stride() == (20, 1, 4)


def test_attention_is_two_products_and_four_backward() -> None:
    query, key, value = (torch.randn(2, 3, 7, 4, requires_grad=True) for _ in range(3))
    with ProductRecorder() as recorded:
        torch.nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()
    assert [kind for kind, _ in recorded.steps] == [ATTENTION, ATTENTION_BACKWARD]
    calls = ProductReplay(recorded, ()).calls
    sizes = Counter(tuple(call.keywords["out"].shape) for call in calls)  # pyright: ignore[reportFunctionMemberAccess]
    assert sizes == {(6, 7, 7): 2, (6, 7, 4): 4}


def test_factorizations_are_repeated_on_their_own_inputs() -> None:
    seen = torch.tensor([[4.0, 0.0], [0.0, 9.0]])
    with ProductRecorder() as recorded:
        torch.linalg.cholesky(seen)
        torch.linalg.cholesky(2 * seen)
        torch.linalg.svd(seen)
    calls = ProductReplay(recorded, ()).calls
    assert len(calls) == 3
    assert torch.equal(calls[0]()[0], torch.tensor([[2.0, 0.0], [0.0, 3.0]]))  # pyright: ignore[reportIndexIssue]


def count_multiplications(run: Callable[[], object]) -> int:
    """Of the products of two matrices, attention's aside."""
    with ProductRecorder() as recorded:
        run()
    pairs = [views[:2] for kind, views in recorded.steps if kind == PRODUCT and len(views[0].sizes) == 2]
    return sum(math.prod(left.sizes) * right.sizes[1] for left, right in pairs)


PREPARED = {
    "wide net": lambda: prepare_net_descents(5, width=8),
    "1 block and head": lambda: prepare_block_descents(make_gpt2(1, 61, n_embd=16, n_head=2), head=True, runs=3),
}


@pytest.mark.parametrize("prepare", PREPARED.values(), ids=PREPARED)
def test_a_descents_repeated_products_are_those_of_its_lower_bound(prepare: Callable[[], Variants]) -> None:
    variants = prepare()
    with ProductRecorder() as recorded:
        variants.engine()
    assert count_multiplications(ProductReplay(recorded, ())) == count_multiplications(variants.lower_bound) > 0


def make_timed(engine_s: float, bound_s: float, *, same: bool = True) -> Remeasured:
    return Remeasured(run_s=2 * engine_s, engine_s=(engine_s, engine_s), bound_s=(bound_s, bound_s), same=same)


def test_kinds_are_scaled_to_the_run_by_their_own_ratio_and_added_up() -> None:
    long = WorkKind(name="descents", arms=10, run_s=300, remeasured=(make_timed(20, 10), make_timed(10, 10)))
    short = WorkKind(name="words", arms=1, run_s=50, remeasured=(make_timed(5, 0, same=False),))
    assert long.times_bound == 1.5
    assert (long.bound_s, short.bound_s) == (200, 0)
    lines = write_table([long, short])
    assert lines[2] == "| descents | 10 | 300 | 200 | 1.50 | 2 |"
    assert lines[3] == "| words | 1 | 50 | 0 | – | 1 |"
    assert lines[4] == "| **all** | 11 | 350 | 200 | 1.75 | 3 |"
    assert "took 70 s in the run, loading included, and 35 s now" in lines[-1]
    assert "2 of them gave the numbers" in lines[-1]


def measured(*seconds: float) -> list[Measurement]:
    arms = [make_arm(k) for k in range(len(seconds))]
    made = [make_measurement(arm, make_inverse()) for arm in arms]
    return [replace(one, elapsed_s=s) for one, s in zip(made, seconds, strict=True)]


def make_arm(seed: int) -> PseudoInverseArm:
    return PseudoInverseArm(subject="none", source="none", matrix=f"random:1500x300:rank=50:seed={seed}")


def test_arms_are_chosen_evenly_over_their_times_more_where_the_kind_took_long() -> None:
    found = measured(5, 1, 3, 2, 4)
    assert [one.elapsed_s for one in sample_arms(found, every_s=100)] == [3]
    assert [one.elapsed_s for one in sample_arms(found, every_s=14)] == [2, 4]
    assert sorted(one.elapsed_s for one in sample_arms(found, every_s=1)) == [1, 2, 3, 4, 5]


def test_a_ledgers_arms_are_measured_again_beside_their_products(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, executor = Ledger(tmp_path), Inline(threads=1)
    for seed in range(2):
        ledger.put(executor.run(make_arm(seed)))
    assert main(["run", str(tmp_path), "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    name, arms, *figures = (cell.strip() for cell in lines[2].strip("|").split("|"))
    assert (name, arms, figures[-1]) == ("pseudo-inverse", "2", "1")
    assert float(figures[2]) > 1
    assert "1 of them gave the numbers in the ledger again" in lines[-1]


def test_a_measurement_that_comes_out_differently_is_counted(tmp_path: Path) -> None:
    stored = Inline(threads=1).run(make_arm(0))
    assert remeasure(stored).same
    assert not remeasure(replace(stored, result=make_inverse())).same


@pytest.mark.parametrize("made", [False, True], ids=["no folder", "empty"])
def test_a_ledger_without_measurements_is_refused_in_one_line(
    tmp_path: Path, made: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ledger"
    if made:
        Ledger(folder)
    assert main(["run", str(folder)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(("bench: got none in ", "ledger: got "))
    assert "expected" in line


def test_no_workers_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path), "--workers", "0"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "bench: got --workers 0, expected 1 or more; give as many as the run had"
