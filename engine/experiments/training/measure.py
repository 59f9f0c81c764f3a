"""Train a model, keep its checkpoints in the user's cache, and record what changed on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import SubjectError, explain
from engine.experiments.training.arm import Checkpoint, TrainingArm, TrainingResult, UpdateWindow
from engine.files import hash_file, make_folder, name_unfinished, sync
from engine.methods.ngrams import fit_trigram
from engine.methods.repetition import mean_repetition
from engine.methods.training import CLIP, TrainingPlan, TrainingRun, evaluate, start_training, train
from engine.models import draw_weights
from engine.models.decoder import find_blocks
from engine.models.loaded import LoadedModels
from engine.models.loading import load_weights, loading
from engine.models.subject import refusal, use_torch_parts
from engine.models.trained import Recipe
from engine.models.training_text import VOCABULARY, tokenize
from engine.models.weights_cache import cached_weights, is_whole

WINDOWS = 20
"""Parts of training, each a twentieth, in which updates are recorded."""

SAVE_EVERY, SHOW_EVERY = 250, 25
"""Steps between two states to go on from, and between two lines of progress."""

SAVE_AFTER_S = 20.0
"""Least time between two states: on a GPU, 250 steps take no longer than writing one."""

CURVE_POINTS = 48

VALIDATION_TOKENS = 65_536
"""Of the validation text, its first tokens: the loss on them has a standard error of about 0.01 nats."""

REPETITION_WINDOW = 64
"""Tokens, as many as claims on repetition have models write."""

BEGINNINGS = ("The name of the", "Specifies whether")
SAMPLE_TOKENS = 48
WEIGHTS = "model.safetensors"


def measure_training(arm: TrainingArm, models: LoadedModels) -> TrainingResult:
    """Train, or go on from where an earlier session was stopped. One at a time trains a model on a machine.

    Raises SubjectError when the loss is no number any more, and when the cache cannot be written.
    """
    recipe = arm.recipe
    text = tokenize(recipe.text)
    training = torch.from_numpy(text.training.astype("int32")).to(arm.device)
    validation = torch.from_numpy(text.validation[:VALIDATION_TOKENS].astype("int32")).to(arm.device)
    make_folder(recipe.state_file.parent)
    with FileLock(recipe.state_file.with_suffix(".lock"), fallback_to_soft=False), one_thread():
        record = train_recipe(recipe, training, arm.device)
        model = _read_checkpoint(recipe, recipe.checkpoints[-1], arm.device)
        samples = tuple(continue_text(model, text.tokenizer, beginning) for beginning in BEGINNINGS)
        checkpoints = tuple(
            Checkpoint(
                step=step,
                sha256=hash_file(recipe.folder(step) / WEIGHTS),
                validation_loss=evaluate(_read_checkpoint(recipe, step, arm.device), validation, recipe.context),
            )
            for step in recipe.checkpoints
        )
    at = _curve_points(recipe.steps)
    return TrainingResult(
        tokens=recipe.tokens,
        checkpoints=checkpoints,
        curve_at=at,
        curve=tuple(float(record.losses[before:after].mean()) for before, after in zip((0, *at[:-1]), at, strict=True)),
        parts=tuple(name for name, _ in list_parts(model)),
        windows=tuple(record.windows),
        trigram_loss=fit_trigram(text.training, VOCABULARY).loss(text.validation[:VALIDATION_TOKENS]),
        text_repetition=mean_repetition(text.validation[:VALIDATION_TOKENS].tolist(), REPETITION_WINDOW),
        samples=samples,
    )


@dataclass(kw_only=True, eq=False)
class TrainingRecord:
    """losses: of every step [steps]. windows: what each part of training changed."""

    losses: Tensor
    windows: list[UpdateWindow] = field(default_factory=list[UpdateWindow])


def train_recipe(recipe: Recipe, ids: Tensor, device: str) -> TrainingRecord:
    """Train a recipe to its end and keep its checkpoints. ids: the training text [tokens], on the device.

    A run that an earlier session left goes on from its last saved state: at one thread it ends in the same bits.
    """
    plan = TrainingPlan(
        steps=recipe.steps,
        batch=recipe.batch,
        context=recipe.context,
        rate=recipe.size.rate,
        warmup=recipe.warmup,
        decay=recipe.decay,
    )
    drawn = draw_weights(recipe.stem, recipe.config(), seed=recipe.seed, dtype=torch.float32)
    model: Any = use_torch_parts(drawn)
    run = start_training(model.to(device), plan, recipe.seed)
    observer = _Observer(recipe=recipe, run=run)
    observer.restore()
    train(run, ids, plan, observer)
    losses = run.losses.cpu()
    if not bool(torch.isfinite(losses).all()):
        got = f"a loss that is no number after step {int(torch.isfinite(losses).int().argmin())}"
        remedy = "lower the size's rate in engine/models/trained.py"
        raise SubjectError(explain(who=recipe.stem, got=got, expected="a training that converges", remedy=remedy))
    return TrainingRecord(losses=losses, windows=observer.windows)


def list_parts(model: Any) -> list[tuple[str, list[nn.Parameter]]]:
    """The parts whose changes are recorded, with their matrices: the embedding, and each block."""
    table: nn.Parameter = model.get_input_embeddings().weight
    blocks: Any = model.get_submodule(find_blocks(model))
    matrices = [[p for p in block.parameters() if p.ndim > 1] for block in blocks]
    return [("embedding", [table]), *((f"block {k}", own) for k, own in enumerate(matrices, 1))]


@dataclass(kw_only=True, eq=False)
class _Observer:
    """Keeps checkpoints, states to go on from, and what each window of training changed.

    began: each part's matrices at the beginning of the window. gradients: sums over its steps, of each part.
    """

    recipe: Recipe
    run: TrainingRun
    windows: list[UpdateWindow] = field(default_factory=list[UpdateWindow])

    def __post_init__(self) -> None:
        self._parts = [own for _, own in list_parts(self.run.model)]
        self._shown_at, self._shown_step = time.monotonic(), 0
        self._saved_at = time.monotonic()
        self._begin_window()

    def __call__(self, run: TrainingRun) -> None:
        if run.gradient_norm is not None:  # a step was taken since the run began or was taken up again
            self._add_gradients(run.gradient_norm)
            if run.step % self._window == 0:
                self._end_window()
        if run.step in self.recipe.checkpoints:
            self._keep_checkpoint()
        if run.step and run.step < self.recipe.steps and run.step % SAVE_EVERY == 0 and self._is_time_to_save():
            self._save_state()
        if run.step and run.step % SHOW_EVERY == 0:
            self._show()
        if run.step == self.recipe.steps:
            self._save_state()  # what was recorded outlasts a kill before the result is stored

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self._saved_at >= SAVE_AFTER_S

    @property
    def _window(self) -> int:
        return max(1, self.recipe.steps // WINDOWS)

    def _begin_window(self) -> None:
        self._began = [[p.detach().clone() for p in own] for own in self._parts]
        device = self._began[0][0].device
        self._gradients = torch.zeros(len(self._parts), dtype=torch.float64, device=device)

    def _add_gradients(self, norm: Tensor) -> None:
        # Gradients were cut together to a norm of at most CLIP; their own sizes are those before.
        whole = torch.clamp(norm / CLIP, min=1.0).double()
        own = [_norm([p.grad for p in part if p.grad is not None]) for part in self._parts]
        self._gradients += torch.stack(own) * whole

    def _end_window(self) -> None:
        sizes = torch.stack([_norm(own) for own in self._began])
        moved = [
            _norm([p.detach() - q for p, q in zip(own, began, strict=True)])
            for own, began in zip(self._parts, self._began, strict=True)
        ]
        self.windows.append(
            UpdateWindow(
                until=self.run.step,
                updates=tuple((torch.stack(moved) / sizes).tolist()),
                gradients=tuple((self._gradients / sizes / self._window).tolist()),
            )
        )
        self._begin_window()

    def _keep_checkpoint(self) -> None:
        model: Any = self.run.model
        step = self.run.step

        def write(folder: Path) -> None:
            with loading(self.recipe.stem, expected="room for checkpoints", remedy="free 200 MB of space"):
                model.save_pretrained(folder)

        if cached_weights(self.recipe.entry(step), write) is None:
            got, expected = f"a cache folder without room for {self.recipe.entry(step)}", "room for checkpoints"
            raise refusal(self.recipe.stem, got, expected, "free 200 MB of space, or set LM_CLAIMS_CACHE")

    def _save_state(self) -> None:
        run = self.run
        tensors = {f"model.{name}": p.detach() for name, p in run.model.named_parameters()}
        names = {id(p): name for name, p in run.model.named_parameters()}
        for group in run.optimizer.param_groups:
            for p in group["params"]:
                held = run.optimizer.state[p]
                tensors |= {f"{key}.{names[id(p)]}": value for key, value in held.items()}
        for k, own in enumerate(self._began):
            tensors |= {f"began.{k}.{j}": q for j, q in enumerate(own)}
        tensors |= {"gradients": self._gradients, "losses": run.losses}
        windows = [[w.until, list(w.updates), list(w.gradients)] for w in self.windows]
        about = {"step": str(run.step), "windows": json.dumps(windows)}
        beside = name_unfinished(self.recipe.state_file)
        save_file({name: t.contiguous().cpu().clone() for name, t in tensors.items()}, beside, metadata=about)
        sync(beside)
        beside.replace(self.recipe.state_file)
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Go on from the saved state, if there is one and every checkpoint before it is there."""
        file, run = self.recipe.state_file, self.run
        if not file.is_file():
            return
        with safe_open(str(file), framework="pt") as opened:
            about: dict[str, str] = opened.metadata()
        step = int(about["step"])
        if not all(is_whole(self.recipe.folder(k)) for k in self.recipe.checkpoints if k <= step):
            return  # what is lost can only be had from the beginning
        device = self._began[0][0].device
        tensors = {name: t.to(device) for name, t in load_file(file).items()}
        with torch.no_grad():
            for name, p in run.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                run.optimizer.state[p] = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        self._began = [[tensors[f"began.{k}.{j}"] for j in range(len(own))] for k, own in enumerate(self._parts)]
        self._gradients = tensors["gradients"]
        run.step, run.losses = step, tensors["losses"]
        self.windows = [
            UpdateWindow(until=until, updates=tuple(updates), gradients=tuple(gradients))
            for until, updates, gradients in json.loads(about["windows"])
        ]
        self._shown_step = step

    def _show(self) -> None:
        now, run = time.monotonic(), self.run
        tokens = (run.step - self._shown_step) * self.recipe.batch * self.recipe.context
        state = {
            "step": run.step,
            "loss": float(run.losses[run.step - 1]),
            "tokens_per_s": tokens / max(1e-9, now - self._shown_at),
        }
        self._shown_at, self._shown_step = now, run.step
        with suppress(OSError):  # a line of progress is worth no measurement
            self.recipe.status_file.write_text(json.dumps(state))


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.double().norm() for t in tensors]).norm()


def _curve_points(steps: int) -> tuple[int, ...]:
    """Steps at which the loss curve has a point: the last one, and a geometric series before."""
    return tuple(sorted({round(steps ** (k / CURVE_POINTS)) for k in range(CURVE_POINTS + 1)}))


def _read_checkpoint(recipe: Recipe, step: int, device: str) -> Any:
    folder = recipe.folder(step)
    loaded = load_weights(recipe.stem, folder, config=recipe.config(), dtype=torch.float32)
    model: Any = use_torch_parts(loaded)
    return model.to(device).eval().requires_grad_(False)


@torch.no_grad()
def continue_text(model: Any, tokenizer: Any, beginning: str) -> str:
    """A beginning with the likeliest tokens behind it."""
    ids = torch.tensor([tokenizer.encode(beginning).ids], device=model.device)
    for _ in range(SAMPLE_TOKENS):
        following = model(input_ids=ids[:, -model.config.n_positions :], use_cache=False).logits[:, -1].argmax(-1)
        ids = torch.cat([ids, following[:, None]], dim=1)
    return tokenizer.decode(ids[0].tolist())


@contextmanager
def one_thread() -> Generator[None]:
    """One thread, so that the bits of a long training do not depend on how many others run beside it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
