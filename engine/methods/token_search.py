"""Prompts from activations alone: descent guesses embeddings, a decoder turns guesses into tokens, a forward pass
confirms them. Nothing here is given a prompt.

Source: Nikolaou et al. 2025 (arXiv 2510.15511) for one position after the other and the check of candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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

FIRST_WINDOW, WIDER = 32, 4
"""Candidates that are checked first at a position, and how many times as many after each window without a match."""

CHECK_BYTES = 192 * 2**20
"""Most memory that candidates take while they are checked together."""


@dataclass(frozen=True, kw_only=True)
class ObservedActivations:
    """All that a method may read of the prompts.

    hidden: activations behind the stack's blocks [units, tokens, width], padded on the right. lengths: [units].
    """

    hidden: Tensor
    lengths: Tensor


@dataclass(frozen=True, kw_only=True)
class TokenSearch:
    """How prompts are sought.

    plan, step: of every descent. mean, std: of the normal start. draw: standard normal noise of a unit's starts, by
    unit and turn (the guesses so far), [starts, tokens of its prompt, d_model].
    likeness, epsilons: how far activations lie apart, and up to where they count as equal, by position.
    equals: other tokens with the same row of W, by token.
    """

    method: Method
    plan: DescentPlan
    step: float
    mean: float
    std: float
    draw: Callable[[int, int], Tensor]
    likeness: ActivationDistance
    epsilons: Sequence[float]
    equals: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class TokenMatch:
    """What was found at a position.

    token: None where nothing in the vocabulary matched. same: other tokens with equal activations, as far as checked.
    checks: candidates that went through the stack. guesses: descents' ends that candidates were taken from.
    distance: of the token's activations; NaN where nothing was checked or nothing matched. runner_up: least distance
    of a checked candidate that did not match, infinite where there was none.
    """

    token: int | None
    same: tuple[int, ...] = ()
    checks: int = 0
    guesses: int = 1
    distance: float = float("nan")
    runner_up: float = float("inf")


def recover(
    stack: BlockStack, codec: Codec, seen: ObservedActivations, search: TokenSearch
) -> list[tuple[TokenMatch, ...]]:
    """What is found at each position of each prompt, in order.

    A prompt ends early at a position where nothing matched: what follows would be sought behind a wrong prefix.
    """
    return _Recovery(stack, codec, seen, search).run()


class _Recovery:
    def __init__(self, stack: BlockStack, codec: Codec, seen: ObservedActivations, search: TokenSearch) -> None:
        self._stack, self._codec, self._seen, self._search = stack, codec, seen, search
        self._lengths = [int(n) for n in seen.lengths.tolist()]
        self._jointly: dict[int, Tensor] = {}

    def run(self) -> list[tuple[TokenMatch, ...]]:
        found: list[list[TokenMatch]] = [[] for _ in self._lengths]
        prefix = Prefix()
        going = list(range(len(self._lengths)))
        for t in range(max(self._lengths)):
            staying = [k for k, unit in enumerate(going) if self._lengths[unit] > t]
            prefix, going = prefix.select(self._index(staying)), [going[k] for k in staying]
            at = self._confirm(going, t, prefix) if self._search.method.verify else self._trust(going, t, prefix)
            for unit, one in zip(going, at, strict=True):
                found[unit].append(one)
            kept = [k for k, one in enumerate(at) if one.token is not None]
            prefix, going = prefix.select(self._index(kept)), [going[k] for k in kept]
            if not going:
                break
            prefix = self._settle(prefix, [at[k].token for k in kept])
        return [tuple(row) for row in found]

    def _index(self, places: list[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.long, device=self._seen.hidden.device)

    def _settle(self, prefix: Prefix, tokens: list[int | None]) -> Prefix:
        ids = torch.tensor(tokens, device=self._seen.hidden.device)[:, None]  # [units, 1]
        return extend_prefix(self._stack, prefix, self._codec.embed(ids) + self._position(prefix))

    def _position(self, prefix: Prefix) -> Tensor:
        return NextPosition(self._stack, prefix).positions(1)

    def _trust(self, units: list[int], t: int, prefix: Prefix) -> list[TokenMatch]:
        """The first choice of the decoder, unchecked."""
        first = self._score(self._guess(units, t, 0, prefix)).argmin(-1)
        return [TokenMatch(token=token) for token in first.tolist()]

    def _confirm(self, units: list[int], t: int, prefix: Prefix) -> list[TokenMatch]:
        """The candidate that gives the activations again, nearest first, in wider windows until there is one."""
        vocab = self._codec.vocab
        hidden = self._seen.hidden[self._index(units), t]  # [units, width]
        tried = torch.zeros(len(units), vocab, dtype=torch.bool, device=hidden.device)
        at = [TokenMatch(token=None, guesses=0) for _ in units]
        waiting, checked, window = list(range(len(units))), 0, FIRST_WINDOW
        while waiting and checked < vocab:
            rows, width = self._index(waiting), min(window, vocab - checked)
            own = prefix.select(rows)
            guess = self._guess([units[k] for k in waiting], t, at[waiting[0]].guesses, own)
            scores = self._score(guess).masked_fill(tried[rows], torch.inf)
            candidates = scores.topk(width, largest=False).indices  # [waiting, width], nearest first
            distances = check(self._stack, self._codec, self._search.likeness, own, candidates, hidden[rows])
            tried[rows] = tried[rows].scatter(1, candidates, value=True)
            for k, ids, away in zip(waiting, candidates.tolist(), distances.tolist(), strict=True):
                at[k] = self._read(at[k], ids, away, self._search.epsilons[t])
            waiting = [k for k in waiting if at[k].token is None]
            checked, window = checked + width, window * WIDER
        return at

    def _read(self, before: TokenMatch, ids: list[int], distances: list[float], epsilon: float) -> TokenMatch:
        """What is known after one more window."""
        matched = [(away, i) for i, away in zip(ids, distances, strict=True) if away <= epsilon]
        missed = min((away for away in distances if away > epsilon), default=float("inf"))
        now = replace(
            before,
            checks=before.checks + len(ids),
            guesses=before.guesses + 1,
            runner_up=min(before.runner_up, missed),
        )
        if not matched:
            return now
        distance, token = min(matched)
        same = {i for _, i in matched} | {equal for _, i in matched for equal in self._search.equals.get(i, ())}
        return replace(now, token=token, distance=distance, same=tuple(sorted(same - {token})))

    def _score(self, guess: Tensor) -> Tensor:
        """How far each token is from a guess: [units, d_model] → [units, vocab]."""
        return score_tokens(self._codec, guess, self._search.method)

    def _guess(self, units: list[int], t: int, turn: int, prefix: Prefix) -> Tensor:
        """Token embeddings guessed at position t, positions taken off: [units, d_model]. turn: guesses so far."""
        if not self._search.method.token_by_token:
            if turn not in self._jointly:
                self._jointly[turn] = self._descend_jointly(turn)
            return self._jointly[turn][self._index(units), t]
        starts = self._draw(units, turn)  # [units, starts, tokens, d_model]
        hidden = self._seen.hidden[self._index(units), t]
        return self._descend(
            NextPosition(self._stack, prefix.repeat(starts.shape[1])),
            starts[:, :, t : t + 1],
            hidden[:, None],
            torch.ones(len(units), dtype=torch.long, device=hidden.device),
        )[:, 0]

    def _descend_jointly(self, turn: int) -> Tensor:
        every = list(range(len(self._lengths)))
        return self._descend(self._stack, self._draw(every, turn), self._seen.hidden, self._seen.lengths)

    def _descend(self, stack: BlockStack | NextPosition, starts: Tensor, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Ends of the descents that came closest, positions taken off: starts [units, starts, tokens, d_model]."""
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
        chosen = ends[torch.arange(len(ends), device=ends.device), best]
        return chosen - stack.positions(starts.shape[2])

    def _draw(self, units: list[int], turn: int) -> Tensor:
        """Starts of a guess, one or several for each unit, padded with zeros: [units, starts, tokens, d_model]."""
        drawn = [self._search.draw(unit, turn).transpose(0, 1) for unit in units]  # [tokens, starts, d_model] each
        starts = pad_sequence([self._search.mean + self._search.std * noise for noise in drawn], batch_first=True)
        return to_device(starts.transpose(1, 2).contiguous(), self._seen.hidden.device, self._seen.hidden.dtype)


