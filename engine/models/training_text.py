"""The text that the suite's own models are trained on: extracted, cleaned, without repetitions, split, and tokenized.

Every step is fixed by the source and a seed, so that equal sources give equal tokens.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import MissingError, SubjectError, explain
from engine.models.loading import loading
from engine.models.subject import refusal
from engine.models.tokenizers import find_wheel
from engine.models.weights_cache import cached_weights

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

BOTOCORE_WHEEL = "botocore==1.44.8"

VALIDATION_SHARE = 0.05
"""The least share of the sentences' characters that is kept from training."""

SPLIT_SEED = 0

MOST_BYTES = 64_000_000
"""Of a file of documentation, uncompressed: ten times the largest."""

VOCABULARY = 2048

END = "<|endoftext|>"
"""Stands between two sources of text; the first id of the vocabulary."""

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")

BLOCKS = frozenset(
    {
        *("p", "li", "ul", "ol", "dl", "dd", "dt", "div", "br", "pre", "table", "tr", "td", "th"),
        *("h1", "h2", "h3", "h4", "section", "note", "important", "caution", "examples", "fullname"),
    }
)
"""Elements behind which a paragraph ends."""

SUFFIXES = frozenset({".txt", ".md", ".rst"})
"""Files of a user's folder that are read."""


@dataclass(frozen=True, kw_only=True)
class TrainingText:
    """Text by source, as the paragraphs of each. No sentence occurs twice, and the two halves share no source.

    digest: SHA-256 of both halves.
    """

    training: Mapping[str, tuple[str, ...]]
    validation: Mapping[str, tuple[str, ...]]

    @cached_property
    def digest(self) -> str:
        hashed = hashlib.sha256()
        for half in (self.training, self.validation):
            for source, paragraphs in half.items():
                hashed.update(json.dumps([source, paragraphs]).encode())
            hashed.update(b"\0")
        return hashed.hexdigest()


class TextSource(ABC):
    """Where text to train on comes from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in reports."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """The digest of its text; known without reading it where it is pinned. Raises as `read` does."""

    @property
    def tokenizer_digest(self) -> str | None:
        """SHA-256 of the tokenizer that its training half gives; None where it is not pinned."""
        return None

    def missing(self) -> str | None:
        """One sentence with the command that installs what is missing; None if nothing is."""
        return None

    @abstractmethod
    def read(self) -> TrainingText:
        """The whole text. Raises MissingError if it is not installed, SubjectError if it is not what was pinned."""


@dataclass(frozen=True)
class BotocoreText(TextSource):
    """The documentation of Amazon's services, from the wheel of their Python client (Apache-2.0). One source each."""

    @property
    def name(self) -> str:
        return f"documentation in {BOTOCORE_WHEEL}"

    @property
    def digest(self) -> str:
        return "1c53264f101cc400052ae32a3ef18a27e871847c1e9345f0bcad0654b70f56ae"

    @property
    def tokenizer_digest(self) -> str | None:
        return "f665e6598fd3c07e9b23e1c6dd740d28f6640da933ee5f8e296bb7dc1d6e453a"

    def missing(self) -> str | None:
        wheel = find_wheel("botocore")
        if wheel is not None and (wheel / "data").is_dir():
            return None
        return f"The text to train on is not installed: pip install --no-deps {BOTOCORE_WHEEL}"

    def read(self) -> TrainingText:
        if (missing := self.missing()) is not None:
            raise MissingError(missing)
        wheel = find_wheel("botocore")
        assert wheel is not None
        documents: dict[str, list[str]] = {}
        for path in sorted((wheel / "data").glob("*/*/service-2.json*")):
            documents.setdefault(path.parts[-3], []).extend(find_documentation(read_json_file(path)))
        text = make_text(
            {service: [p for one in found for p in read_html(one)] for service, found in documents.items()}
        )
        if text.digest != self.digest:
            remedy = f"pip install --force-reinstall --no-deps {BOTOCORE_WHEEL}"
            raise refusal("training text", f"text of SHA-256 {text.digest}", self.digest, remedy)
        return text


@dataclass(frozen=True)
class FolderText(TextSource):
    """A folder of a user's own text: one source a file (.txt, .md, .rst), paragraphs between empty lines."""

    folder: Path

    @property
    def name(self) -> str:
        return f"text in {self.folder}"

    @property
    def digest(self) -> str:
        return _hash_folder(self.folder)

    def list_files(self) -> list[Path]:
        """Its files with text, in order."""
        return sorted(path for path in self.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())

    def read(self) -> TrainingText:
        files = self.list_files()
        if len(files) < 2:
            got, expected = f"{len(files)} text files in {self.folder}", "at least two, one of them to validate on"
            remedy = f"name a folder with files that end in {', '.join(sorted(SUFFIXES))}"
            raise SubjectError(explain(who="training text", got=got, expected=expected, remedy=remedy))
        found: dict[str, list[str]] = {}
        for path in files:
            try:
                whole = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise refusal("training text", f"{path}: {error}", "text in UTF-8", "remove or convert it") from error
            parts = re.split(r"\n\s*\n", whole)
            found[str(path.relative_to(self.folder))] = [" ".join(part.split()) for part in parts if part.strip()]
        return make_text(found)


