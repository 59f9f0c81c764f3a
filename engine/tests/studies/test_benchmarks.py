"""A case's variants do the same work, its lower bound is the engine's own products, and figures are kept and shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.commands.bench import main
from engine.errors import LedgerError
from engine.models.pseudo_inverse import invert_gram
from engine.studies.bench.cases import (
    Variants,
    draw_weight,
    make_gpt2,
    prepare_block_descents,
    prepare_block_walks,
    prepare_factorization,
    prepare_net_descents,
    prepare_round_trip,
)
from engine.studies.bench.interleaved import median_ratio, time_interleaved
from engine.studies.bench.peak_memory import watch_growth
from engine.studies.bench.product_replay import PRODUCT, ProductRecorder
from engine.studies.bench.profile import classify, measure_shares
from engine.studies.bench.results import KEPT, STORAGE, TABLE, Bench, keep_figures, read_bench, write_page
from engine.tests.kept_figures import make_bench, make_calibration

ROOT = Path(__file__).resolve().parents[3]


def tiny(blocks: int) -> Any:
    return make_gpt2(blocks, vocab=61, n_embd=16, n_head=2, initializer_range=0.3)


SMALL: dict[str, Callable[[], Variants]] = {
    "1 block and head": lambda: prepare_block_descents(tiny(1), head=True, runs=3),
    "2 blocks": lambda: prepare_block_descents(tiny(2), head=False, runs=3),
    "wide net": lambda: prepare_net_descents(12, width=8),
    "clamped walk": lambda: prepare_block_walks(tiny(2), walks=3),
}


def list_products(run: Callable[[], object]) -> Counter[tuple[int, int, int]]:
    """Sizes of every product of two matrices. Attention's are left out: not every device shows them.

    A product and its transpose count as one: the lower bound takes the faster of the two.
    """
    with ProductRecorder() as recorded:
        run()
    sizes: Counter[tuple[int, int, int]] = Counter()
    for kind, (left, right, *_) in recorded.steps:
        if kind == PRODUCT and len(left.sizes) == 2:
            rows, columns = sorted((left.sizes[0], right.sizes[1]))
            sizes[rows, left.sizes[1], columns] += 1
    return sizes


@pytest.mark.parametrize("prepare", SMALL.values(), ids=SMALL)
def test_the_engine_gives_the_references_numbers(prepare: Callable[[], Variants]) -> None:
    variants = prepare()
    # Three float32 steps of sums of some hundred terms.
    torch.testing.assert_close(variants.engine(), variants.reference(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prepare", SMALL.values(), ids=SMALL)
def test_the_lower_bound_consists_of_the_engines_products(prepare: Callable[[], Variants]) -> None:
    variants = prepare()
    assert list_products(variants.lower_bound) == list_products(variants.engine)


@pytest.mark.parametrize("copies", [0, 5], ids=["full rank", "rank 11"])
def test_the_factor_gives_the_pseudo_inverses_coefficients(copies: int) -> None:
    weight = draw_weight(80, 16, copies=copies)
    assert invert_gram(weight).rank == 16 - copies
    variants = prepare_factorization(weight)
    torch.testing.assert_close(variants.engine(), variants.reference(), rtol=1e-3, atol=1e-5)


def test_both_scans_find_the_same_misses() -> None:
    # The first rows are halves of others, so they lose to them.
    weight = draw_weight(40, 8)
    weight[:5] = weight[10:15] / 2
    variants = prepare_round_trip(weight)
    assert set(range(5)) <= set(variants.engine().tolist())
    assert variants.engine().tolist() == variants.reference().tolist()


def test_the_scans_lower_bound_is_the_triangle_of_squares() -> None:
    assert list_products(prepare_round_trip(draw_weight(1200, 4)).lower_bound) == {
        (512, 4, 512): 3,
        (176, 4, 512): 2,
        (176, 4, 176): 1,
    }


class _Plugin:
    """Stands in for the benchmark fixture: runs as it does, every round taking one second."""

    def __init__(self) -> None:
        self.stats: Any = self
        self.data: list[float] = []
        self.extra_info: dict[str, Any] = {}

    def pedantic(
        self, target: Callable[[], object], *, setup: Callable[[], None], rounds: int, warmup_rounds: int
    ) -> None:
        for _ in range(warmup_rounds + rounds):
            setup()
            target()
        self.data = [1.0] * rounds


def test_variants_take_turns_and_the_first_round_only_warms_up() -> None:
    calls: list[str] = []
    variants = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    seconds = time_interleaved(_Plugin(), variants, measured="b", rounds=2)
    assert calls == ["a", "c", "b"] * 3
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2, "c": 2}
    assert seconds["b"] == [1.0, 1.0]


def test_a_slow_round_does_not_move_the_ratio() -> None:
    assert median_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_memory_that_is_given_back_is_still_seen() -> None:
    assert watch_growth(lambda: torch.ones(50_000_000).cumsum(0)[-1].item()) >= 190_000_000


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("aten::addmm", "products"), ("aten::tanh", "activation"), ("aten::copy_", "elementwise and copies")],
)
def test_an_operation_is_filed_under_its_kind(operation: str, kind: str) -> None:
    assert classify(operation) == kind


def test_the_shares_of_products_are_products() -> None:
    left = torch.randn(900, 900)
    shares = measure_shares(lambda: [left @ left for _ in range(5)])
    assert shares["products"] > 0.5
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


ON = {"measured_on": "2026-02-14", "machine": "Linux, a CPU", "cores": 2, "threads": 2}
CASE, GROWTH, MEASURE = (make_bench()[name][0] for name in ("cases", "growth", "measures"))


def read(figures: dict[str, Any]) -> Bench:
    return Bench.model_validate(figures)


def find_row(bench: Bench, name: str) -> list[str]:
    """The cells of the last row of this name: a table's head may begin with it, too."""
    line = [line for line in write_page(bench).splitlines() if line.startswith(f"| {name} |")][-1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_case_is_a_row_of_the_page_with_its_bars_met_or_missed() -> None:
    met, missed = "≤ 1.3 ✓", "≥ 8 ✗"
    row = ["work", "6.1, 1.22, 1", "5.0", missed, "1.22", met, "12.2", "1, 2, 0", "80 %"]
    assert find_row(read(make_bench()), "work") == row


def test_work_without_bars_or_steps_has_none_in_its_row() -> None:
    row = find_row(read(make_bench(min_speedup=None, max_times_lower_bound=None, ms_per_run_step=1220)), "work")
    assert (row[3], row[5], row[6]) == ("", "", "")


def test_growth_is_a_row_of_sizes_and_costs() -> None:
    growth = GROWTH | {"sizes": [1, 1000], "reference_ms": [4.0, 3.5]}
    row = find_row(read(make_bench() | {"growth": [growth]}), "runs (one block)")
    assert row[1:] == ["1, 1,000", "4, 3.5", "2, 1", "1, 0.5"]


@pytest.mark.parametrize(
    ("measure", "cells"),
    [
        ({"value": 1.84, "at_least": 1.5}, ["1.84", "≥ 1.5 ✓"]),
        ({"value": 1.2, "at_least": 1.5}, ["1.2", "≥ 1.5 ✗"]),
        ({"value": 3.9, "at_most": 4}, ["3.9", "≤ 4 ✓"]),
        ({"value": 4.1, "at_most": 4}, ["4.1", "≤ 4 ✗"]),
        ({"value": 4.1}, ["4.1", ""]),
    ],
)
def test_a_single_figure_stands_beside_its_bar(measure: dict[str, float], cells: list[str]) -> None:
    assert find_row(read(make_bench() | {"measures": [{"title": "pool", **measure}]}), "pool")[1:] == cells


def test_a_bar_beyond_the_products_is_said_to_be_out_of_reach() -> None:
    words = "Even the bare products are only 6.1 times as fast as the reference, so 8 is out of reach here."
    assert f"- work: {words}" in write_page(read(make_bench()))


def test_a_bar_within_reach_is_beside_the_shares_of_the_engines_time() -> None:
    words = (
        "The engine is 5.0 times as fast as the reference instead of 6 times; the bare products are 6.1 times as fast."
    )
    spent = "Under the profiler it spends 80 % on products, 15 % on norm and 5 % on rest."
    assert f"- work: {words} {spent}" in write_page(read(make_bench(min_speedup=6)))


def test_a_missed_lower_bound_says_how_much_would_have_to_go() -> None:
    page = write_page(read(make_bench(max_times_lower_bound=1.1)))
    assert "120 of the 220 ms beside the products would have to go." in page


def test_where_every_bar_is_met_no_reason_is_given() -> None:
    assert "Missed bars" not in write_page(read(make_bench(min_speedup=4)))


def test_text_of_the_file_is_shown_and_does_not_act() -> None:
    hostile = "<script>alert(1)</script>|`x`"
    figures = make_bench(title=hostile, shares={hostile: 1.0}) | {"machine": hostile, "versions": {hostile: hostile}}
    figures["growth"] = [GROWTH | {"axis": hostile, "around": hostile}]
    figures["measures"] = [{"title": hostile, "value": 1}]
    page = write_page(read(figures))
    assert "<script" not in page
    assert "|`x`" not in page


def test_equal_figures_give_equal_pages() -> None:
    assert write_page(read(make_bench())) == write_page(read(make_bench()))


def test_the_committed_page_is_that_of_the_committed_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["table"]) == 0
    assert capsys.readouterr().out == TABLE.read_text(encoding="utf-8")


