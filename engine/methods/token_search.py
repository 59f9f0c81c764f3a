"""Recover prompts from activations alone.

A descent guesses token embeddings, a decoder ranks tokens by their distance from the guess, and a forward pass checks
which of them gives the activations again. Nothing here is given a prompt.

Source: Nikolaou et al. 2025 (arXiv 2510.15511), for recovering one position after the other and checking candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.arms.settings import Method
from engine.methods.activation_distance import ActivationDistance
from engine.methods.descent import DescentPlan, NeverStop, Problem, descend
from engine.models.codec import Codec
from engine.models.devices import to_device
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.stacks import BlockStack

FIRST_WINDOW, GROWTH = 32, 4
"""Candidates that are checked first at a position, and the factor by which each further window is larger."""

CHECK_BYTES = 192 * 2**20
"""Most memory of candidates that are checked together."""


@dataclass(frozen=True, kw_only=True)
class ObservedActivations:
    """All that a method may read of the prompts.

    hidden: activations behind the stack's blocks [units, tokens, width], padded on the right. lengths: [units].
    """

    hidden: Tensor
    lengths: Tensor


@dataclass(frozen=True, kw_only=True)
class TokenSearch:
    """Settings of a search.

    plan, step: of every descent. mean, std: of the normal distribution that descents start from.
    draw: (unit, turn) → standard normal noise of the unit's starts [starts, tokens of its prompt, d_model], where turn
    counts the guesses before.
    distance, epsilons: how activations are compared, and the distance up to which they count as equal, by position.
    equal_tokens: for a token, the others with the same row of W.
    """

    method: Method
    plan: DescentPlan
    step: float
    mean: float
    std: float
    draw: Callable[[int, int], Tensor]
    distance: ActivationDistance
    epsilons: Sequence[float]
    equal_tokens: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class TokenMatch:
    """The result at one position of one prompt.

    token: None if no token of the vocabulary matched. same: other tokens with equal activations, among those checked.
    checks: candidates that went through the stack. guesses: descents whose ends candidates were taken from.
    distance: of the token's activations; NaN without a check or a match. runner_up: the smallest distance of a checked
    candidate that did not match, infinite without one.
    """

    token: int | None
    same: tuple[int, ...] = ()
    checks: int = 0
    guesses: int = 1
    distance: float = nan
    runner_up: float = inf


def recover(
    stack: BlockStack, codec: Codec, observed: ObservedActivations, search: TokenSearch
) -> list[tuple[TokenMatch, ...]]:
    """Search for the token at each position of each prompt, from the first position to the last.

    Returns one row of matches for each unit. A row ends early at a position where no token matched, since the search
    would go on behind a wrong prefix.
    """
    vocab, device = codec.vocab, observed.hidden.device
    lengths = [int(n) for n in observed.lengths.tolist()]
    guess = _Guesser(stack, observed, search)
    matches: list[list[TokenMatch]] = [[] for _ in lengths]

    def index(places: list[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.long, device=device)

    # Units that are still searched, and behind which tokens: the keys and values of those found so far.
    active, prefix = list(range(len(lengths))), Prefix()
    for t in range(max(lengths)):
        staying = [k for k, unit in enumerate(active) if lengths[unit] > t]
        active, prefix = [active[k] for k in staying], prefix.select(index(staying))

        if not search.method.verify:
            # The decoder's first choice is taken unchecked.
            first = score_tokens(codec, guess(active, t, 0, prefix), search.method).argmin(-1)
            here = [TokenMatch(token=token) for token in first.tolist()]
        else:
            # Check the tokens nearest to a guess. While none gives the activations again, guess anew and check a
            # larger window of tokens that were not tried before, at last the whole vocabulary.
            here = [TokenMatch(token=None, guesses=0) for _ in active]
            hidden = observed.hidden[index(active), t]  # [active, width]
            tried = torch.zeros(len(active), vocab, dtype=torch.bool, device=device)
            unmatched, turn, checked, window = list(range(len(active))), 0, 0, FIRST_WINDOW
            while unmatched and checked < vocab:
                rows, width = index(unmatched), min(window, vocab - checked)
                own_prefix = prefix.select(rows)
                guessed = guess([active[k] for k in unmatched], t, turn, own_prefix)
                scores = score_tokens(codec, guessed, search.method).masked_fill(tried[rows], inf)
                candidates = scores.topk(width, largest=False).indices  # [unmatched, window], nearest first
                tried[rows] = tried[rows].scatter(1, candidates, value=True)
                distances = check_candidates(stack, codec, search.distance, own_prefix, candidates, hidden[rows])
                turn, checked, window = turn + 1, checked + width, window * GROWTH
                for k, ids, of_ids in zip(unmatched, candidates.tolist(), distances.tolist(), strict=True):
                    # NaN neither matches nor counts as a runner-up.
                    matched = [(d, i) for i, d in zip(ids, of_ids, strict=True) if d <= search.epsilons[t]]
                    nearest_other = min((d for d in of_ids if d > search.epsilons[t]), default=inf)
                    distance, token = min(matched, default=(nan, None))
                    # Tokens with equal rows match as well, whether they were in the window or not.
                    same = {i for _, i in matched}
                    same |= {other for i in same for other in search.equal_tokens.get(i, ())}
                    here[k] = TokenMatch(
                        token=token,
                        same=tuple(sorted(same - {token})),
                        checks=checked,
                        guesses=turn,
                        distance=distance,
                        runner_up=min(here[k].runner_up, nearest_other),
                    )
                unmatched = [k for k in unmatched if here[k].token is None]

        for unit, match in zip(active, here, strict=True):
            matches[unit].append(match)

        # Go on behind the tokens that were found.
        found = [k for k, match in enumerate(here) if match.token is not None]
        active, prefix = [active[k] for k in found], prefix.select(index(found))
        if not active:
            break
        ids = torch.tensor([here[k].token for k in found], device=device)[:, None]  # [active, 1]
        prefix = extend_prefix(stack, prefix, codec.embed(ids) + NextPosition(stack, prefix).positions(1))
    return [tuple(row) for row in matches]


class _Guesser:
    """Guesses token embeddings: ends of descents on the observed activations, of all positions together or of one."""

    def __init__(self, stack: BlockStack, observed: ObservedActivations, search: TokenSearch) -> None:
        self._stack, self._observed, self._search = stack, observed, search
        self._joint: dict[int, Tensor] = {}

    def __call__(self, units: list[int], position: int, turn: int, prefix: Prefix) -> Tensor:
        """Guesses at one position behind each unit's prefix, positions taken off: [units, d_model].

        turn: number of guesses before this one.
        """
        hidden, lengths = self._observed.hidden, self._observed.lengths
        rows = torch.tensor(units, dtype=torch.long, device=hidden.device)
        if self._search.method.token_by_token:
            starts = self._draw_starts(units, turn)
            behind = NextPosition(self._stack, prefix.repeat(starts.shape[1]))
            here = slice(position, position + 1)
            return self._descend(behind, starts[:, :, here], hidden[rows, here], torch.ones_like(lengths[rows]))[:, 0]
        # A joint descent moves every position of every unit: one serves a whole turn.
        if turn not in self._joint:
            starts = self._draw_starts(range(len(hidden)), turn)
            self._joint[turn] = self._descend(self._stack, starts, hidden, lengths)
        return self._joint[turn][rows, position]

    def _draw_starts(self, units: Sequence[int], turn: int) -> Tensor:
        """One start of a descent or several for each unit, padded with zeros: [units, starts, tokens, d_model]."""
        noise = [self._search.draw(unit, turn).transpose(0, 1) for unit in units]  # [tokens, starts, d_model] each
        starts = pad_sequence([self._search.mean + self._search.std * one for one in noise], batch_first=True)
        hidden = self._observed.hidden
        return to_device(starts.transpose(1, 2).contiguous(), hidden.device, hidden.dtype)

    def _descend(self, stack: BlockStack | NextPosition, starts: Tensor, hidden: Tensor, lengths: Tensor) -> Tensor:
        """The end of each unit's closest descent, positions taken off: [units, tokens, d_model].

        starts: [units, starts, tokens, d_model]. hidden: [units, tokens, width].
        """
        each = starts.shape[1]
        problem = Problem(
            output=hidden.repeat_interleave(each, dim=0),
            start=starts.flatten(0, 1),
            lengths=lengths.repeat_interleave(each),
            steps=torch.full_like(starts[:, :, 0, 0].flatten(), self._search.step),
            bound=None,
        )
        trace = descend(stack, problem, self._search.plan, NeverStop())
        ends = trace.final.unflatten(0, starts.shape[:2])
        last = trace.distances[self._search.plan.iterations].view(starts.shape[:2])
        best = last.nan_to_num(nan=torch.inf).argmin(1)  # [units]
        return ends[torch.arange(len(ends), device=ends.device), best] - stack.positions(starts.shape[2])


def score_tokens(codec: Codec, guess: Tensor, method: Method) -> Tensor:
    """Distance of every token from guesses, by the method's decoder: [units, d_model] → [units, vocab].

    Scores order tokens; a smaller one is nearer. A guess that is not finite counts as zero, and one too large to be
    squared is clamped.
    """
    edge = torch.finfo(guess.dtype).max ** 0.25
    guess = guess.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(-edge, edge)
    if method.decoder == "pseudo-inverse":
        return -codec.coefficients(guess)
    # ‖g − w‖² without ‖g‖², which is the same for every token.
    return codec.weight.square().sum(-1) - 2 * guess @ codec.weight.T


@torch.no_grad()
def check_candidates(
    stack: BlockStack, codec: Codec, distance: ActivationDistance, prefix: Prefix, candidates: Tensor, hidden: Tensor
) -> Tensor:
    """Distance of each candidate's activations from those observed, behind each unit's prefix.

    candidates: ids [units, candidates]. hidden: [units, width]. Returns [units, candidates].
    """
    parts = run_candidates(stack, codec, prefix, candidates)
    return torch.cat([distance.between(outputs, hidden[:, None]) for outputs in parts], dim=1)


@torch.no_grad()
def run_candidates(stack: BlockStack, codec: Codec, prefix: Prefix, candidates: Tensor) -> Iterator[Tensor]:
    """Activations of candidates behind each unit's prefix, as many at a time as fit into memory.

    candidates: ids [units, candidates]. Yields [units, part of the candidates, width].
    """
    units = len(candidates)
    bytes_each = prefix.bytes_per_run + 16 * codec.d_model * codec.weight.element_size()
    width = max(1, CHECK_BYTES // (bytes_each * max(1, units)))
    for part in candidates.split(width, dim=1):
        each = part.shape[1]
        here = NextPosition(stack, prefix.repeat(each))
        yield here(codec.embed(part.reshape(-1, 1)) + here.positions(1))[:, 0].view(units, each, -1)
