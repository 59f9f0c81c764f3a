"""From a wish to its arms: the trial, sample and rounds of a claim with one unit."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import SCRIPT, find_protocol
from engine.arms.settings import Unit
from engine.arms.stacks import Stack
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.commands.invert.options import InvertOptions
from engine.errors import MissingError, UsageError, explain
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.inversion.samples import (
    Sample,
    choose_step,
    count_iterations,
    inversion_arm,
    is_random,
    settings_of,
)
from engine.experiments.sampling import MODEL_SEEDS
from engine.experiments.tuning.procedure import StepChoice
from engine.models import Subject, find_subject
from engine.models.devices import Devices, check_device, find_devices
from engine.models.families import FAMILIES
from engine.models.memory import by_free_memory, explain_shortage
from engine.models.quantized import QuantizedSubject, explain_dtype
from engine.models.token_text import encode_user_prompt, read_text, read_token
from engine.session.options import DTYPES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEADING = (1, 2, 5)


@dataclass(frozen=True, kw_only=True)
class InvertPlan:
    """A wish whose subject, device and prompt are known to fit.

    iterations: the schedule's length N. ids: tokens of the prompt.
    """

    wish: InvertOptions
    trial: Trial
    devices: Devices
    sample: Sample
    iterations: int
    tokenizer: PreTrainedTokenizerBase
    ids: tuple[int, ...]

    def text(self, *ids: int) -> str:
        """What tokens say together."""
        return read_token(self.tokenizer, *ids) if len(ids) == 1 else read_text(self.tokenizer, ids)

    def rounds(self) -> Generator[Sequence[Arm], Sequence[Measurement], tuple[InversionArm, StepChoice]]:
        """Tuning arms for as long as a step size is looked for; then the arm that is measured."""
        trial, sample = self.trial, self.sample
        if self.wish.step is not None:
            tuned = StepChoice(step=self.wish.step, source="as asked")
        else:
            tuned = yield from choose_step(trial, sample, self.iterations, {})
        seed = MODEL_SEEDS[0] if is_random(trial, sample) else None
        settings = settings_of(trial, sample, seed, self.iterations)
        unit = Unit(prompt=self.wish.prompt, seed=self.wish.seed)
        return inversion_arm(trial, sample, settings, tuned.step, (unit,)), tuned


def plan_inversion(wish: InvertOptions) -> InvertPlan:
    """Check a wish against its subject and this machine, without loading weights.

    Raises UsageError, PromptError, SubjectError or MissingError with one line.
    """
    if wish.dtype not in DTYPES:
        expected = f"one of {', '.join(DTYPES)}"
        raise UsageError(explain(who="--dtype", got=repr(wish.dtype), expected=expected, remedy="pick one"))
    subject = find_subject(wish.subject)
    protocol = find_protocol(wish.protocol)
    if protocol == SCRIPT and not FAMILIES[subject.family].scripts:
        expected, remedy = "a GPT-2, which the author's scripts are about", "take --protocol page or controlled"
        got = f"{subject.id}, a {subject.family} model"
        raise UsageError(explain(who="--protocol script", got=got, expected=expected, remedy=remedy))
    if isinstance(subject, QuantizedSubject) and wish.dtype != "float32":
        raise UsageError(explain_dtype(subject.id, wish.dtype))
    devices = find_devices(check_device(wish.device))
    if len(devices.gpus) > 1:
        devices = replace(devices, gpus=by_free_memory(devices.gpus))
    _check_step(wish)
    subject.require()
    stack = Stack(blocks=_count_blocks(wish, subject), head=wish.head)
    trial = Trial(
        subject=subject, protocol=protocol, effort="standard", units=Units(), dtype=wish.dtype, device=devices.kind
    )
    sample = Sample(
        stack=stack,
        iterations=wish.iterations,
        sigma=wish.sigma,
        metric=wish.metric,
        read_at="N",
        probe=stack if stack.head else None,
    )
    iterations = count_iterations(trial, sample, {})
    tokenizer = subject.tokenizer()
    ids = encode_user_prompt(tokenizer, subject.config(), wish.prompt, who=subject.id)
    shortage = explain_shortage((subject,), dtype=wish.dtype, devices=devices.names, spread=True)
    if shortage is not None:
        raise MissingError(shortage)
    return InvertPlan(
        wish=wish,
        trial=trial,
        devices=devices,
        sample=replace(sample, snapshots=film_iterations(iterations)),
        iterations=iterations,
        tokenizer=tokenizer,
        ids=ids,
    )


def film_iterations(iterations: int) -> tuple[int, ...]:
    """Iterations that a film of a descent shows: 0, N, and 1, 2, 5, 10, 20, 50 … between."""
    between = (lead * 10**digits for digits in range(len(str(iterations))) for lead in LEADING)
    return tuple(sorted({0, *(n for n in between if n < iterations), iterations}))


def _check_step(wish: InvertOptions) -> None:
    import torch

    most = torch.finfo(getattr(torch, wish.dtype)).max
    if wish.step is not None and wish.step > most:
        expected = f"at most {most:g}, the largest {wish.dtype}"
        raise UsageError(explain(who="--step", got=f"{wish.step:g}", expected=expected, remedy="take a smaller one"))


def _count_blocks(wish: InvertOptions, subject: Subject) -> int:
    depth = int(subject.config().num_hidden_layers)
    count = Stack(blocks=wish.blocks).count(depth)
    if not 1 <= count <= depth:
        expected = f"1 to {depth}, the depth of {subject.id}"
        raise UsageError(explain(who="--blocks", got=count, expected=expected, remedy="ask for fewer"))
    return count