def score_tokens(codec: Codec, guess: Tensor, method: Method) -> Tensor:
    """How far every token is from guesses, by the method's decoder: [units, d_model] → [units, vocab], less is nearer.

    What has diverged counts as a guess of nothing; one too large to be squared as one at the edge.
    """
    edge = torch.finfo(guess.dtype).max ** 0.25
    guess = guess.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp(-edge, edge)
    if method.decoder == "pseudo-inverse":
        return -codec.coefficients(guess)
    # ‖g − w‖² without ‖g‖², which is the same for every token.
    return codec.weight.square().sum(-1) - 2 * guess @ codec.weight.T


@torch.no_grad()
def check(
    stack: BlockStack, codec: Codec, likeness: ActivationDistance, prefix: Prefix, candidates: Tensor, hidden: Tensor
) -> Tensor:
    """Distance of each candidate's activations from those seen, behind each unit's prefix.

    candidates: ids [units, candidates]. hidden: [units, width]. Returns [units, candidates].
    """
    units = len(candidates)
    per_candidate = prefix.bytes_per_run + 16 * codec.d_model * codec.weight.element_size()
    width = max(1, CHECK_BYTES // (per_candidate * max(1, units)))
    found: list[Tensor] = []
    for part in candidates.split(width, dim=1):
        each = part.shape[1]
        here = NextPosition(stack, prefix.repeat(each))
        outputs = here(codec.embed(part.reshape(-1, 1)) + here.positions(1))[:, 0]
        found.append(likeness.distance(outputs.view(units, each, -1), hidden[:, None]))
    return torch.cat(found, dim=1)
