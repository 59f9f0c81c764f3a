"""`lm-claims gpu-check`: whether a GPU measures what the CPU beside it measures, and the same twice."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from engine.arms.arm import Arm, GpuCheck, GpuCheckTarget, Result, all_kinds
from engine.commands.command_line import EXIT_USAGE, Parser, say
from engine.errors import EngineError, UsageError, explain
from engine.models import find_subject
from engine.models.devices import check_device, find_devices
from engine.models.families import find_family
from engine.models.memory import free_bytes
from engine.running.costs import size_of

if TYPE_CHECKING:
    from engine.arms.measurement import Measurement
    from engine.running.executors.inline import Inline

WHO = "gpu-check"
SUBJECTS = ("smollm2-135m", "gpt2-untrained")
"""Subjects to check with by default: the first that is installed."""

SOUND = "This installation is sound: the GPU measures what the CPU measures, and the same twice."
UNSOUND = "NOT SOUND: do not trust what this GPU measures; update its driver and torch, then check again."

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23}
"""Distance from 1 to the next number of a precision."""

NOTHING_BUT_ROUNDING = frozenset(
    {
        "product",
        "relative",
        "worst_relative",
        "constrained",
        "difference",
        "ridge",
        "noise",
        "epsilon",
        "epsilons",
        "own_distance",
    }
)
"""Fields of results that rounding alone makes different from zero."""

PRODUCTS_PER_BLOCK = 6

RESULT = TypeAdapter[Result](Result)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A probe measured on both devices.

    difference: the largest one, as a share of the number. where: the number, in words. tolerance: the largest
    difference that rounding explains. repeats: whether the GPU measured the same twice.
    """

    probe: GpuCheck
    tolerance: float
    cpu: Measurement
    gpu: Measurement
    difference: float
    where: str
    repeats: bool

    @property
    def name(self) -> str:
        """'inversion: 1 block + head, float32'."""
        return f"{self.probe.arm.kind}: {self.probe.name}, {self.probe.dtype}"

    @property
    def sound(self) -> bool:
        return self.repeats and self.difference <= self.tolerance


def make_probes(subject: str) -> list[GpuCheck]:
    """Small arms of every kind, with numbers that do not depend on the device."""
    size = size_of(subject)
    source = find_subject(subject).fingerprint()
    target = GpuCheckTarget(subject=subject, source=source, vocab=size.vocab, blocks=size.blocks)
    return [probe for kind in all_kinds() for probe in kind.list_gpu_checks(target)]


def on_device(arm: Any, device: str) -> Arm:
    """The same arm for another kind of device."""
    settings: Any = getattr(arm, "settings", None)
    changed: Any = {"device": device} if settings is None else {"settings": replace(settings, device=device)}
    return replace(arm, **changed)


def bound_rounding(dtype: str, *, steps: int, blocks: int, longest: int) -> float:
    """The most by which the order of summation changes a number, as a share of it.

    A sum of n terms is off by √n · ε, since its roundings go up as often as down; n is at most the longest sum there
    is (the vocabulary). Errors of successive products add up (six per block, forward and backward, and the head's),
    and so do those of steps. An error of one step may grow in the next ones, over a few of them by less than a factor
    of 2.
    """
    products = 2 * (PRODUCTS_PER_BLOCK * blocks + 1) + 1
    return 2 * steps * products * longest**0.5 * EPSILON[dtype]


def read_numbers(measurement: Measurement) -> Any:
    """A result as JSON, without the fields that are nothing but rounding."""

    def leave_out(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: leave_out(v) for k, v in value.items() if k not in NOTHING_BUT_ROUNDING}
        return [leave_out(v) for v in value] if isinstance(value, list) else value

    return leave_out(RESULT.dump_python(measurement.result, mode="json"))


