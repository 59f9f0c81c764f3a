"""Small tokenizers of the kinds that people's models have, trained in a moment on the suite's own prompts."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.arms.prompts import DOCUMENT, SHORT
from engine.tests.tiny_models import make_llama

SIZE = 400
TEXTS = (*DOCUMENT, *SHORT, "The sky is blue and the water is blue. It is the word of the house.")
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPECIAL = (UNKNOWN, BEGIN, END)
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

KINDS = ("byte level", "metaspace", "metaspace, no prefix", "byte fallback", "unigram", "word piece")


def make_tokenizer(kind: str, *, begins: bool = False, size: int = SIZE) -> PreTrainedTokenizerBase:
    """A tokenizer of a kind. begins: whether it puts `<s>` before a text, as Llama's do."""
    made = _MAKERS[kind](size)
    if begins:
        made.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, made.token_to_id(BEGIN))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN)


def _train_byte_level(size: int) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _train(made, trainers.BpeTrainer(vocab_size=size, special_tokens=[*SPECIAL], initial_alphabet=alphabet))


def _train_metaspace(size: int, *, prefix: str = "always") -> Tokenizer:
    """SentencePiece's BPE: a space is part of the word behind it, and a text begins with one that nobody wrote."""
    made = Tokenizer(models.BPE(unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    made.decoder = decoders.Metaspace(prepend_scheme=prefix)
    return _train(made, trainers.BpeTrainer(vocab_size=size, special_tokens=[*SPECIAL]))


def _train_byte_fallback(size: int) -> Tokenizer:
    """As Llama 2's: normalized by a space before the text, and characters without a token fall back to bytes."""
    trained = _train_metaspace(size - len(BYTES))
    vocab = {token: index for index, token in enumerate((*SPECIAL, *BYTES))}
    for token, _ in sorted(trained.get_vocab().items(), key=lambda pair: pair[1]):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(pair) for pair in _merges_of(trained)]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return made


def _train_unigram(size: int) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return _train(made, trainers.UnigramTrainer(vocab_size=size, special_tokens=[*SPECIAL], unk_token=UNKNOWN))


def _train_word_piece(size: int) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return _train(made, trainers.WordPieceTrainer(vocab_size=size, special_tokens=[*SPECIAL]))


def _train(made: Tokenizer, trainer: object) -> Tokenizer:
    made.train_from_iterator(TEXTS, trainer)
    return made


def _merges_of(trained: Tokenizer) -> list[list[str]]:
    import json

    return json.loads(trained.to_str())["model"]["merges"]


_MAKERS = {
    "byte level": _train_byte_level,
    "metaspace": _train_metaspace,
    "metaspace, no prefix": lambda size: _train_metaspace(size, prefix="never"),
    "byte fallback": _train_byte_fallback,
    "unigram": _train_unigram,
    "word piece": _train_word_piece,
}


def save_llama(folder: Path, tokenizer: PreTrainedTokenizerBase, **changes: object) -> Path:
    """A Llama of two blocks with room for long continuations, beside its tokenizer."""
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 160, "initializer_range": 0.3}
    make_llama(**{**sizes, **changes}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