def save_run(root: Path, name: str, **machine: Any) -> None:
    """A run as pytest-benchmark saves it, with the machine's own figures under 'bench'."""
    saved = [{"case": CASE, "load": 0.4}, {"growth": GROWTH, "load": 1.5}, {"measures": [MEASURE]}, {}]
    run = {
        "machine_info": {"node": "somebodys-machine", **machine},
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "datetime": "2026-02-14T10:00:00+00:00",
        "benchmarks": [{"name": "x", "extra_info": info} for info in saved],
    }
    file = root / STORAGE / "Linux" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run))


def test_kept_figures_hold_the_run_and_the_machines_make_but_not_its_name(tmp_path: Path) -> None:
    save_run(tmp_path, "0001_run.json", bench={"machine": "Linux, a CPU", "cores": 2, "threads": 2})
    save_run(tmp_path, "0002_of_another_suite.json")
    assert keep_figures(tmp_path).endswith(": 1 cases, 1 lines of growth")
    kept = read_bench(tmp_path / KEPT)
    assert kept == read(make_bench() | {"commit": "0123456789abcdef", "dirty": True, "largest_load": 1.5, **ON})
    assert "somebodys-machine" not in (tmp_path / KEPT).read_text(encoding="utf-8")
    assert (tmp_path / TABLE).read_text(encoding="utf-8") == write_page(kept)


