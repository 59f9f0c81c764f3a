"""Measurements on the token-embedding matrix: its round trip, its pseudo-inverse, and the words in its vocabulary."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.arms.prompts import LONG, MORE, SHORT
from engine.errors import PromptError, SubjectError, explain, say_count
from engine.experiments.embedding.arm import (
    PseudoInverseArm,
    PseudoInverseResult,
    RoundTripArm,
    RoundTripResult,
    TokenFailure,
    VocabularyArm,
    VocabularyResult,
)
from engine.experiments.inputs import make_generator
from engine.experiments.word_frequency import FLOOR, log_frequency
from engine.methods.round_trip import find_round_trip_misses
from engine.models.loaded import LoadedModels
from engine.models.stacks import embedding_weight
from engine.models.token_text import encode, encodes_to_itself, read_token, read_tokens

LEVELS = 7
"""Ridge solutions that the limit is extrapolated from; each α is half of the one before."""

PROBES = 64
"""Right-hand sides for which the minimum norm is checked."""

NO_NULL_SPACE = 1e-6
"""Share of random noise below which a projection on a null space counts as zero. Rounding leaves about 1e-15 · cond."""


def measure_round_trip(arm: RoundTripArm, models: LoadedModels) -> RoundTripResult:
    """Decode every row of W, and sort the ids by whether their own text encodes back to them."""
    codec = models.codec(arm.subject, arm.dtype, arm.device)
    tokenizer = models.tokenizer(arm.subject)
    # W may have more rows than the tokenizer has ids, or fewer.
    vocab = min(codec.vocab, len(tokenizer))
    special = special_ids(tokenizer, vocab)
    encoded_back = encodes_to_itself(tokenizer, range(vocab), who=arm.subject)
    tried = {i for i, comes_back in enumerate(encoded_back) if comes_back} - special
    failures, failures_apart = [], []
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
        (failures if miss.id in tried else failures_apart).append(failure)
    sentences: list[bool] = []
    if arm.sentences:
        lost = {failure.id for failure in (*failures, *failures_apart)}
        for sentence in (*SHORT, *MORE, *LONG):
            with suppress(PromptError):  # a tokenizer that has no tokens for it
                sentences.append(lost.isdisjoint(encode(tokenizer, sentence, who=arm.subject)))
    return RoundTripResult(
        vocab=codec.vocab,
        tried=len(tried),
        apart=vocab - len(special) - len(tried),
        special=len(special),
        failures=tuple(failures),
        failures_apart=tuple(failures_apart),
        sentences=tuple(sentences),
    )


def special_ids(tokenizer: PreTrainedTokenizerBase, vocab: int) -> set[int]:
    """Ids below `vocab` that stand for no text: named ones (end of text …) and others that the tokenizer marks so."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {i for i in {*tokenizer.all_special_ids, *marked} if i < vocab}


def measure_pseudo_inverse(arm: PseudoInverseArm, models: LoadedModels) -> PseudoInverseResult:
    """Compare two pseudo-inverses of the embedding matrix, or of a random matrix of known rank, in float64."""
    if arm.matrix == "embedding":
        model = models.model(arm.subject, "float32", arm.device)
        weight = embedding_weight(model).double()
        return compare_with_ridge(weight, expected_rank=min(weight.shape), noise=make_generator("norm", 0))
    shape, rank, seed = (part.split(":")[-1].split("=")[-1] for part in arm.matrix.removeprefix("random:").split(":"))
    rows, columns = map(int, shape.split("x"))
    generator = make_generator("matrix", seed)
    # With small integers the product is exact, so rounding cannot raise the rank.
    left = torch.randint(-3, 4, (rows, int(rank)), generator=generator).double()
    right = torch.randint(-3, 4, (int(rank), columns), generator=generator).double()
    return compare_with_ridge(
        (left @ right).to(arm.device), expected_rank=int(rank), noise=make_generator("norm", seed)
    )


