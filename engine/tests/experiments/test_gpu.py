"""On a GPU: the CPU's numbers, the same twice, by every executor; elsewhere these skip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.arms.arm import Arm
from engine.arms.stacks import Stack
from engine.commands.gpu_check import main, on_device
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.ledger import Ledger
from engine.models import find_subject
from engine.models.devices import find_devices, to_device, visible_id
from engine.models.memory import dispatch, plan_layout
from engine.models.stacks import BlockStack
from engine.running.costs import GPU_CONTEXT_BYTES, gpu_bytes, host_bytes
from engine.running.executors.inline import Inline
from engine.running.executors.pool import Gpu, Pool
from engine.running.scheduler import NoProgress, Scheduler
from engine.tests.experiments.test_determinism import make_arms
from engine.tests.running.test_scheduler import asking
from engine.tests.tiny import FAMILIES, make_tiny
from engine.tests.tiny_models import make_gpt2, save

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: run it on a machine with one"),
]


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = make_gpt2(n_embd=192, n_head=4, n_positions=32, vocab_size=2048, initializer_range=0.1)
    return f"local:{save(tmp_path_factory.mktemp('wide'), model)}"


@pytest.fixture(name="arms", scope="module")
def provide_arms(subject: str) -> dict[str, Arm]:
    arms = make_arms(subject, find_subject(subject).fingerprint())
    return {name: on_device(arm, "cuda") for name, arm in arms.items() if "trained" not in name}


@pytest.fixture(name="inline")
def provide_inline() -> Inline:
    return Inline(gpus=find_devices("cuda").gpus)


def test_the_check_finds_the_installation_sound(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--subject", subject]) == 0, capsys.readouterr().out
    assert "This installation is sound" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in make_arms("", "") if "trained" not in name])
def test_an_arm_gives_the_same_numbers_twice(name: str, arms: dict[str, Arm]) -> None:
    found = [Inline(gpus=(0,)).run(arms[name]) for _ in range(3)]
    assert len({m.content() for m in found}) == 1
    assert found[0].provenance.device == "cuda"
    assert found[0].provenance.gpu == torch.cuda.get_device_name(0)
    assert found[0].provenance.tf32 is False
    assert found[0].gpu_s is not None
    assert 0 < found[0].gpu_s <= found[0].elapsed_s


def test_what_an_arm_takes_is_what_was_estimated(arms: dict[str, Arm], inline: Inline) -> None:
    for name, arm in arms.items():
        measured = inline.run(arm)
        assert measured.gpu_peak_bytes is not None
        assert measured.gpu_peak_bytes + GPU_CONTEXT_BYTES <= gpu_bytes(arm) + 1e8, name
        assert measured.peak_bytes is not None
        assert measured.peak_bytes <= host_bytes(arm), (name, measured.peak_bytes)


def test_a_pool_of_workers_on_one_gpu_gives_the_numbers_of_one_process(
    tmp_path: Path, arms: dict[str, Arm], inline: Inline
) -> None:
    asked = tuple(arms.values())
    job = asking(asked)
    gpus = [Gpu(name=visible_id(0), bytes=2e10)]
    Scheduler(
        Ledger(tmp_path), lambda: Pool(workers=2, threads=1, budget_bytes=5e10, gpus=gpus), progress=NoProgress()
    ).run([job])
    assert job.evidence is not None, job.error
    assert [m.content() for m in job.evidence.measurements] == [inline.run(arm).content() for arm in asked]


def test_an_arm_that_finds_no_memory_on_the_gpu_is_an_event_of_that_arm(
    tmp_path: Path, arms: dict[str, Arm], inline: Inline
) -> None:
    large = PseudoInverseArm(subject="none", source="none", matrix="random:60000x6000:rank=10:seed=1", device="cuda")
    jobs = [asking((large,)), asking((arms["round trip"],))]
    whole = torch.cuda.mem_get_info(0)[1]
    torch.cuda.set_per_process_memory_fraction(1e9 / whole)
    try:
        Scheduler(Ledger(tmp_path), lambda: inline, progress=NoProgress()).run(jobs)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "pseudo-inverse on none: got not enough memory" in str(jobs[0].error)
    assert jobs[1].evidence is not None, jobs[1].error


def test_products_stay_in_float32_where_the_user_allows_less(arms: dict[str, Arm]) -> None:
    arm = arms["inversion with head"]
    plain = Inline(gpus=(0,)).run(arm)
    torch.set_float32_matmul_precision("high")
    try:
        assert Inline(gpus=(0,)).run(arm).content() == plain.content()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_what_is_sent_arrives(dtype: torch.dtype | None) -> None:
    sent = torch.randn(1000, 1000)
    for _ in range(20):
        there = to_device(sent, torch.device("cuda"), dtype)
        assert there.dtype == (dtype or sent.dtype)
        assert torch.equal(there.cpu(), sent.to(dtype))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_is_spread_gives_the_numbers_of_one_that_is_not(family: str) -> None:
    """One GPU stands for two: later blocks' weights stay with the host, and hooks fetch them."""
    plain = make_tiny(family, dtype=torch.float64).to("cuda")
    other = make_tiny(family, dtype=torch.float64)
    size = sum(p.numel() * p.element_size() for p in other.parameters())
    layout = plan_layout(other, (0, 1), lambda gpu: 1.2 * size)
    assert layout is not None
    assert set(layout.values()) == {0, 1}
    placed = dispatch(other, {name: "cpu" if gpu == 1 else gpu for name, gpu in layout.items()}, main_device=0)
    embeddings = torch.randn(2, 5, plain.config.hidden_size, dtype=torch.float64, device="cuda")
    for stack in (Stack(blocks=1), Stack(blocks="all"), Stack(blocks="all", head=True, final_norm=True)):
        found: list[torch.Tensor] = []
        for model in (plain, placed):
            inputs = embeddings.clone().requires_grad_()
            output = BlockStack(model, stack, "true")(inputs)
            output.square().sum().backward()
            assert inputs.grad is not None
            found += [output.detach(), inputs.grad]
        torch.testing.assert_close(found[2:], found[:2])
