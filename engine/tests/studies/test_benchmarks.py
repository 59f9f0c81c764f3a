"""The benchmarks' ways do the same work, the floor is the engine's own products, and figures are kept as they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import LedgerError
from engine.models.pseudo_inverse import invert_gram
from engine.studies.bench import figures
from engine.studies.bench.alternation import alternate, take_ratio
from engine.studies.bench.contests import (
    Ways,
    descend_blocks,
    descend_wide_net,
    draw_weight,
    factorize,
    make_gpt2,
    scan_vocabulary,
    walk_blocks,
)
from engine.studies.bench.peak import watch
from engine.studies.bench.replay import PRODUCT, Listener
from engine.studies.bench.shares import classify, measure_shares
from engine.studies.bench.tables import Figures, list_contests, list_executors, list_growth, list_searches


def tiny(blocks: int) -> Any:
    return make_gpt2(blocks, vocab=61, n_embd=16, n_head=2, initializer_range=0.3)


SMALL: dict[str, Callable[[], Ways]] = {
    "1 block and head": lambda: descend_blocks(tiny(1), head=True, runs=3),
    "2 blocks": lambda: descend_blocks(tiny(2), head=False, runs=3),
    "wide net": lambda: descend_wide_net(12, width=8),
    "clamped walk": lambda: walk_blocks(tiny(2), walks=3),
}


def list_products(run: Callable[[], object]) -> Counter[tuple[int, int, int]]:
    """Sizes of every two-dimensional product; attention's own are not among them on every device.

    A product and its transpose are one: which is faster is the floor's to choose.
    """
    with Listener() as heard:
        run()
    sizes: Counter[tuple[int, int, int]] = Counter()
    for kind, (left, right, *_) in heard.steps:
        if kind == PRODUCT and len(left.sizes) == 2:
            rows, columns = sorted((left.sizes[0], right.sizes[1]))
            sizes[rows, left.sizes[1], columns] += 1
    return sizes


@pytest.mark.parametrize("prepare", SMALL.values(), ids=SMALL)
def test_the_engine_gives_the_literal_loops_numbers(prepare: Callable[[], Ways]) -> None:
    ways = prepare()
    # Three float32 steps of sums of some hundred terms.
    torch.testing.assert_close(ways.engine(), ways.literal(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prepare", SMALL.values(), ids=SMALL)
def test_the_floor_is_made_of_the_engines_products(prepare: Callable[[], Ways]) -> None:
    ways = prepare()
    assert list_products(ways.floor) == list_products(ways.engine)


@pytest.mark.parametrize("copies", [0, 5], ids=["full rank", "rank 11"])
def test_the_factor_gives_the_pseudo_inverses_coefficients(copies: int) -> None:
    weight = draw_weight(80, 16, copies=copies)
    assert invert_gram(weight).rank == 16 - copies
    ways = factorize(weight)
    torch.testing.assert_close(ways.engine(), ways.literal(), rtol=1e-3, atol=1e-5)


def test_both_scans_find_the_same_misses() -> None:
    # The first rows are halves of others, so they lose to them.
    weight = draw_weight(40, 8)
    weight[:5] = weight[10:15] / 2
    ways = scan_vocabulary(weight)
    assert set(range(5)) <= set(ways.engine().tolist())
    assert ways.engine().tolist() == ways.literal().tolist()


def test_half_of_the_scan_is_the_triangle_of_squares() -> None:
    assert list_products(scan_vocabulary(draw_weight(1200, 4)).floor) == {
        (512, 4, 512): 3,
        (176, 4, 512): 2,
        (176, 4, 176): 1,
    }


class _Plugin:
    """Stands in for the benchmark fixture: runs as it does, every round taking one second."""

    def __init__(self) -> None:
        self.stats: Any = self
        self.data: list[float] = []

    def pedantic(
        self, target: Callable[[], object], *, setup: Callable[[], None], rounds: int, warmup_rounds: int
    ) -> None:
        for _ in range(warmup_rounds + rounds):
            setup()
            target()
        self.data = [1.0] * rounds


def test_ways_take_turns_and_the_first_round_only_warms_up() -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    seconds = alternate(_Plugin(), ways, measured="b", rounds=2)
    assert calls == ["a", "c", "b"] * 3
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2, "c": 2}
    assert seconds["b"] == [1.0, 1.0]


def test_a_slow_round_does_not_move_the_ratio() -> None:
    assert take_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_memory_that_is_given_back_is_still_seen() -> None:
    assert watch(lambda: torch.ones(50_000_000).cumsum(0)[-1].item()) >= 190_000_000


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


def summarize(**changes: Any) -> dict[str, Any]:
    seconds = {"literal": [6.0, 6.0, 9.0], "engine": [2.0, 1.0, 1.5], "floor": [1.0, 1.0, 1.0]}
    plain: dict[str, Any] = {"faster_bar": 5, "floor_bar": 1.2, "peaks": {"literal": 1, "engine": 2, "floor": 0}}
    plain["shares"] = {"products": 0.7, "rest": 0.3}
    return Figures(title="work", seconds=seconds, run_steps=10, **(plain | changes)).summarize()


def test_a_contest_is_summed_up_by_medians() -> None:
    found = summarize()
    assert (found["literal_s"], found["engine_s"], found["floor_s"]) == (6.0, 1.5, 1.0)
    assert (found["times_as_fast_as_literal"], found["times_the_floor"]) == (6.0, 1.5)
    assert found["ms_a_run_step"] == 150.0


def test_a_missed_bar_is_marked_and_a_met_one_is_not() -> None:
    line = list(list_contests([summarize()]))[1]
    assert "≥ 5 " in line
    assert "≤ 1.2 ✗" in line


def test_work_without_a_bar_has_none_in_its_line() -> None:
    line = list(list_contests([summarize(faster_bar=None, floor_bar=None)]))[1]
    assert "≥" not in line
    assert "≤" not in line


def test_growth_is_a_line_of_sizes_and_costs() -> None:
    figures = {"axis": "runs", "around": "one block", "sizes": [1, 1000], "ms_a_run_step": [2.0, 0.5]}
    figures["floor_ms_a_run_step"] = [1.0, 0.25]
    line = "ms a run-step over runs (one block): 1: 2.00 (1.00)   1,000: 0.50 (0.25)"
    assert list(list_growth([figures])) == [line]


GROWTH: dict[str, Any] = {
    "axis": "runs",
    "around": "one block",
    "sizes": [1, 4],
    "ms_a_run_step": [2.0, 1.0],
    "floor_ms_a_run_step": [1.5, 0.5],
}


def save_run(folder: Path, *, load: float = 0.4) -> None:
    on = {"machine": "Linux, a CPU", "threads": 2, "load": load}
    noted = [{"contest": summarize(), "on": on}, {"growth": GROWTH, "on": on | {"load": 1.5}}, {"page_mb": 3}]
    run = {
        "machine_info": {"node": "somebodys-machine"},
        "datetime": "2026-02-14T10:00:00+00:00",
        "benchmarks": [{"name": "x", "extra_info": info} for info in noted],
    }
    (folder / "Linux").mkdir(parents=True)
    (folder / "Linux" / "0001_run.json").write_text(json.dumps(run))


def test_kept_figures_hold_contests_growth_and_the_machine_but_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path / "saved")
    monkeypatch.setattr(figures, "STORAGE", tmp_path / "saved")
    monkeypatch.setattr(figures, "KEPT", tmp_path / "bench.json")
    assert figures.keep_figures().endswith(": 1 contests, 1 lines of growth")
    text = (tmp_path / "bench.json").read_text(encoding="utf-8")
    kept = json.loads(text)
    assert kept["measured_on"] == "2026-02-14"
    assert (kept["machine"], kept["threads"], kept["largest_load"]) == ("Linux, a CPU", 2, 1.5)
    assert kept["contest"] == [summarize()]
    assert kept["growth"] == [GROWTH]
    assert (tmp_path / "bench.html").is_file()
    assert "somebodys-machine" not in text


def test_without_a_saved_run_there_is_nothing_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "STORAGE", tmp_path)
    with pytest.raises(LedgerError, match="run make bench first"):
        figures.keep_figures()


@pytest.mark.parametrize(("faster", "bar"), [(1.84, "≥ 1.5"), (1.2, "≥ 1.5 ✗")])
def test_a_pool_is_told_beside_one_process(faster: float, bar: str) -> None:
    figures = {"workers": 2, "arms": 8, "faster": faster, "bar": 1.5}
    line = f"8 arms of one thread: 2 workers {faster:.2f} × one process ({bar})"
    assert list(list_executors([figures])) == [line]


@pytest.mark.parametrize(("fewer", "bar"), [(812.4, "≥ 20"), (12.0, "≥ 20 ✗")])
def test_a_search_is_told_beside_a_blind_check(fewer: float, bar: str) -> None:
    figures = {"tokens": 7, "seconds_a_token": 0.412, "faster": 5.26, "fewer_checks": fewer, "bar": 20.0}
    line = f"full method, one prompt of 7 tokens: 0.41 s a token, 5.3 × a blind check, {fewer:.0f} × fewer candidates"
    assert list(list_searches([figures])) == [f"{line} ({bar})"]