def compare_with_ridge(weight: Tensor, *, expected_rank: int, noise: torch.Generator) -> PseudoInverseResult:
    """Compare W⁺ from the singular value decomposition with W⁺ as a limit of ridge solutions.

    weight: W [rows, columns] in float64. noise: draws the other solutions that W⁺e is compared with.
    The tolerance is 10 · cond(W)² · ε: cond counts the non-zero singular values, and ε is float32's, the precision in
    which W is stored and in which the document inverts it.
    Source: the document's two definitions of W⁺ (section 'Sentence Representation with Language Models').
    """
    # W = QR with orthonormal columns in Q, so W⁺ = R⁺Qᵀ. Qᵀ changes no norm: it is enough to compare R⁺.
    orthonormal, triangle = torch.linalg.qr(weight)
    left, singular, right = torch.linalg.svd(triangle)
    cutoff = max(weight.shape) * torch.finfo(weight.dtype).eps * singular[0]
    rank = int((singular > cutoff).sum())
    by_svd = (right[:rank].T / singular[:rank]) @ left[:, :rank].T  # R⁺: [columns, columns]
    condition = float(singular[0] / singular[rank - 1])

    # The limit of (WᵀW + αI)⁻¹Wᵀ as α → 0⁺, without any use of W's singular vectors: solutions at falling α are
    # extrapolated to α = 0 (Richardson). WᵀW + αI is positive definite for every α > 0, whatever the rank of W.
    gram = weight.T @ weight
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    alphas = [float(singular[rank - 1] ** 2) / 8 / 2**level for level in range(LEVELS)]
    inverses = [torch.cholesky_inverse(torch.linalg.cholesky(gram + alpha * identity)) for alpha in alphas]
    limit = torch.zeros_like(gram)
    for share, inverse in zip(extrapolation_weights(alphas), inverses, strict=True):
        limit += share * inverse

    # Minimum norm: ‖W⁺e‖ / ‖a‖ over other solutions a of Wᵀa = e, where e are some rows of W.
    rows = torch.linspace(0, len(weight) - 1, min(PROBES, len(weight))).long().to(weight.device)
    solutions = weight[rows] @ by_svd @ orthonormal.T  # [probes, rows of W]
    drawn = torch.randn(solutions.shape, generator=noise, dtype=torch.float64).to(weight.device)
    null = drawn - (drawn @ weight) @ by_svd @ orthonormal.T  # in the null space of Wᵀ
    norms, lengths = solutions.norm(dim=-1), null.norm(dim=-1)
    # If W has no more rows than its rank, there is no null space, and what remains of the noise is rounding.
    lengths = torch.where(lengths > NO_NULL_SPACE * drawn.norm(dim=-1), lengths, torch.inf)
    moved = (solutions + null * (norms / lengths)[:, None]).norm(dim=-1)
    # The one-hot vector of a row is a solution too, of norm 1. A zero row has the zero solution: nothing is shorter.
    excess_norm = torch.maximum(norms, torch.where(moved > 0, norms / moved, 0.0)).max()

    def difference(gram_inverse: Tensor) -> float:
        return float((gram_inverse @ triangle.T - by_svd).norm() / by_svd.norm())

    return PseudoInverseResult(
        rows=weight.shape[0],
        columns=weight.shape[1],
        rank=rank,
        expected_rank=expected_rank,
        condition=condition,
        difference=difference(limit),
        tolerance=10 * condition**2 * torch.finfo(torch.float32).eps,
        excess_norm=float(excess_norm),
        ridge=tuple((alpha, difference(inverse)) for alpha, inverse in zip(alphas[::3], inverses[::3], strict=True)),
    )


def extrapolation_weights(alphas: list[float]) -> list[float]:
    """Weights of the values at `alphas` in the value at 0 of the polynomial through them (Lagrange's form)."""
    weights = []
    for k, alpha in enumerate(alphas):
        weight = 1.0
        for j, other in enumerate(alphas):
            if j != k:
                weight *= other / (other - alpha)
        weights.append(weight)
    return weights


def measure_vocabulary(arm: VocabularyArm, models: LoadedModels) -> VocabularyResult:
    """Mean and quartiles of log₁₀ frequency over all tokens that are word-initial words.

    Raises SubjectError for a vocabulary without any.
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
