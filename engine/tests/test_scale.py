"""The simulated campaign: what any schedule must keep to, small ones worked out by hand, and the tables in docs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from engine.records import read_records
from engine.scale import assumptions
from engine.scale.rehearsal import rehearse_suite
from engine.scale.simulate import Order, chain_s, cut, deal_rows, simulate, simulate_slices
from engine.scale.tables import POOL, hours, run, tabulate
from engine.scale.workload import REFERENCE, Workload, draw, list_endings, plan
from engine.subjects.hub import HUB_SUBJECTS, HubSubject
from engine.subjects.untrained import Gpt2Pattern

DOC = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
FLEETS = (1, 2, 5, 16)


def make(
    rounds: tuple[tuple[tuple[int, ...], ...], ...],
    seconds: ArrayLike,
    *,
    models: ArrayLike | None = None,
    loading: ArrayLike = (0.0,),
    lost: ArrayLike | None = None,
    starting_s: float = 0.0,
) -> Workload:
    """A campaign without overhead unless it is asked for. Groups are models."""
    taken = np.array(seconds, dtype=float)
    held = np.zeros(len(taken), dtype=int) if models is None else np.array(models)
    return Workload(
        rounds=rounds,
        to_first_look=(1,) * len(rounds),
        groups=held,
        models=held,
        estimates=taken,
        seconds=taken,
        lost=np.zeros(len(taken)) if lost is None else np.array(lost, dtype=float),
        loading=np.array(loading, dtype=float),
        starting_s=starting_s,
    )


def make_random(seed: int, rows: int = 60) -> Workload:
    """Rows of one to four rounds on five models; one arm in five is another row's, too."""
    rng = np.random.default_rng(seed)
    rounds: list[tuple[tuple[int, ...], ...]] = []
    arms = 0
    for _ in range(rows):
        own: list[tuple[int, ...]] = []
        for _ in range(rng.integers(1, 5)):
            asked = tuple(range(arms, arms := arms + int(rng.integers(1, 4))))
            borrowed = (int(rng.integers(arms)),) if rng.random() < 0.2 else ()
            own.append((*asked, *(arm for arm in borrowed if arm not in asked)))
        rounds.append(tuple(own))
    return make(
        tuple(rounds),
        rng.exponential(10, arms),
        models=rng.integers(5, size=arms),
        loading=rng.exponential(5, 5),
        lost=np.where(rng.random(arms) < 0.05, 3.0, 0.0),
        starting_s=2.0,
    )


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("gpus", FLEETS)
def test_no_schedule_beats_the_bounds_or_holds_more_arms_than_gpus(gpus: int, order: Order) -> None:
    load = make_random(seed=1)
    found = simulate(load, gpus=gpus, order=order)
    assert found.makespan_s >= max(load.work_s / gpus, chain_s(load))
    assert found.most_at_once <= gpus


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("gpus", FLEETS)
def test_every_second_is_work_loading_loss_or_idleness(gpus: int, order: Order) -> None:
    found = simulate(make_random(seed=2), gpus=gpus, order=order)
    assert found.work_s + found.loading_s + found.lost_s <= gpus * found.makespan_s * (1 + 1e-12)
    if gpus == 1:  # which is never idle: whoever waits for a round has an arm under way
        assert found.work_s + found.loading_s + found.lost_s == pytest.approx(found.makespan_s)


def test_one_gpu_without_overhead_takes_the_sum_of_all_arms() -> None:
    load = make_random(seed=3)
    free = replace(load, loading=0 * load.loading, lost=0 * load.lost, starting_s=0.0)
    assert simulate(free, gpus=1).makespan_s == pytest.approx(load.work_s)


def test_a_round_waits_for_the_one_before_however_many_gpus_there_are() -> None:
    """3 s, then 5 and 2 side by side, then 4: 12 s; the other row's 10 s fit beside it."""
    load = make((((0,), (1, 2), (3,)), ((4,),)), [3, 5, 2, 4, 10])
    assert chain_s(load) == 12
    assert simulate(load, gpus=5).makespan_s == 12


def test_an_arm_that_two_rows_ask_for_is_measured_once() -> None:
    """The second row's arm of its last round is in by then: it ends with its own first arm."""
    load = make((((0,),), ((1,), (0,))), [5, 6])
    assert chain_s(load) == 6
    assert simulate(load, gpus=1).makespan_s == 11


