"""Models that the suite trains itself: GPT-2 in small, on equal text, with several seeds and with checkpoints."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UsageError, explain
from engine.files import cache_folder, expand_home
from engine.models.families import GPT2, Attention
from engine.models.loading import load_weights
from engine.models.subject import Subject, Tier, refusal
from engine.models.training_text import BOTOCORE, END, VOCABULARY, FolderText, TextSource, tokenize
from engine.models.untrained import UntrainedSubject, check_seed, parse_seed
from engine.models.weights_cache import is_whole

if TYPE_CHECKING:
    import torch
    from transformers import GPT2Config, PreTrainedModel, PreTrainedTokenizerBase

CONTEXT = 128
HEAD_WIDTH = 32
PREFIX = "gpt2-mini-"

TRAINING_SEEDS = (0, 1, 2)
"""Of the models that claims draw."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size of the family: width, depth and heads grow together, as GPT-2's do. rate: the step size of its training.

    Rates were tuned on 600 steps, each size for itself: see docs/family.md.
    """

    name: str
    d_model: int
    blocks: int
    rate: float


SIZES = {
    size.name: size
    for size in (
        Size(name="d64", d_model=64, blocks=2, rate=4e-3),
        Size(name="d128", d_model=128, blocks=3, rate=2e-3),
        Size(name="d192", d_model=192, blocks=4, rate=2e-3),
        Size(name="d256", d_model=256, blocks=5, rate=1e-3),
    )
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a trained model's weights, on one machine with one version of PyTorch.

    steps, batch, context, warmup, decay: see engine.methods.training.TrainingPlan. checkpoints: steps after which the
    weights are kept; the last one is the end.
    """

    size: Size
    seed: int = 0
    text: TextSource = BOTOCORE
    steps: int = 8000
    batch: int = 16
    context: int = CONTEXT
    warmup: int = 200
    decay: float = 0.2
    checkpoints: tuple[int, ...] = (0, 30, 100, 300, 1000, 3000, 6400, 8000)

    @property
    def tokens(self) -> int:
        """Tokens that are read in training."""
        return self.steps * self.batch * self.context

    def fingerprint(self) -> str:
        """Names the recipe and the version of PyTorch, with which equal recipes may end in other weights."""
        facts = {
            "size": [self.size.d_model, self.size.blocks, HEAD_WIDTH, VOCABULARY],
            "seed": self.seed,
            "text": self.text.digest,
            "training": [self.steps, self.batch, self.context, self.size.rate, self.warmup, self.decay],
            "checkpoints": self.checkpoints,
            "torch": version("torch").partition("+")[0],
        }
        return f"trained:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"

    def config(self) -> GPT2Config:
        from transformers import GPT2Config

        return GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=self.context,
            n_embd=self.size.d_model,
            n_layer=self.size.blocks,
            n_head=self.size.d_model // HEAD_WIDTH,
            # A text of several passes is not repeated often enough for dropout to help models this small.
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )

    def folder(self, step: int) -> Path:
        """Where the weights after so many steps lie, whether they are there or not."""
        return cache_folder() / self.entry(step)

    def entry(self, step: int) -> str:
        """The name of that folder."""
        return f"{self.stem}-step{step:06}"

    @property
    def stem(self) -> str:
        """The beginning of the names of all files of this recipe in the cache."""
        return f"{PREFIX}{self.size.name}-{self.fingerprint().partition(':')[2][:16]}"

    @property
    def state_file(self) -> Path:
        """Where a training that is under way can be taken up again."""
        return cache_folder() / f"{self.stem}.state.safetensors"

    @property
    def status_file(self) -> Path:
        """How far a training is, for those who wait for it."""
        return cache_folder() / f"{self.stem}.status.json"

    def is_trained(self) -> bool:
        """Whether every checkpoint lies whole in the cache."""
        return all(is_whole(self.folder(step)) for step in self.checkpoints)


@dataclass(frozen=True, kw_only=True)
class TrainedSubject(Subject):
    """A model that is trained where it is needed, or of several seeds those that a claim draws.

    step: of the checkpoint; the recipe's last one is the end. seeded: whether the name fixes the seed.
    """

    recipe: Recipe
    step: int
    seeded: bool = False

    @property
    def tier(self) -> Tier:
        return "cpu"

    @property
    def trained(self) -> bool:
        return self.step > 0

    @property
    def own(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return GPT2.key

    @property
    def drawn(self) -> bool:
        return not self.seeded

    @property
    def seeds(self) -> tuple[int, ...]:
        return TRAINING_SEEDS

    @property
    def tuning_seed(self) -> int:
        # Another training would cost as much as those that are measured. Tuning has prompts of its own.
        return TRAINING_SEEDS[0]

    def draw(self, seed: int) -> TrainedSubject:
        return make_trained(replace(self.recipe, seed=check_seed(self.id, seed)), self.step, seeded=True)

    @property
    def whole(self) -> TrainedSubject:
        """The run of its seed, at its end."""
        return make_trained(self.recipe, seeded=True)

    def sized(self, name: str) -> TrainedSubject:
        """The same run of another size."""
        return make_trained(replace(self.recipe, size=SIZES[name]), self.step, seeded=self.seeded)

    def at(self, step: int) -> TrainedSubject:
        """The same run after so many steps. Raises UsageError unless there is a checkpoint."""
        if step not in self.recipe.checkpoints:
            expected = f"one of {', '.join(map(str, self.recipe.checkpoints))}"
            example = make_trained(self.recipe, self.recipe.checkpoints[1], seeded=self.seeded)
            remedy = f"write {example.id}, for example"
            raise UsageError(explain(who=f"subject {self.id}", got=f"step {step}", expected=expected, remedy=remedy))
        return make_trained(self.recipe, step, seeded=self.seeded)

    def fingerprint(self) -> str:
        return f"{self.recipe.fingerprint()}@{self.step}"

    def missing(self) -> str | None:
        return self.recipe.text.missing()

    def config(self) -> GPT2Config:
        return self.recipe.config()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import PreTrainedTokenizerFast

        made = tokenize(self.recipe.text).tokenizer
        return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, bos_token=END)

    def untrained(self, seed: int) -> Subject:
        return make_untrained(self.whole, check_seed(self.id, seed))

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        folder = self.recipe.folder(self.step)
        if not is_whole(folder):
            got, expected = f"no weights after step {self.step} in {folder}", "a model that was trained on this machine"
            remedy = f"run lm-claims verify --subject {self.id}, which trains it first"
            raise refusal(self.id, got, expected, remedy)
        return load_weights(self.id, folder, config=self.config(), dtype=dtype, attention=attention)


