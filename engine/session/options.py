"""The session's options, read once and checked where they are read."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ByteSize, TypeAdapter, ValidationError

from engine.arms.prompts import check_prompt
from engine.arms.protocol import Protocol, find_protocol
from engine.claim.units import Effort, find_effort
from engine.errors import EngineError, LedgerError, UsageError, explain
from engine.files import expand_home
from engine.ledger import find_measurements
from engine.models import Subject, find_subject
from engine.models.devices import Devices, check_device, count_cores, find_devices, visible_id
from engine.models.memory import by_free_memory, free_bytes
from engine.models.quantized import QuantizedSubject, explain_dtype
from engine.models.token_text import encode_user_prompt
from engine.models.training_text import SUFFIXES, FolderText
from engine.running.costs import PROCESS_BYTES
from engine.running.slices import Slice, read_slice
from engine.session.spelling import DTYPES, EXECUTORS, OPTIONS

if TYPE_CHECKING:
    from engine.running.executors.base import Executor

FREE_SHARE = 0.8
"""Share of the free memory that a session takes by default."""

SIZE = TypeAdapter(ByteSize)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What the user asked for. subjects, protocols, prompts: empty means each claim's own.

    ledger: where measurements are written. other_ledgers: where they are only read.
    text: what the suite's own models are trained on; None takes the usual.
    asked_workers, asked_threads: None lets the session choose. memory: bytes that all processes may take together.
    session: the number of this process, from 0, and how many pytest-xdist runs. began: start of the session, ISO 8601.
    root: pytest's root directory.
    """

    effort: Effort
    subjects: tuple[Subject, ...]
    text: FolderText | None
    protocols: tuple[Protocol, ...]
    prompts: tuple[str, ...]
    starts: int
    stopping: bool
    device: str
    dtype: str
    executor: str
    ray_address: str | None
    asked_workers: int | None
    asked_threads: int | None
    memory: float
    report_dir: Path
    ledger: Path
    other_ledgers: tuple[Path, ...]
    strict: bool
    fresh: bool
    stored: bool
    plan: bool
    slice: Slice | None
    session: tuple[int, int]
    began: str
    root: Path

    @cached_property
    def devices(self) -> Devices:
        """The devices to run on; looked up once, since that loads torch."""
        return find_devices(self.device)

    @property
    def workers(self) -> int:
        """Arms at once: as many as asked for, else one for each GPU, or one for each core (or `threads` cores)."""
        if self.executor == "inline":
            return 1  # whatever was asked
        each = len(self.devices.gpus) if self.devices.kind == "cuda" else count_cores() // (self.asked_threads or 1)
        return self.asked_workers or max(1, each)

    @property
    def threads(self) -> int:
        """Threads of each arm: as asked for, else one on a CPU, or a fair share of the cores beside a GPU."""
        measured_here = self.devices.gpus and not self.elsewhere
        beside = count_cores() // (self.workers * self.session[1]) if measured_here else 1
        return self.asked_threads or max(1, beside)

    @property
    def inline(self) -> bool:
        """Whether arms are measured in this process, which sees every GPU."""
        return self.executor == "inline" or (self.executor == "auto" and self.workers == 1)

    @property
    def elsewhere(self) -> bool:
        """Whether nothing is measured on this machine, so that it needs neither device nor memory."""
        return self.stored or (self.executor == "ray" and self.ray_address is not None)

    @property
    def arms_bytes(self) -> float:
        """Memory left for arms beside this process."""
        return self.memory - PROCESS_BYTES

    def check_prompts(self, subjects: Iterable[Subject]) -> None:
        """Raises PromptError for a prompt that a subject cannot use, before anything is measured."""
        if not self.prompts:
            return
        for subject in {subject.id: subject for subject in subjects}.values():
            if subject.missing() is None:
                tokenizer, config = subject.tokenizer(), subject.config()
                for text in self.prompts:
                    encode_user_prompt(tokenizer, config, text, who=subject.id)

    def make_executor(self) -> Executor:
        """The executor asked for; by default a pool if several arms may run at once, else inline."""
        if self.stored:
            from engine.running.executors.base import StoredOnly

            return StoredOnly()
        gpus = self.devices.gpus
        if len(gpus) > 1 and self.inline:
            number, of = self.session
            gpus = by_free_memory(gpus) if of == 1 else (*gpus[number % len(gpus) :], *gpus[: number % len(gpus)])
        if self.inline:
            from engine.running.executors.inline import Inline  # torch is first imported here

            return Inline(threads=self.threads, gpus=gpus)
        room = {} if self.elsewhere else {gpu: FREE_SHARE * free_bytes(f"cuda:{gpu}") for gpu in gpus}
        if self.executor == "ray":
            from engine.running.executors.ray import Cluster

            return Cluster(
                address=self.ray_address,
                workers=self.workers,
                threads=self.threads,
                budget_bytes=self.arms_bytes,
                gpus=len(gpus),
                gpu_bytes=min(room.values(), default=None),
            )
        from engine.running.executors.pool import Gpu, Pool

        return Pool(
            workers=self.workers,
            threads=self.threads,
            budget_bytes=self.arms_bytes,
            gpus=tuple(Gpu(name=visible_id(gpu), bytes=free) for gpu, free in room.items()),
        )


def are_asked(config: pytest.Config) -> bool:
    """Whether any of the plugin's options differs from its default."""
    return any(getattr(config.option, o.dest) != o.details.get("default", False) for o in OPTIONS)


