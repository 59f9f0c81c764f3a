"""The token-embedding matrix itself: its round trip, its pseudo-inverse, and the words in its vocabulary."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from engine.errors import SubjectError, explain, say_count
from engine.experiments.embedding.arm import (
    PseudoInverseArm,
    PseudoInverseResult,
    RoundTripArm,
    RoundTripResult,
    TokenFailure,
    VocabularyArm,
    VocabularyResult,
)
from engine.experiments.embedding.ridge import compare_with_ridge
from engine.experiments.inputs import make_generator
from engine.experiments.language.word_frequency import FLOOR, log_frequency
from engine.methods.round_trip import find_round_trip_misses
from engine.models.loaded import LoadedModels
from engine.models.stacks import embedding_weight
from engine.models.token_text import encodes_to_itself, read_token, read_tokens


def measure_round_trip(arm: RoundTripArm, models: LoadedModels) -> RoundTripResult:
    """Decode every row of W, and sort the ids by whether their own text encodes back to them."""
    codec = models.codec(arm.subject, arm.dtype, arm.device)
    tokenizer = models.tokenizer(arm.subject)
    vocab = min(codec.vocab, len(tokenizer))
    special = special_ids(tokenizer, vocab)
    own = {
        i for i, comes_back in enumerate(encodes_to_itself(tokenizer, range(vocab), who=arm.subject)) if comes_back
    } - special
    failures, apart = [], []
    for miss in find_round_trip_misses(codec):
        if miss.id in special or miss.id >= vocab:
            continue
        failure = TokenFailure(
            id=miss.id,
            text=read_token(tokenizer, miss.id),
            winner=miss.winner,
            winner_text=read_token(tokenizer, miss.winner),
            leverage=miss.leverage,
            winner_leverage=miss.winner_leverage,
        )
        (failures if miss.id in own else apart).append(failure)
    return RoundTripResult(
        vocab=codec.vocab,
        tried=len(own),
        apart=vocab - len(special) - len(own),
        special=len(special),
        failures=tuple(failures),
        failures_apart=tuple(apart),
    )


def special_ids(tokenizer: PreTrainedTokenizerBase, vocab: int) -> set[int]:
    """Ids that stand for no text: the named ones (end of text …) and the others that the tokenizer marks so."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {i for i in {*tokenizer.all_special_ids, *marked} if i < vocab}


def measure_pseudo_inverse(arm: PseudoInverseArm, models: LoadedModels) -> PseudoInverseResult:
    """The embedding matrix, or a random one of known rank, in float64."""
    if arm.matrix == "embedding":
        model = models.model(arm.subject, "float32", arm.device)
        weight = embedding_weight(model).double()
        return compare_with_ridge(weight, expected_rank=min(weight.shape), noise=make_generator("norm", 0))
    shape, rank, seed = (part.split(":")[-1].split("=")[-1] for part in arm.matrix.removeprefix("random:").split(":"))
    rows, columns = map(int, shape.split("x"))
    source = make_generator("matrix", seed)
    # Small integers: the product is exact, so that the matrix has this rank and not one more by rounding.
    left = torch.randint(-3, 4, (rows, int(rank)), generator=source).double()
    right = torch.randint(-3, 4, (int(rank), columns), generator=source).double()
    return compare_with_ridge(
        (left @ right).to(arm.device), expected_rank=int(rank), noise=make_generator("norm", seed)
    )


def measure_vocabulary(arm: VocabularyArm, models: LoadedModels) -> VocabularyResult:
    """Mean and quartiles of the log₁₀ frequency of every token that is a word-initial word.

    Raises SubjectError where there is none.
    """
    tokenizer = models.tokenizer(arm.subject)
    texts = read_tokens(tokenizer, range(len(tokenizer)))
    known = [value for value in map(log_frequency, texts.values()) if value is not None]
    if not known:
        got, expected = f"{say_count(len(texts), 'token')}, none of them a word", "a vocabulary with words in it"
        raise SubjectError(explain(who=arm.subject, got=got, expected=expected, remedy="choose another model"))
    values = torch.tensor(known, dtype=torch.float64)
    quartiles = values.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return VocabularyResult(
        vocab=len(texts),
        words=len(known),
        log_frequency=float(values.mean()),
        floor=FLOOR,
        quartiles=(quartiles[0], quartiles[1], quartiles[2]),
    )