def train_on(subject: Subject, text: TextSource) -> Subject:
    """A model of the family, or its untrained twin, on another text; any other subject as it is."""
    if isinstance(subject, TrainedSubject):
        return make_trained(replace(subject.recipe, text=text), subject.step, seeded=subject.seeded)
    if isinstance(subject, UntrainedSubject) and isinstance(subject.pattern, TrainedSubject):
        pattern = subject.pattern
        return make_untrained(make_trained(replace(pattern.recipe, text=text)), subject.seed)
    return subject


def name_subject(recipe: Recipe, step: int, *, seeded: bool) -> str:
    """The id of a subject: 'gpt2-mini-d64', with what differs from the usual behind it: '+FOLDER', ':SEED', '@STEP'."""
    seed = f":{recipe.seed}" if seeded else ""
    at = f"@{step}" if step != recipe.checkpoints[-1] else ""
    return f"{PREFIX}{recipe.size.name}{_name_text(recipe)}{seed}{at}"


def _name_text(recipe: Recipe) -> str:
    return f"+{recipe.text.folder}" if isinstance(recipe.text, FolderText) else ""


def make_trained(recipe: Recipe, step: int | None = None, *, seeded: bool = False) -> TrainedSubject:
    """The subject of a recipe after so many steps; None for its end. seeded: its name fixes the seed."""
    size, step = recipe.size, recipe.checkpoints[-1] if step is None else step
    note = (
        f"Trained by the suite: {size.blocks} GPT-2 blocks, d_model {size.d_model}, {VOCABULARY:,} tokens, tied head, "
        f"{recipe.tokens / 1e6:.1f} million tokens of {recipe.text.name}"
    )
    name = name_subject(recipe, step, seeded=seeded)
    return TrainedSubject(id=name, note=note, recipe=recipe, step=step, seeded=seeded)


def make_recipe(size: str, seed: int = 0, text: TextSource = BOTOCORE) -> Recipe:
    """The recipe of a size of the family."""
    return Recipe(size=SIZES[size], seed=seed, text=text)


TRAINED_FAMILY = tuple(make_trained(make_recipe(size)) for size in SIZES)

NAME = re.compile(
    rf"{PREFIX}(?P<size>d\d+)(?P<untrained>-untrained)?(?:\+(?P<text>.+?))?(?::(?P<seed>[^:@]*))?(?:@(?P<step>[^:@]*))?"
)


def find_trained(name: str) -> Subject | None:
    """The model of the family called `name`, such as 'gpt2-mini-d64:1@300'; None for a name of none.

    A folder behind '+' has the text to train on: 'gpt2-mini-d64+texts:1@300'. Raises UsageError for a bad seed or a
    step without a checkpoint.
    """
    match = NAME.fullmatch(name)
    if match is None or match["size"] not in SIZES:
        return None
    text = FolderText(expand_home(match["text"]).resolve()) if match["text"] else BOTOCORE
    stem = f"{PREFIX}{match['size']}"
    if match["untrained"]:
        if match["step"] is not None:
            expected, remedy = "none, since its weights are random", f"write {stem}@{match['step']}"
            raise UsageError(explain(who=f"subject {name}", got="a step", expected=expected, remedy=remedy))
        seed = parse_seed(f"{stem}-untrained", match["seed"]) if match["seed"] is not None else None
        return make_untrained(make_trained(make_recipe(match["size"], text=text)), seed)
    seed = parse_seed(stem, match["seed"]) if match["seed"] is not None else 0
    found = make_trained(make_recipe(match["size"], seed, text), seeded=match["seed"] is not None)
    if match["step"] is None:
        return found
    if not (match["step"].isascii() and match["step"].isdigit()):
        expected = f"one of {', '.join(map(str, found.recipe.checkpoints))}"
        got, remedy = f"step {match['step']!r}", f"write {stem}@300"
        raise UsageError(explain(who=f"subject {found.id}", got=got, expected=expected, remedy=remedy))
    return found.at(int(match["step"]))


def make_untrained(pattern: TrainedSubject, seed: int | None) -> UntrainedSubject:
    """The configuration of a size with random weights. seed: None if the name has none."""
    recipe = pattern.recipe
    stem = f"{PREFIX}{recipe.size.name}-untrained{_name_text(recipe)}"
    return UntrainedSubject(
        id=stem if seed is None else f"{stem}:{seed}",
        stem=stem,
        note=f"The configuration of {PREFIX}{recipe.size.name} with random weights (initializer_range 0.02)",
        size="cpu",
        seed=seed,
        pattern=pattern,
    )