def find_differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[float, str]]:
    """Where two results as JSON differ: a share of the larger number, and words.

    The share is ∞ for anything but finite floating-point numbers.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            yield math.inf, f"{path}: the names {sorted(one)} were {sorted(other)}"
            return
        for key in other:
            yield from find_differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, pair in enumerate(zip(one, other, strict=True)):
            yield from find_differences(*pair, f"{path}[{k}]")
    elif one != other or type(one) is not type(other):
        share = math.inf
        if isinstance(one, float) and isinstance(other, float) and math.isfinite(one) and math.isfinite(other):
            share = abs(one - other) / max(abs(one), abs(other))
        yield share, f"{path}: {one} was {other}"


def compare(probe: GpuCheck, subject: str, executors: Mapping[str, Inline]) -> Comparison:
    """Measure a probe on the CPU and twice on the GPU."""
    cpu, gpu, again = (executors[d].run(on_device(probe.arm, d)) for d in ("cpu", "cuda", "cuda"))
    difference, where = max(find_differences(read_numbers(gpu), read_numbers(cpu)), default=(0.0, ""))
    # transformers computes the angles of rotary positions in float32, whatever the precision of everything else.
    rotary = find_family(find_subject(subject).family).rotary
    weakest = "float32" if rotary and probe.blocks else probe.dtype
    longest = size_of(subject).vocab
    return Comparison(
        probe=probe,
        tolerance=bound_rounding(weakest, steps=probe.steps, blocks=max(1, probe.blocks), longest=longest),
        cpu=cpu,
        gpu=gpu,
        difference=difference,
        where=where,
        repeats=gpu.content() == again.content(),
    )


def check(subject: str, gpu: int) -> bool:
    """Compare every probe on one GPU and print the results. Returns whether the installation is sound."""
    import torch

    from engine.running.executors.inline import Inline

    free = free_bytes(f"cuda:{gpu}")
    print(f"{torch.cuda.get_device_name(gpu)}, {free / 2**30:.1f} GiB free; torch {torch.__version__}; {subject}\n")
    print(f"{'':<62}  {'CPU s':>7}  {'GPU s':>7}  {'apart':>8}  {'at most':>8}  twice the same")
    executors = {"cpu": Inline(), "cuda": Inline(gpus=(gpu,))}
    comparisons: list[Comparison] = []
    for probe in make_probes(subject):
        comparisons.append(c := compare(probe, subject, executors))
        times = f"{c.cpu.elapsed_s:7.2f}  {c.gpu.gpu_s or 0:7.2f}"
        repeats = "yes" if c.repeats else "NO"
        print(f"{c.name:<62}  {times}  {c.difference:8.1e}  {c.tolerance:8.1e}  {repeats}", flush=True)
    print()
    for c in comparisons:
        if c.difference > c.tolerance:
            words = f"the GPU's {c.where} on the CPU: {c.difference:.1e} apart, of which rounding explains"
            print(f"{c.name}: {words} {c.tolerance:.1e}")
        if not c.repeats:
            print(f"{c.name}: the GPU did not give the same numbers twice")
    sound = all(c.sound for c in comparisons)
    print(SOUND if sound else UNSOUND)
    return sound


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0 for a sound installation, 1 for another, or 4, with one line, if nothing can be checked."""
    parser = Parser(prog=f"lm-claims {WHO}", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", help="cuda, for every GPU, or cuda:N (default: cuda)")
    parser.add_argument("--subject", metavar="ID", help=f"(default: {' or '.join(SUBJECTS)}, whichever is installed)")
    chosen = parser.parse_args(arguments)
    try:
        devices = find_devices(check_device(chosen.device))
        if not devices.gpus:
            expected, remedy = "a GPU that torch sees", "install a driver and a CUDA build of torch"
            raise UsageError(explain(who=WHO, got=f"--device {chosen.device}", expected=expected, remedy=remedy))
        subject = chosen.subject or next((s for s in SUBJECTS if find_subject(s).missing() is None), SUBJECTS[0])
        find_subject(subject).require()
        sound = [check(subject, gpu) for gpu in devices.gpus]  # each of them, even after one that is not
        return 0 if all(sound) else 1
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
