"""Tokens to embeddings and back through the pseudo-inverse of the token-embedding matrix.

With W of shape [vocab, d_model], a token's embedding is e = Wᵀa for a one-hot a. The document decodes an embedding by
the largest coefficient of the minimum-norm solution a. Since W⁺ = (WᵀW)⁺Wᵀ, the coefficients are W (WᵀW)⁺ e: a
factor of d_model × d_model is enough, and no inverse of the size of the vocabulary is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import ShapeError
from engine.models.pseudo_inverse import invert_gram

SCORES_BYTES = 64 * 2**20
"""The most memory that one block of coefficients may take."""


class Codec:
    """Embeds ids and decodes embeddings for one token-embedding matrix.

    weight: [vocab, d_model]. computed: whether its numbers are results, as of a norm: see `invert_gram`.
    gram_inverse: (WᵀW)⁺, where it is known (on the meta device there are no eigenvalues).
    """

    def __init__(self, weight: Tensor, gram_inverse: Tensor | None = None, *, computed: bool = False) -> None:
        self.weight = weight
        self.vocab, self.d_model = weight.shape
        inverse = invert_gram(weight, computed=computed).matrix if gram_inverse is None else gram_inverse
        self.gram_inverse = inverse.to(weight.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, without positions: [...] → [..., d_model]."""
        return self.weight[ids]

    def coefficients(self, embeddings: Tensor) -> Tensor:
        """Pseudo-inverse coefficients: [..., d_model] → [..., vocab]. Source: equation 3."""
        self._check(embeddings)
        return (embeddings @ self.gram_inverse) @ self.weight.T

    def decode(self, embeddings: Tensor) -> Tensor:
        """Token whose pseudo-inverse coefficient is largest, at each position.

        embeddings: [..., d_model], without positions. Returns ids [...].
        Raises ShapeError when the last axis is not d_model. Source: equation 3.
        """
        return self.top(embeddings, 1)[..., 0]

    def top(self, embeddings: Tensor, k: int) -> Tensor:
        """The k tokens with the largest coefficients, largest first: [..., d_model] → ids [..., k].

        Gives all tokens if the vocabulary has fewer than k.
        """
        self._check(embeddings)
        k = min(k, self.vocab)
        flat = embeddings.reshape(-1, self.d_model)
        # The coefficients of all positions at once could exceed the memory of a device.
        rows = max(1, SCORES_BYTES // (self.vocab * flat.element_size()))
        found = [self.coefficients(part).topk(k, dim=-1).indices for part in flat.split(rows)]
        return torch.cat(found).reshape(*embeddings.shape[:-1], k)

    def leverages(self) -> Tensor:
        """Leverage of each row, the diagonal of W W⁺: [vocab]."""
        return (self.project_rows() * self.weight).sum(-1)

    def project_rows(self) -> Tensor:
        """W (WᵀW)⁺, whose product with Wᵀ holds every row's coefficients: [vocab, d_model]."""
        return self.weight @ self.gram_inverse

    def _check(self, embeddings: Tensor) -> None:
        if embeddings.shape[-1] != self.d_model:
            raise ShapeError(
                f"decode: last axis is {embeddings.shape[-1]}, expected d_model={self.d_model}; "
                "pass embeddings, not logits"
            )


@torch.no_grad()
def find_equal_rows(weight: Tensor) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more tokens whose rows of W [vocab, d_model] are equal: no model can tell them apart.

    Within a group and among groups, the lowest id comes first.
    """
    _, group, sizes = torch.unique(weight, dim=0, return_inverse=True, return_counts=True)
    shared = torch.nonzero(sizes[group] > 1)[:, 0].tolist()
    groups: dict[int, list[int]] = {}
    for token, name in zip(shared, group[shared].tolist(), strict=True):
        groups.setdefault(name, []).append(token)
    return tuple(sorted(tuple(tokens) for tokens in groups.values()))


def equal_tokens(groups: tuple[tuple[int, ...], ...]) -> dict[int, tuple[int, ...]]:
    """The other tokens of each token's group."""
    return {token: tuple(i for i in group if i != token) for group in groups for token in group}
