"""`python -m engine gpu-check`: whether a GPU measures what the CPU beside it measures, and the same twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.arms.arm import (
    Arm,
    ClampedWalkArm,
    InversionArm,
    MarginArm,
    NextTokenArm,
    PseudoInverseArm,
    RoundTripArm,
    WalkChoice,
)
from engine.arms.prompts import SHORT
from engine.arms.protocol import CONTROLLED, PAGE
from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack, describe_stack
from engine.commands.command_line import Parser
from engine.commands.numeric_diff import bound_rounding, differences, read_numbers
from engine.errors import EngineError, UsageError, explain
from engine.models import find_subject
from engine.models.devices import Devices, check_device, find_devices
from engine.models.memory import free_bytes
from engine.running.costs import size_of
from engine.text import write_plain

if TYPE_CHECKING:
    from engine.arms.measurement import Measurement
    from engine.running.executors.inline import Inline

WHO = "gpu-check"
SUBJECTS = ("smollm2-135m", "gpt2-untrained")
"""Without a subject named: the first that is installed."""

UNITS = tuple(Unit(prompt=prompt, seed=k) for k, prompt in enumerate(SHORT[:3]))
STEPS = 3
"""Of a descent or walk in float64. In float32 a single one is compared: what follows amplifies its rounding."""

SOUND = "This installation is sound: the GPU measures what the CPU measures, and the same twice."
UNSOUND = "NOT SOUND: do not trust what this GPU measures; update its driver and torch, then check again."

DEEP = 4
"""Blocks of the deepest stack."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """An arm that is measured on both; tolerance: the share by which rounding may move its numbers."""

    name: str
    arm: Arm
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a probe came to. apart: largest difference as a share; where: its words. again: whether a GPU repeats it."""

    probe: Probe
    cpu: Measurement
    gpu: Measurement
    apart: float
    where: str
    again: bool

    @property
    def sound(self) -> bool:
        return self.again and self.apart <= self.probe.tolerance


def make_probes(subject: str) -> Iterator[Probe]:
    """One arm of every kind whose numbers both devices define. Singular vectors of equal values, which an orthogonal
    walk follows, are none, and a recovery is a descent's end and the margins' check, which are here.
    """
    from engine.models.stacks import FAMILIES  # torch is first imported here

    source, size = find_subject(subject).fingerprint(), size_of(subject)
    single = DescentSettings(
        subject=subject, source=source, stack=Stack(blocks=1, head=True), protocol=PAGE, iterations=1
    )
    double = replace(single, dtype="float64", iterations=STEPS)

    # The library turns rotary positions into angles in float32, whatever the precision of everything else.
    rotary = FAMILIES[find_subject(subject).family].positions is None

    def probe(arm: Arm, dtype: str, *, blocks: int = 0, steps: int = STEPS, name: str = "") -> Probe:
        weakest = "float32" if rotary and blocks else dtype
        tolerance = bound_rounding(weakest, steps=steps, blocks=max(1, blocks), longest=size.vocab)
        stack = (
            describe_stack(arm.settings.stack) if isinstance(arm, InversionArm | ClampedWalkArm | MarginArm) else name
        )
        return Probe(name=f"{arm.kind}: {stack}, {dtype}", arm=arm, tolerance=tolerance)

    def invert(settings: DescentSettings, step: float) -> InversionArm:
        return InversionArm(settings=settings, step=step, units=UNITS, read_at="N", batch=36)

    deep = replace(double, stack=Stack(blocks=min(DEEP, size.blocks)), protocol=CONTROLLED)
    net = replace(double, stack=SentenceNet(tokens=3), first_tokens=3)
    choice = WalkChoice(noise=0.1, step=0.5, outer=STEPS)
    yield probe(invert(single, 1e-4), "float32", blocks=1, steps=1)
    yield probe(invert(deep, 1e-3), "float64", blocks=DEEP)
    yield probe(invert(net, 1e-3), "float64")
    walked = StackSettings(subject=subject, source=source, stack=deep.stack, protocol=CONTROLLED, dtype="float64")
    yield probe(ClampedWalkArm(settings=walked, choices=(choice,), units=UNITS, inner=1), "float64", blocks=DEEP)
    yield probe(
        NextTokenArm(subject=subject, source=source, units=UNITS, draws=2, dtype="float64"),
        "float64",
        blocks=size.blocks,
        name="whole model",
    )
    yield probe(RoundTripArm(subject=subject, source=source), "float32", steps=1, name="whole vocabulary")
    one = StackSettings(subject=subject, source=source, stack=Stack(blocks=1), protocol=CONTROLLED)
    yield probe(MarginArm(settings=one, units=UNITS[:1]), "float32", blocks=1, steps=1)
    random = "random:400x80:rank=50:seed=1"
    yield probe(PseudoInverseArm(subject="none", source="none", matrix=random), "float64", name="random matrix")