def read_options(config: pytest.Config, *, began: str) -> SessionOptions:
    """Check every option. Raises UsageError, SubjectError or LedgerError with one line."""
    option = config.option
    worker = getattr(config, "workerinput", {})
    if option.claims_seeds < 1:
        raise _wrong("--seeds", option.claims_seeds, "a whole number from 1", "leave it out for one")
    for name, value, known in (
        ("--dtype", option.claims_dtype, DTYPES),
        ("--executor", option.claims_executor, EXECUTORS),
    ):
        if value not in known:
            raise _wrong(name, repr(value), f"one of {', '.join(known)}", "pick one")
    _check_ray(option.claims_executor, option.claims_ray_address, option.claims_device)
    if option.claims_fresh and option.claims_stored:
        raise _wrong("--stored", "it beside --fresh", "one of them", "leave one out")
    for name, value in (("--workers", option.claims_workers), ("--threads", option.claims_threads)):
        if value is not None and value < 1:
            raise _wrong(name, value, "a whole number from 1", "leave it out for the default")
    for text in option.claims_prompt:
        check_prompt(text, range(len(text.split()) + 1), context=10**9, who="--prompt")
    subjects = tuple(_subject(name) for name in option.claims_subject)
    for subject in subjects:
        if isinstance(subject, QuantizedSubject) and option.claims_dtype != "float32":
            raise UsageError(explain_dtype(subject.id, option.claims_dtype))
    here = config.invocation_params.dir
    ledgers: list[str] = option.claims_ledger
    if "" in ledgers:
        raise _wrong("--ledger", "an empty name", "a folder", "check the variable that it came from")
    other_ledgers = tuple(here / expand_home(other) for other in ledgers[1:])
    for other in other_ledgers:
        find_measurements(other)
    return SessionOptions(
        effort=find_effort(option.claims_effort),
        subjects=subjects,
        text=_read_text(option.claims_text, here),
        protocols=tuple(find_protocol(name) for name in option.claims_protocol),
        prompts=tuple(option.claims_prompt),
        starts=option.claims_seeds,
        stopping=not option.claims_all_units,
        device=check_device(
            option.claims_device,
            elsewhere=option.claims_stored or (option.claims_ray_address is not None and not worker),
        ),
        dtype=option.claims_dtype,
        executor="inline" if worker else option.claims_executor,
        ray_address=option.claims_ray_address,
        asked_workers=option.claims_workers,
        asked_threads=option.claims_threads,
        memory=_read_memory(option.claims_memory),
        report_dir=_folder("--report-dir", option.claims_report_dir, here) or config.rootpath / "reports" / "latest",
        ledger=_folder("--ledger", next(iter(ledgers), None), here) or config.rootpath / ".ledger",
        other_ledgers=other_ledgers,
        strict=option.claims_strict_verdicts,
        fresh=option.claims_fresh,
        stored=option.claims_stored,
        plan=option.claims_plan,
        slice=read_slice(option.claims_slice) if option.claims_slice is not None else None,
        session=(int(worker["workerid"].removeprefix("gw")), worker["workercount"]) if worker else (0, 1),
        began=began,
        root=config.rootpath,
    )


def _check_ray(executor: str, address: str | None, device: str) -> None:
    if executor == "ray" and importlib.util.find_spec("ray") is None:
        raise _wrong("--executor", "'ray' without Ray", "an installed Ray", "pip install 'lm-claims[ray]'")
    if executor == "ray" and ":" in device:
        # Ray assigns the devices, and each task sees its own alone, as the first.
        remedy = "name it in CUDA_VISIBLE_DEVICES and pass --device cuda"
        raise _wrong("--device", f"{device!r} beside --executor ray", "auto, cpu or cuda", remedy)
    if executor != "ray" and address is not None:
        raise _wrong("--ray-address", repr(address), "it beside --executor ray", "add that or leave it out")


def _read_memory(asked: str | None) -> float:
    """Bytes of --memory. Raises UsageError for what is no size."""
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
    if subject.own and subject.trained:
        _ = subject.tier  # refuse a configuration that cannot be built now, not after an hour
    return subject


def _read_text(asked: str | None, here: Path) -> FolderText | None:
    """The text of --text. Raises UsageError for what is no folder with text."""
    if asked is None:
        return None
    text = FolderText((here / expand_home(asked)).resolve())
    if not text.list_files():
        ends = ", ".join(sorted(SUFFIXES))
        raise _wrong("--text", repr(asked), f"a folder with files that end in {ends}", "name one, or leave it out")
    return text


def _folder(who: str, asked: str | None, here: Path) -> Path | None:
    """The folder asked for, created and checked to be writable; None if none was asked for. Raises LedgerError."""
    if asked is None:
        return None
    if not asked:
        raise _wrong(who, "an empty name", "a folder", "check the variable that it came from")
    folder = here / expand_home(asked)
    try:
        folder = folder.resolve() if ".." in folder.parts else folder
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        got, expected = f"{folder}: {error.strerror}", "a folder that can be written"
        remedy = "choose another folder or fix its permissions"
        raise LedgerError(explain(who=who, got=got, expected=expected, remedy=remedy)) from error
    return folder


def _wrong(who: str, got: object, expected: str, remedy: str) -> EngineError:
    return UsageError(explain(who=who, got=got, expected=expected, remedy=remedy))
