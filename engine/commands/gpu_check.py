"""`lm-claims gpu-check`: whether a GPU measures what the CPU beside it measures, and the same twice."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.arms.arm import Arm, Probe, ProbeTarget, all_kinds
from engine.commands.command_line import Parser
from engine.commands.numeric_diff import bound_rounding, differences, read_numbers
from engine.errors import EngineError, UsageError, explain
from engine.models import find_subject
from engine.models.devices import Devices, check_device, find_devices
from engine.models.families import FAMILIES
from engine.models.memory import free_bytes
from engine.running.costs import size_of
from engine.text import write_plain

if TYPE_CHECKING:
    from engine.arms.measurement import Measurement
    from engine.running.executors.inline import Inline

WHO = "gpu-check"
SUBJECTS = ("smollm2-135m", "gpt2-untrained")
"""Without a subject named: the first that is installed."""

SOUND = "This installation is sound: the GPU measures what the CPU measures, and the same twice."
UNSOUND = "NOT SOUND: do not trust what this GPU measures; update its driver and torch, then check again."


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a probe came to. apart: largest difference as a share, tolerance: how large rounding may make it; where: its
    words. again: whether a GPU repeats it.
    """

    probe: Probe
    tolerance: float
    cpu: Measurement
    gpu: Measurement
    apart: float
    where: str
    again: bool

    @property
    def sound(self) -> bool:
        return self.again and self.apart <= self.tolerance


def make_probes(subject: str) -> list[Probe]:
    """Small arms of every kind whose numbers both devices define."""
    size = size_of(subject)
    source = find_subject(subject).fingerprint()
    target = ProbeTarget(subject=subject, source=source, vocab=size.vocab, blocks=size.blocks)
    return [probe for kind in all_kinds() for probe in kind.list_probes(target)]


def describe(probe: Probe) -> str:
    """'inversion: 1 block + head, float32'."""
    return f"{probe.arm.kind}: {probe.name}, {probe.dtype}"


def find_tolerance(probe: Probe, subject: str) -> float:
    """The share by which rounding may move a probe's numbers."""
    # The library turns rotary positions into angles in float32, whatever the precision of everything else.
    rotary = FAMILIES[find_subject(subject).family].rotary
    weakest = "float32" if rotary and probe.blocks else probe.dtype
    return bound_rounding(weakest, steps=probe.steps, blocks=max(1, probe.blocks), longest=size_of(subject).vocab)


def on_device(arm: Any, device: str) -> Arm:
    """The same arm for another kind of device."""
    settings: Any = getattr(arm, "settings", None)
    changed: Any = {"device": device} if settings is None else {"settings": replace(settings, device=device)}
    return replace(arm, **changed)


def compare(probe: Probe, tolerance: float, executors: Mapping[str, Inline]) -> Compared:
    """Measure a probe on the CPU and twice on the GPU."""
    cpu, gpu, again = (executors[d].run(on_device(probe.arm, d)) for d in ("cpu", "cuda", "cuda"))
    apart, where = max(differences(read_numbers(gpu), read_numbers(cpu)), default=(0.0, ""))
    return Compared(
        probe=probe,
        tolerance=tolerance,
        cpu=cpu,
        gpu=gpu,
        apart=apart,
        where=where,
        again=gpu.content() == again.content(),
    )


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
        found.append(compare(probe, find_tolerance(probe, subject), executors))
        c = found[-1]
        name, times = describe(probe), f"{c.cpu.elapsed_s:7.2f}  {c.gpu.gpu_s or 0:7.2f}"
        repeats = "yes" if c.again else "NO"
        print(f"{name:<62}  {times}  {c.apart:8.1e}  {c.tolerance:8.1e}  {repeats}", flush=True)
    print()
    for c in found:
        if c.apart > c.tolerance:
            words = f"the GPU's {c.where} on the CPU: {c.apart:.1e} apart, of which rounding explains"
            print(f"{describe(c.probe)}: {words} {c.tolerance:.1e}")
        if not c.again:
            print(f"{describe(c.probe)}: the GPU did not give the same numbers twice")
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