BOTOCORE = BotocoreText()


@cache
def _hash_folder(folder: Path) -> str:
    return FolderText(folder).read().digest


def read_json_file(path: Path) -> Any:
    """The tree in a file of JSON, compressed or not. Raises SubjectError for one of more than MOST_BYTES."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        got, expected = f"{path} with more than {MOST_BYTES:,} bytes", "the files of the pinned wheel"
        raise refusal("training text", got, expected, f"pip install --force-reinstall --no-deps {BOTOCORE_WHEEL}")
    return json.loads(raw)


def find_documentation(tree: Any) -> Iterator[str]:
    """Every string called 'documentation' in a tree of JSON, in its order."""
    if isinstance(tree, dict):
        for name, value in tree.items():  # pyright: ignore[reportUnknownVariableType]
            if name == "documentation" and isinstance(value, str):
                yield value
            else:
                yield from find_documentation(value)
    elif isinstance(tree, list):
        for value in tree:  # pyright: ignore[reportUnknownVariableType]
            yield from find_documentation(value)


class _Paragraphs(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data.replace("\n", " "))


def read_html(text: str) -> list[str]:
    """The paragraphs of a piece of HTML, without tags, each on one line."""
    parser = _Paragraphs()
    parser.feed(text)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return [line for line in lines if line]


def make_text(sources: Mapping[str, Sequence[str]]) -> TrainingText:
    """Split sources into two halves, and keep each sentence where it comes first, in the training half if it is there.

    sources: the paragraphs of each, by name. Raises SubjectError if either half would be empty.
    """
    names = sorted(sources)
    random.Random(SPLIT_SEED).shuffle(names)  # noqa: S311 (a split is no secret)
    total = sum(len(paragraph) for name in names for paragraph in sources[name])
    held: set[str] = set()
    size = 0
    for name in names:
        if held and size >= VALIDATION_SHARE * total:
            break
        held.add(name)
        size += sum(map(len, sources[name]))
    seen: set[str] = set()
    halves: list[dict[str, tuple[str, ...]]] = []
    for chosen in (sorted(set(names) - held), sorted(held)):
        kept = ((name, tuple(_keep_new(sources[name], seen))) for name in chosen)
        halves.append({name: paragraphs for name, paragraphs in kept if paragraphs})
    training, validation = halves
    if not training or not validation:
        got = f"{len(training)} sources to train on and {len(validation)} to validate on"
        raise refusal("training text", got, "sentences for both", "give it more and longer sources")
    return TrainingText(training=training, validation=validation)


def _keep_new(paragraphs: Iterable[str], seen: set[str]) -> Iterator[str]:
    """The paragraphs with the sentences that have not been seen, which are seen from now on."""
    for paragraph in paragraphs:
        new: list[str] = []
        for sentence in SENTENCE_END.split(paragraph):
            if sentence not in seen:
                seen.add(sentence)
                new.append(sentence)
        if new:
            yield " ".join(new)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedText:
    """Both halves as one row of ids each, [tokens] of uint16. Sources follow each other behind END."""

    tokenizer: Tokenizer
    training: np.ndarray
    validation: np.ndarray


def train_tokenizer(paragraphs: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of VOCABULARY entries, END first, whose pieces join at spaces as GPT-2's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(paragraphs, trainer)
    return tokenizer


def tokenize(source: TextSource) -> TokenizedText:
    """The source's text in the ids of a tokenizer that is trained on its training half. Kept in the user's cache.

    Raises as `TextSource.read` does, and SubjectError where the cache cannot be written and there is no room elsewhere.
    """
    import numpy as np
    from tokenizers import Tokenizer

    def write(folder: Path) -> None:
        made = _tokenize(source)
        with loading("training text", expected="room for its tokens", remedy="free 100 MB of space"):
            made.tokenizer.save(str(folder / "tokenizer.json"))
            np.save(folder / "training.npy", made.training)
            np.save(folder / "validation.npy", made.validation)

    folder = cached_weights(f"text-{source.digest[:16]}-v{VOCABULARY}", write)
    if folder is None:
        return _tokenize(source)
    return TokenizedText(
        tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
        training=np.load(folder / "training.npy", allow_pickle=False),
        validation=np.load(folder / "validation.npy", allow_pickle=False),
    )


def _tokenize(source: TextSource) -> TokenizedText:
    import numpy as np

    text = source.read()
    tokenizer = train_tokenizer(paragraph for paragraphs in text.training.values() for paragraph in paragraphs)
    digest = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    if source.tokenizer_digest is not None and digest != source.tokenizer_digest:
        remedy = "install the version of tokenizers that constraints.txt names"
        raise refusal("training text", f"a tokenizer of SHA-256 {digest}", source.tokenizer_digest, remedy)

    def encode(half: Mapping[str, Sequence[str]]) -> np.ndarray:
        documents = [f"{END}{chr(10).join(paragraphs)}" for paragraphs in half.values()]
        encoded: Any = tokenizer.encode_batch(documents, add_special_tokens=False)
        return np.concatenate([np.asarray(one.ids, dtype=np.uint16) for one in encoded])

    return TokenizedText(tokenizer=tokenizer, training=encode(text.training), validation=encode(text.validation))
