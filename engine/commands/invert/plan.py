"""From a user's options to the arms to run: the trial, sample and rounds of a claim with one unit."""

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
    seeds_of,
    settings_of,
)
from engine.experiments.recovery.searches import Search, SearchRuns, run_search
from engine.experiments.tuning.choose_step import COARSE_UNITS, StepChoice
from engine.models import find_subject
from engine.models.devices import Devices, check_device, find_devices
from engine.models.families import find_family
from engine.models.memory import by_free_memory, explain_shortage
from engine.models.quantized import QuantizedSubject, explain_dtype
from engine.models.token_text import encode_user_prompt, read_text, read_token
from engine.session.options import DTYPES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class InvertPlan:
    """Options whose subject, device and prompt are known to fit.

    iterations: the schedule's length N. ids: token ids of the prompt.
    """

    options: InvertOptions
    trial: Trial
    devices: Devices
    sample: Sample
    iterations: int
    tokenizer: PreTrainedTokenizerBase
    ids: tuple[int, ...]

    def text(self, *ids: int) -> str:
        """The text of tokens."""
        return read_token(self.tokenizer, *ids) if len(ids) == 1 else read_text(self.tokenizer, ids)

    def search_rounds(self) -> Generator[Sequence[Arm], Sequence[Measurement], SearchRuns]:
        """Yield the arms of a recovery of the same prompt behind the same stack, by the full method of claim A01."""
        trial, stack = replace(self.trial, prompts=(self.options.prompt,)), self.sample.stack
        assert isinstance(stack, Stack)
        runs = yield from run_search(trial, Search(stack=stack))
        assert runs is not None
        return runs

    def rounds(self) -> Generator[Sequence[Arm], Sequence[Measurement], tuple[InversionArm, StepChoice]]:
        """Yield tuning arms until a step size is chosen, then return the arm to measure."""
        trial, sample = self.trial, self.sample
        if self.options.step is not None:
            chosen = StepChoice(step=self.options.step, source="as asked")
        else:
            chosen = yield from choose_step(trial, sample, self.iterations, {})
        seed = seeds_of(trial, sample)[0]
        settings = settings_of(trial, sample, seed, self.iterations)
        unit = Unit(prompt=self.options.prompt, seed=self.options.seed)
        return inversion_arm(trial, sample, settings, chosen.step, (unit,)), chosen


def plan_inversion(options: InvertOptions) -> InvertPlan:
    """Check options against their subject and this machine, without loading weights.

    Raises UsageError, PromptError, SubjectError or MissingError, each with one line.
    """
    import torch

    if options.dtype not in DTYPES:
        expected = f"one of {', '.join(DTYPES)}"
        raise UsageError(explain(who="--dtype", got=repr(options.dtype), expected=expected, remedy="pick one"))
    subject = find_subject(options.subject)
    protocol = find_protocol(options.protocol)
    if protocol == SCRIPT and not find_family(subject.family).scripts:
        expected, remedy = "a GPT-2, the family of the author's scripts", "take --protocol page or controlled"
        got = f"{subject.id}, a {subject.family} model"
        raise UsageError(explain(who="--protocol script", got=got, expected=expected, remedy=remedy))
    if isinstance(subject, QuantizedSubject) and options.dtype != "float32":
        raise UsageError(explain_dtype(subject.id, options.dtype))
    devices = find_devices(check_device(options.device))
    if len(devices.gpus) > 1:
        devices = replace(devices, gpus=by_free_memory(devices.gpus))
    largest = torch.finfo(getattr(torch, options.dtype)).max
    if options.step is not None and options.step > largest:
        got, expected = f"{options.step:g}", f"at most {largest:g}, the largest {options.dtype}"
        raise UsageError(explain(who="--step", got=got, expected=expected, remedy="take a smaller one"))
    subject.require()
    depth = int(subject.config().num_hidden_layers)
    blocks = Stack(blocks=options.blocks).count(depth)
    if not 1 <= blocks <= depth:
        expected = f"1 to {depth}, the depth of {subject.id}"
        raise UsageError(explain(who="--blocks", got=blocks, expected=expected, remedy="ask for fewer"))
    stack = Stack(blocks=blocks, head=options.head)
    trial = Trial(
        subject=subject, protocol=protocol, effort="standard", units=Units(), dtype=options.dtype, device=devices.kind
    )
    sample = Sample(
        stack=stack,
        iterations=options.iterations,
        sigma=options.sigma,
        metric=options.metric,
        read_at="N",
        # A quick look: tuning for the distance would take a descent to N for each step size and tuning unit.
        tuned_for="hit",
        tuning_units=COARSE_UNITS,
        probe=stack if stack.head else None,
    )
    iterations = count_iterations(trial, sample, {})
    tokenizer = subject.tokenizer()
    ids = encode_user_prompt(tokenizer, subject.config(), options.prompt, who=subject.id)
    shortage = explain_shortage((subject,), dtype=options.dtype, devices=devices.names, spread=True)
    if shortage is not None:
        raise MissingError(shortage)
    return InvertPlan(
        options=options,
        trial=trial,
        devices=devices,
        sample=replace(sample, snapshots=snapshot_iterations(iterations)),
        iterations=iterations,
        tokenizer=tokenizer,
        ids=ids,
    )


def snapshot_iterations(iterations: int) -> tuple[int, ...]:
    """Iterations at which tokens are decoded and shown: 0, N, and 1, 2, 5, 10, 20, 50 … between."""
    between = (lead * 10**digits for digits in range(len(str(iterations))) for lead in (1, 2, 5))
    return tuple(sorted({0, *(n for n in between if n < iterations), iterations}))