def test_a_gpu_stays_with_its_model_only_where_arms_are_grouped() -> None:
    """By cost alone the arms alternate: 9 and 7 on one model, 8 and 6 on the other."""
    load = make((((0, 1, 2, 3),),), [9, 8, 7, 6], models=[0, 1, 0, 1], loading=[10, 10])
    assert simulate(load, gpus=1, order=Order.HOME).makespan_s == 30 + 2 * 10
    assert simulate(load, gpus=1, order=Order.ARM).makespan_s == 30 + 4 * 10


def test_the_costliest_group_is_another_one_as_soon_as_an_arm_is_begun() -> None:
    """16 against 14, then 7 against 14, then 7 against 6: three changes of model."""
    load = make((((0, 1, 2, 3),),), [9, 8, 7, 6], models=[0, 1, 0, 1], loading=[10, 10])
    assert simulate(load, gpus=1, order=Order.GROUP).loads == 4


def test_a_process_that_dies_costs_what_it_had_a_start_and_a_loading() -> None:
    load = make((((0,),),), [10], loading=[5], lost=[4], starting_s=3)
    found = simulate(load, gpus=1)
    assert found.makespan_s == (3 + 5) + 4 + (3 + 5) + 10
    assert found.lost_s == 4 + 3


def test_slices_measure_all_rows_between_them_and_shared_arms_once_each() -> None:
    load = make_random(seed=4)
    dealt = deal_rows(load, 4)
    parts = [cut(load, [row for row, k in enumerate(dealt) if k == number]) for number in (1, 2, 3, 4)]
    assert Counter(dealt).keys() == {1, 2, 3, 4}
    assert sum(len(part.rounds) for part in parts) == len(load.rounds)
    found = simulate_slices(load, gpus=4)
    assert found.makespan_s == max(simulate(part, gpus=1).makespan_s for part in parts)
    assert found.makespan_s >= load.work_s / 4


def test_equal_seeds_draw_equal_campaigns_and_others_do_not() -> None:
    first, again, other = (draw(plan(), seed=seed) for seed in (0, 0, 1))
    assert first.rounds == again.rounds
    assert np.array_equal(first.seconds, again.seconds)
    assert first.rounds != other.rounds


def test_a_rehearsal_asks_for_as_many_arms_as_the_reference_run_measured() -> None:
    """C12, page, ended at its second look: two tunings of two rounds, and two waves under each metric."""
    record = next(r for r in read_records(REFERENCE) if (r.claim, r.protocol) == ("C12", "page") and r.arms)
    row = next(r for r in rehearse_suite().rows if (r.claim, r.protocol) == ("C12", "page"))
    assert "look 2 of 3" in record.settings["units"]
    assert sum(map(len, row.before)) + len(row.first) + len(row.more) == len(record.arms)


def test_rows_end_after_whole_waves_or_where_their_sentence_says() -> None:
    counts = Counter(list_endings())
    assert set(counts) >= {12, 24, 36}
    assert counts[12] + counts[24] + counts[36] > 0.9 * counts.total()
    assert max(counts) <= assumptions.UNITS


@pytest.mark.parametrize("hub", HUB_SUBJECTS, ids=lambda hub: hub.id)
def test_a_catalogue_subject_has_the_size_that_its_configuration_gives(hub: HubSubject) -> None:
    assert isinstance(hub.twin.pattern, Gpt2Pattern)
    size = assumptions.GPT2[hub.id]
    assert {"n_layer": size.blocks, "n_embd": size.d_model}.items() <= hub.twin.pattern.sizes.items()


def test_subjects_are_forty_and_spread_up_to_the_largest() -> None:
    weights = sorted(size.weights for size in assumptions.list_sizes().values())
    assert len(weights) == assumptions.SUBJECTS
    assert weights[-1] == pytest.approx(assumptions.LARGEST, rel=0.05)


def test_the_doc_has_the_first_seed_within_its_range() -> None:
    """All tables take minutes (test below); one campaign on 64 GPUs takes seconds."""
    row = re.search(r"^\| 64 \| one queue, weights stay.*?\| [\d.]+ \[([\d.]+), ([\d.]+)\]", DOC, re.MULTILINE)
    assert row is not None
    assert float(row[1]) <= float(hours(run(POOL, 64, 0).makespan_s)) <= float(row[2])


@pytest.mark.slow
def test_the_docs_tables_are_what_the_command_prints() -> None:
    tables = re.search(r"<!-- scale tables: .*? -->\n(.*?)\n<!-- end of scale tables -->", DOC, re.DOTALL)
    assert tables is not None
    assert tables[1].strip() == tabulate().strip()
