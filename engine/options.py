"""The session's options, read once and checked where they are read."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ByteSize, TypeAdapter, ValidationError

from engine.cache import expand_home
from engine.costs import PROCESS_BYTES
from engine.effort import EFFORTS, Effort, find_effort
from engine.errors import EngineError, LedgerError, UsageError, explain
from engine.ledger import find_measurements
from engine.memory import free_bytes
from engine.prompts import check_prompt
from engine.protocol import PROTOCOLS, Protocol, find_protocol
from engine.slices import Slice, read_slice
from engine.subjects import Subject, find_subject
from engine.subjects.quantized import LOCAL, LOCAL_INT8, QuantizedSubject, explain_dtype

if TYPE_CHECKING:
    from engine.executors import Executor

DTYPES = ("float32", "float64", "bfloat16", "float16")
FREE_SHARE = 0.8
"""Of the free memory, what a session takes at most unless it is told."""

SIZE = TypeAdapter(ByteSize)
EXECUTORS = ("auto", "inline", "pool", "ray")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user asked for. subjects, protocols, prompts: empty means each claim's own.

    ledger: where measurements go. other_ledgers: where they are only read.
    workers, threads: arms at once, and threads of each. memory: bytes that all processes may take together.
    began: when the session did, ISO 8601. root: pytest's, where a claim's own paths begin.
    """

    effort: Effort
    subjects: tuple[Subject, ...]
    protocols: tuple[Protocol, ...]
    prompts: tuple[str, ...]
    starts: int
    stopping: bool
    device: str
    dtype: str
    executor: str
    ray_address: str | None
    workers: int
    threads: int
    memory: float
    report_dir: Path
    ledger: Path
    other_ledgers: tuple[Path, ...]
    strict: bool
    fresh: bool
    plan: bool
    slice: Slice | None
    began: str
    root: Path

    def resolve_device(self) -> str:
        """The device to run on: the one asked for, or CUDA where there is one."""
        return resolve_device(self.device)

    @property
    def arms_bytes(self) -> float:
        """What is left for arms beside the session's own process."""
        return self.memory - PROCESS_BYTES

    def check_prompts(self, subjects: Iterable[Subject]) -> None:
        """Raises PromptError for a prompt that a subject cannot use, before anything is measured."""
        if not self.prompts:
            return
        for subject in {subject.id: subject for subject in subjects}.values():
            if subject.missing() is None:
                tokenizer, context = subject.tokenizer(), int(subject.config().max_position_embeddings)
                for text in self.prompts:
                    ids = tokenizer(text, add_special_tokens=False).input_ids
                    check_prompt(text, ids, context=context, who=subject.id)

    def make_executor(self) -> Executor:
        """The executor that was asked for: by default a pool on a CPU and inline on a GPU."""
        on_cpu = self.resolve_device() == "cpu"
        if self.executor == "inline" or (self.executor == "auto" and not (on_cpu and self.workers > 1)):
            from engine.executors.inline import Inline  # torch is first imported here

            return Inline(threads=self.threads if on_cpu else None)
        if self.executor == "ray":
            from engine.executors.cluster import Cluster

            return Cluster(
                address=self.ray_address,
                workers=self.workers,
                threads=self.threads,
                budget_bytes=self.arms_bytes,
                gpus=0 if on_cpu else count_gpus(),
                gpu_bytes=None if on_cpu or self.ray_address else FREE_SHARE * free_bytes(self.resolve_device()),
            )
        from engine.executors.pool import Pool

        return Pool(workers=self.workers, threads=self.threads, budget_bytes=self.arms_bytes)


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the options. Defaults are those of a bare `pytest claims`."""
    option = group.addoption
    option("--effort", default="standard", help=f"{', '.join(EFFORTS)} (default: standard)")
    option(
        "--subject",
        action="append",
        default=[],
        metavar="ID",
        help="a subject's id or local:PATH; repeatable",
    )
    option("--protocol", action="append", default=[], help=f"{', '.join(PROTOCOLS)}; repeatable")
    option("--prompt", action="append", default=[], metavar="TEXT", help="a prompt of your own; repeatable")
    option("--seeds", type=int, default=1, metavar="N", help="start seeds for each prompt (default: 1)")
    option("--all-units", action="store_true", help="measure every unit, also where fewer decide a claim")
    option("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: auto)")
    option("--dtype", default="float32", help=f"{', '.join(DTYPES)} (default: float32)")
    option(
        "--executor",
        default="auto",
        help="inline measures arm after arm, pool several at once, ray on a cluster; auto (default) is pool on a CPU, "
        "inline on a GPU",
    )
    option("--ray-address", default=None, metavar="ADDRESS", help="a running cluster's (default: one is started here)")
    option("--workers", type=int, default=None, metavar="N", help="arms at once (default: one for each core)")
    option("--threads", type=int, default=1, metavar="N", help="threads of each arm on a CPU (default: 1)")
    option("--memory", default=None, metavar="SIZE", help="for all processes, like 4G (default: 80 % of what is free)")
    option("--report-dir", type=Path, default=None, help="where the report goes (default: reports/latest)")
    option(
        "--ledger",
        action="append",
        type=Path,
        default=[],
        help="where measurements are stored (default: .ledger); repeatable, the others are only read",
    )
    option("--strict-verdicts", action="store_true", help="findings and undecided claims fail")
    option("--fresh", action="store_true", help="ignore stored measurements")
    option("--slice", default=None, metavar="K/N", help="share K of N, for as many machines; the same shares on each")
    option("--plan", action="store_true", help="print what would be run, and run nothing")


def read_choices(config: pytest.Config) -> Choices:
    """Check every option. Raises UsageError, SubjectError or LedgerError with one line."""
    option = config.option
    worker = getattr(config, "workerinput", {})
    if option.seeds < 1:
        raise _wrong("--seeds", option.seeds, "a whole number from 1", "leave it out for one")
    for name, value, known in (("--dtype", option.dtype, DTYPES), ("--executor", option.executor, EXECUTORS)):
        if value not in known:
            raise _wrong(name, repr(value), f"one of {', '.join(known)}", "pick one")
    _check_ray(option.executor, option.ray_address, option.device)
    for name, value in (("--workers", option.workers), ("--threads", option.threads)):
        if value is not None and value < 1:
            raise _wrong(name, value, "a whole number from 1", "leave it out for the default")
    for text in option.prompt:
        check_prompt(text, range(len(text.split()) + 1), context=10**9, who="--prompt")
    subjects = tuple(_subject(name) for name in option.subject)
    for subject in subjects:
        if isinstance(subject, QuantizedSubject) and option.dtype != "float32":
            raise UsageError(explain_dtype(subject.id, option.dtype))
    here = config.invocation_params.dir
    ledgers: list[Path] = option.ledger
    other_ledgers = tuple(here / expand_home(other) for other in ledgers[1:])
    for other in other_ledgers:
        find_measurements(other)
    return Choices(
        effort=find_effort(option.effort),
        subjects=subjects,
        protocols=tuple(find_protocol(name) for name in option.protocol),
        prompts=tuple(option.prompt),
        starts=option.seeds,
        stopping=not option.all_units,
        device=check_device(option.device),
        dtype=option.dtype,
        executor="inline" if worker else option.executor,
        ray_address=option.ray_address,
        workers=option.workers or max(1, count_cores() // option.threads),
        threads=option.threads,
        memory=_read_memory(option.memory),
        report_dir=_folder("--report-dir", option.report_dir, here) or config.rootpath / "reports" / "latest",
        ledger=_folder("--ledger", next(iter(ledgers), None), here) or config.rootpath / ".ledger",
        other_ledgers=other_ledgers,
        strict=option.strict_verdicts,
        fresh=option.fresh,
        plan=option.plan,
        slice=read_slice(option.slice) if option.slice is not None else None,
        began=worker.get("claims_began") or datetime.now(UTC).isoformat(timespec="seconds"),
        root=config.rootpath,
    )


def _check_ray(executor: str, address: str | None, device: str) -> None:
    if executor == "ray" and importlib.util.find_spec("ray") is None:
        raise _wrong("--executor", "'ray' without Ray", "an installed Ray", "pip install 'lm-claims[ray]'")
    if executor == "ray" and ":" in device:
        # Ray deals out the devices, and each task sees its own alone, as the first.
        remedy = "name it in CUDA_VISIBLE_DEVICES and pass --device cuda"
        raise _wrong("--device", f"{device!r} beside --executor ray", "auto, cpu or cuda", remedy)
    if executor != "ray" and address is not None:
        raise _wrong("--ray-address", repr(address), "it beside --executor ray", "add that or leave it out")


def count_gpus() -> int:
    """CUDA devices that this process may use."""
    import torch

    return torch.cuda.device_count()


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_memory(asked: str | None) -> float:
    """Bytes. Raises UsageError for what is no size."""
    if asked is None:
        return FREE_SHARE * free_bytes("cpu")
    try:
        size = float(SIZE.validate_python(asked))
    except (ValidationError, OverflowError):
        size = 0.0
    if size <= 2 * PROCESS_BYTES:
        least = f"a size above {2 * PROCESS_BYTES / 1e6:.0f}M, such as 4G"
        raise _wrong("--memory", repr(asked), least, "give more or leave it out")
    return size


def _subject(name: str) -> Subject:
    subject = find_subject(name)
    if name.startswith((LOCAL, LOCAL_INT8)):
        _ = subject.tier  # a configuration that cannot be built is better refused now than after an hour
    return subject


def resolve_device(name: str) -> str:
    """The device of that name; for 'auto', CUDA where there is one and the CPU elsewhere."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> str:
    """The same name. Raises UsageError unless it is auto, cpu or a CUDA device of this machine."""
    if name in ("auto", "cpu"):
        return name
    if importlib.util.find_spec("torch") is None:
        raise _wrong("--device", repr(name), "an installed torch", "install torch or leave --device out")
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise _wrong("--device", repr(name), "auto, cpu, cuda or cuda:N", "pick one") from None
    if device.type not in ("cpu", "cuda"):
        raise _wrong("--device", repr(name), "auto, cpu, cuda or cuda:N", "pick one")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise _wrong(
            "--device",
            repr(name),
            f"one of {count} CUDA devices",
            "install a CUDA build of torch, or use cpu",
        )
    return name


def _folder(who: str, asked: Path | None, here: Path) -> Path | None:
    """A folder that was asked for, made and known to be writable; None when none was. Raises LedgerError."""
    if asked is None:
        return None
    folder = here / expand_home(asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        got, expected = f"{folder}: {error.strerror}", "a folder that can be written"
        remedy = "choose another folder or mend its permissions"
        raise LedgerError(explain(who=who, got=got, expected=expected, remedy=remedy)) from error
    return folder


def _wrong(who: str, got: object, expected: str, remedy: str) -> EngineError:
    return UsageError(explain(who=who, got=got, expected=expected, remedy=remedy))