@pytest.mark.parametrize("saved", [False, True], ids=["nothing", "another suite's run"])
def test_without_a_saved_run_there_is_nothing_to_keep(tmp_path: Path, saved: bool) -> None:
    if saved:
        save_run(tmp_path, "0001_run.json")
    with pytest.raises(LedgerError, match="run make bench first"):
        keep_figures(tmp_path)


NAN = float("nan")


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param("no json", id="no json"),
        pytest.param("{}", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param(make_bench(engine_s=NAN), id="NaN"),
        pytest.param(make_bench(lower_bound_s=0), id="zero"),
        pytest.param(make_bench() | {"growth": [GROWTH | {"sizes": [4, 1]}]}, id="sizes that descend"),
        pytest.param(make_bench() | {"growth": [GROWTH | {"engine_ms": [1]}]}, id="a cost too few"),
        pytest.param(make_calibration(), id="the calibration's figures"),
        pytest.param(None, id="no file"),
    ],
)
def test_a_file_that_holds_no_such_figures_is_refused_in_one_line(
    figures: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    if figures is not None:
        file.write_text(figures if isinstance(figures, str) else json.dumps(figures), encoding="utf-8")
    assert main(["table", str(file)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: got {file}")
    assert "expected a bench.json file; make one with make bench figures" in line
