"""From an arm of noise to its result on tiny models: the same as a loop over the library's forward pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.arms.costs import CPU, CostModel, Size
from engine.arms.protocol import DIRECT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import DeclarationError
from engine.experiments.measure_arm import measure_arm
from engine.experiments.recovery.arm import MarginArm, MarginResult, NoiseArm, NoiseResult
from engine.experiments.recovery.noise import draw_directions
from engine.methods.activation_distance import round_to_bits, round_to_int8
from engine.methods.noisy_activations import NoisyPosition, decode_under_noise
from engine.tests.arms.test_golden import GoldenModels

UNITS = (Unit(prompt="a cat", seed=0), Unit(prompt="a b c d", seed=1), Unit(prompt="sun", seed=2))
SETTINGS = StackSettings(subject="llama", source="tiny", stack=Stack(blocks=2), protocol=DIRECT, dtype="float64")
NOISES, BITS = (0.25, 0.45, 0.55, 2.0, 8.0), (8, 4, 2)
ARM = NoiseArm(settings=SETTINGS, units=UNITS, noises=NOISES, bits=BITS)


def measure(arm: NoiseArm = ARM) -> NoiseResult:
    result = measure_arm(arm, GoldenModels())
    assert isinstance(result, NoiseResult)
    return result


@pytest.fixture(name="plain", scope="module", params=["gpt2", "llama"])
def provide_plain(request: pytest.FixtureRequest) -> tuple[str, NoiseResult]:
    return request.param, measure(replace(ARM, settings=replace(SETTINGS, subject=request.param)))


def cdist(point: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    return torch.cdist(point[None], outputs, compute_mode="donot_use_mm_for_euclid_dist")[0]


def test_what_is_found_under_noise_is_what_a_literal_loop_finds(plain: tuple[str, NoiseResult]) -> None:
    family, result = plain
    model: Any = GoldenModels().model(family, "float64", "cpu")

    @torch.no_grad()
    def run_blocks(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, output_hidden_states=True).hidden_states[2]  # behind two of its three blocks

    assert [run.prompt for run in result.runs] == [unit.prompt for unit in UNITS]
    for unit, run in zip(UNITS, result.runs, strict=True):
        ids = torch.tensor([ord(letter) for letter in unit.prompt])
        assert run.target == tuple(ids.tolist())
        seen = run_blocks(ids[None])[0]
        directions = draw_directions(unit, seen)
        for t in range(len(ids)):
            tried = ids[: t + 1].repeat(result.vocab, 1)
            tried[:, t] = torch.arange(result.vocab)
            outputs, h = run_blocks(tried)[:, -1], seen[t]
            away = cdist(h, outputs)
            away[ids[t]] = torch.inf
            margin = away.min()
            assert run.runner_up[t] == int(away.argmin())
            assert run.margin[t] == pytest.approx(float(margin / h.norm()), rel=1e-9)
            assert run.own_distance[t] < 1e-12
            to_runner_up = (outputs[run.runner_up[t]] - h) / margin
            for k, noise in enumerate(NOISES):
                assert run.random[k][t] == int(cdist(h + noise * margin * directions[t], outputs).argmin())
                assert run.toward[k][t] == int(cdist(h + noise * margin * to_runner_up, outputs).argmin())
            for k, bits in enumerate(BITS):
                step = max(abs(number) for number in h.tolist()) / (2 ** (bits - 1) - 1)
                rounded = torch.tensor([step * round(number / step) for number in h.tolist()], dtype=h.dtype)
                assert run.rounded[k][t] == int(cdist(rounded, outputs).argmin())
                assert run.rounding[k][t] == pytest.approx(float((rounded - h).norm() / margin), rel=1e-9)


def test_below_half_a_margin_every_token_is_right_and_toward_the_nearest_none_is_above(
    plain: tuple[str, NoiseResult],
) -> None:
    """The triangle inequality, both ways; how many a random direction breaks is not its affair."""
    for run in plain[1].runs:
        for k, noise in enumerate(NOISES):
            right = [a == b for a, b in zip(run.toward[k], run.target, strict=True)]
            assert right == [noise < 0.5] * len(run.target)
            if noise < 0.5:
                assert run.random[k] == run.target
        for k in range(len(BITS)):
            for t, token in enumerate(run.target):
                assert run.rounded[k][t] == token or run.rounding[k][t] >= 0.5


def test_noise_of_many_margins_breaks_some_positions_and_two_bits_do(plain: tuple[str, NoiseResult]) -> None:
    runs = plain[1].runs
    assert any(run.random[-1] != run.target for run in runs)
    assert any(run.rounded[-1] != run.target for run in runs)


def test_margins_are_those_that_are_measured_alone() -> None:
    result = measure()
    margins = measure_arm(MarginArm(settings=SETTINGS, units=UNITS), GoldenModels())
    assert isinstance(margins, MarginResult)
    for run, one in zip(result.runs, margins.runs, strict=True):
        assert (run.target[one.position], run.runner_up[one.position]) == (one.token, one.runner_up)
        assert run.margin[one.position] == pytest.approx(one.runner_up_distance, rel=1e-9)


def test_only_the_first_tokens_are_measured_and_named() -> None:
    whole, cut = measure(), measure(replace(ARM, settings=replace(SETTINGS, first_tokens=3)))
    assert [len(run.target) for run in cut.runs] == [3, 3, 3]
    for run, other in zip(cut.runs, whole.runs, strict=True):
        assert run.margin == pytest.approx(other.margin[:3], rel=1e-9)
        named = {*run.target, *run.runner_up, *(i for rows in (run.random, run.toward, run.rounded) for i in rows[0])}
        assert named <= set(cut.texts)


def test_a_units_directions_have_length_one_and_are_its_own() -> None:
    rows = torch.zeros(4, 64)
    drawn = draw_directions(UNITS[0], rows)
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(4))
    assert torch.equal(drawn, draw_directions(UNITS[0], rows))
    assert not torch.equal(drawn, draw_directions(UNITS[1], rows))
    assert not torch.equal(drawn, draw_directions(replace(UNITS[0], seed=9), rows))
    assert len({tuple(row.tolist()) for row in drawn}) == 4


def decode(outputs: list[list[float]], hidden: list[float], *, equal_tokens: tuple[int, ...] = ()) -> NoisyPosition:
    """Token 0 under noise of 0.25 and 1.5 margins along the first axis."""
    direction = torch.tensor([1.0, 0.0])
    return decode_under_noise(
        *(torch.tensor(outputs), torch.tensor(hidden), direction),
        token=0,
        equal_tokens=equal_tokens,
        noises=(0.25, 1.5),
        bits=(2,),
    )


def test_a_position_is_decoded_as_by_hand() -> None:
    found = decode([[0.0, 4.0], [2.0, 4.0], [0.0, -1.0]], [0.0, 4.0])
    assert (float(found.margin), int(found.runner_up), float(found.own_distance)) == (2.0, 1, 0.0)
    assert (found.random.tolist(), found.toward.tolist()) == ([0, 1], [0, 1])
    # Two bits have the steps -1, 0 and 1 times 4: nothing is changed.
    assert (found.rounded.tolist(), found.rounding.tolist()) == ([0], [0.0])


def test_a_token_of_an_equal_row_is_neither_a_margin_nor_a_mistake() -> None:
    outputs = [[0.0, 4.0], [2.0, 4.0], [0.0, 4.0]]
    found = decode(outputs, [0.0, 4.0], equal_tokens=(2,))
    assert (float(found.margin), int(found.runner_up)) == (2.0, 1)
    assert found.random.tolist() == [0, 1]
    assert float(decode(outputs, [0.0, 4.0]).margin) == 0.0


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_rounding_leaves_so_many_numbers_and_the_largest(bits: int) -> None:
    hidden = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rounded = round_to_bits(hidden, bits)
    assert all(len(set(row.tolist())) <= 2**bits - 1 for row in rounded)
    torch.testing.assert_close(rounded.abs().amax(-1), hidden.abs().amax(-1))
    half = hidden.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1) / 2
    assert bool(((rounded - hidden).abs() <= half * (1 + 1e-12)).all())
    assert torch.equal(round_to_bits(hidden, 8), round_to_int8(hidden))


def test_logits_and_nets_are_refused_in_a_line() -> None:
    head = replace(SETTINGS, stack=Stack(blocks=1, head=True))
    with pytest.raises(DeclarationError, match="noise: got logits, expected hidden states; declare a stack without"):
        measure(replace(ARM, settings=head))
    with pytest.raises(DeclarationError, match="got a fully connected net, expected transformer blocks"):
        measure(replace(ARM, settings=replace(SETTINGS, stack=SentenceNet(tokens=3), first_tokens=3)))


def test_every_position_is_paid_for() -> None:
    size = Size(vocab=1000, d_model=64, blocks=2, block_weights=50_000, cached=64)
    costs = CostModel(machine=CPU, size=size)
    cut = replace(ARM, settings=replace(SETTINGS, first_tokens=5))
    both, one = cut.estimate_cost(costs), replace(cut, units=UNITS[:1]).estimate_cost(costs)
    # 2 × 5 positions of 1,000 candidates through two blocks, at least.
    assert both.seconds - one.seconds >= 10 * 1000 * 2 * 50_000 / CPU.products_per_s
    assert one.memory_bytes > 2 * 8 * 1000 * 64