def on_device(arm: Arm, device: str) -> Arm:
    """The same arm for another kind of device."""
    settings: Any = getattr(arm, "settings", None)
    changed: Any = {"device": device} if settings is None else {"settings": replace(settings, device=device)}
    return replace(arm, **changed)


def compare(probe: Probe, executors: Mapping[str, Inline]) -> Compared:
    """Measure a probe on the CPU and twice on the GPU."""
    cpu, gpu, again = (executors[d].run(on_device(probe.arm, d)) for d in ("cpu", "cuda", "cuda"))
    apart, where = max(differences(read_numbers(gpu), read_numbers(cpu)), default=(0.0, ""))
    return Compared(probe=probe, cpu=cpu, gpu=gpu, apart=apart, where=where, again=gpu.content() == again.content())


def check(subject: str, devices: Devices) -> bool:
    """Compare every probe and print what came out. Whether the installation is sound."""
    import torch

    from engine.running.executors.inline import Inline

    gpu = devices.gpus[0]
    free = free_bytes(f"cuda:{gpu}")
    print(f"{torch.cuda.get_device_name(gpu)}, {free / 2**30:.1f} GiB free; torch {torch.__version__}; {subject}\n")
    print(f"{'':<62}  {'CPU s':>7}  {'GPU s':>7}  {'apart':>8}  {'at most':>8}  twice the same")
    executors = {"cpu": Inline(), "cuda": Inline(gpus=devices.gpus)}
    found: list[Compared] = []
    for probe in make_probes(subject):
        found.append(compare(probe, executors))
        c = found[-1]
        times = f"{c.cpu.elapsed_s:7.2f}  {c.gpu.gpu_s or 0:7.2f}"
        repeats = "yes" if c.again else "NO"
        print(f"{probe.name:<62}  {times}  {c.apart:8.1e}  {probe.tolerance:8.1e}  {repeats}", flush=True)
    print()
    for c in found:
        if c.apart > c.probe.tolerance:
            words = f"the GPU's {c.where} on the CPU: {c.apart:.1e} apart, of which rounding explains"
            print(f"{c.probe.name}: {words} {c.probe.tolerance:.1e}")
        if not c.again:
            print(f"{c.probe.name}: the GPU did not give the same numbers twice")
    sound = all(c.sound for c in found)
    print(SOUND if sound else UNSOUND)
    return sound


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 for a sound installation, 1 for another, 4 where there is nothing to check, with one line."""
    parser = Parser(prog=f"lm-claims {WHO}", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", help="cuda, for every GPU, or cuda:N (default: cuda)")
    parser.add_argument("--subject", metavar="ID", help=f"(default: {' or '.join(SUBJECTS)}, what is installed)")
    chosen = parser.parse_args(arguments)
    try:
        devices = find_devices(check_device(chosen.device))
        if not devices.gpus:
            expected, remedy = "a GPU that torch sees", "install a driver and a CUDA build of torch"
            raise UsageError(explain(who=WHO, got=f"--device {chosen.device}", expected=expected, remedy=remedy))
        subject = chosen.subject or next((s for s in SUBJECTS if find_subject(s).missing() is None), SUBJECTS[0])
        find_subject(subject).require()
        sound = [check(subject, Devices(kind="cuda", gpus=(gpu,))) for gpu in devices.gpus]
        return 0 if all(sound) else 1
    except EngineError as error:
        print(write_plain(str(error), 2000), file=sys.stderr)
        return 4
