"""Loaded models, kept while they are in use: a subject is loaded once for all of its arms that follow each other."""

from __future__ import annotations

import ctypes
import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.arms.arm import Arm, settings_of, weights_of
from engine.arms.protocol import Positions
from engine.arms.settings import StackSettings
from engine.arms.stacks import Stack, TokenNet
from engine.errors import SubjectError, explain_replaced
from engine.models import find_subject
from engine.models.admission import admit_once
from engine.models.codec import Codec
from engine.models.first_input import find_rule, read_embeddings
from engine.models.memory import place
from engine.models.quantized import int8_layers
from engine.models.stacks import BlockStack, EmbeddingFunction, FullyConnected, TokenWise, embedding_weight
from engine.models.subject import refusal
from engine.models.token_text import find_added
from engine.models.tokenizers import SAVE_TOKENIZER
from engine.models.weight_files import FETCH_AGAIN

T = TypeVar("T")


class LruCache(Generic[T]):
    """The values that were used last, by key."""

    def __init__(self, size: int) -> None:
        self._size, self._kept = size, OrderedDict[Hashable, T]()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        # Evict before making: memory may not hold the old and the new one together.
        while len(self._kept) >= self._size:
            self._kept.popitem(last=False)
        self._kept[key] = make()
        return self._kept[key]

    def keep_only(self, wanted: Callable[[Any], bool]) -> None:
        """Evict every value whose key is not wanted."""
        for key in [key for key in self._kept if not wanted(key)]:
            del self._kept[key]


class LoadedModels:
    """The models, codecs, nets and tokenizers of a process. Weights are checked for NaN when they are loaded.

    gpus: those that a model may be spread over.
    """

    def __init__(self, gpus: tuple[int, ...] = ()) -> None:
        self._gpus = gpus
        self._models = LruCache[PreTrainedModel](1)
        self._codecs = LruCache[Codec](1)
        self._nets = LruCache[FullyConnected](1)
        self._tokenizers = LruCache[PreTrainedTokenizerBase](8)
        self._openings: dict[str, tuple[int, ...]] = {}
        self._sources: dict[str, str] = {}

    def evict_unused(self, arm: Arm) -> None:
        """Free what an arm does not use: models of other subjects and precisions, and all nets but its own."""
        subject, source = weights_of(arm)
        # This name now has other weights: drop everything made from the old ones.
        if self._sources.setdefault(subject, source) != source:
            self.clear()
            self._sources[subject] = source
        settings = settings_of(arm)
        used = (settings.subject, getattr(settings, "dtype", None))
        for kept in (self._models, self._codecs):
            kept.keep_only(lambda key: key[:2] == used)
        net = getattr(settings, "stack", None)
        self._nets.keep_only(lambda key: key[0] == net)
        release_memory()

    def clear(self) -> None:
        """Free everything."""
        for kept in (self._models, self._codecs, self._nets, self._tokenizers):
            kept.keep_only(lambda key: False)
        self._openings.clear()
        self._sources.clear()

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        """The subject's whole model on a device.

        Raises SubjectError if its weights are not finite or it fails a check of engine.models.admission.
        """

        def load() -> PreTrainedModel:
            model = find_subject(subject).model(getattr(torch, dtype))
            check_finite(subject, model)
            placed = place(model, device, self._gpus)
            found = find_subject(subject)
            admit_once(subject, placed, found.fingerprint() if found.trained else "")
            return placed

        return self._models.get((subject, dtype, device), load)

    def tokenizer(self, subject: str) -> PreTrainedTokenizerBase:
        return self._tokenizers.get(subject, lambda: find_subject(subject).tokenizer())

    def opening(self, subject: str) -> tuple[int, ...]:
        """Tokens that the subject's tokenizer puts before every text, which belong to a prompt's context."""
        if subject not in self._openings:
            self._openings[subject] = find_added(self.tokenizer(subject), who=subject).opening
        return self._openings[subject]

    def codec(self, subject: str, dtype: str, device: str) -> Codec:
        def factorize() -> Codec:
            model = self.model(subject, dtype, device)
            return Codec(read_embeddings(model), computed=find_rule(model).factor is None)

        return self._codecs.get((subject, dtype, device), factorize)

    def stack(self, settings: StackSettings) -> EmbeddingFunction:
        """The stack that `settings` inverts or walks on, on its device."""
        model = self.model(settings.subject, settings.dtype, settings.device)
        if isinstance(settings.stack, Stack):
            return self._block_stack(model, settings.subject, settings.stack, settings.protocol.positions)
        net, d_model = settings.stack, int(model.config.get_text_config(decoder=True).hidden_size)
        dtype, device = getattr(torch, settings.dtype), torch.device(settings.device)
        if isinstance(net, TokenNet):
            return TokenWise(net, d_model, dtype=dtype, device=device)
        key = (net, d_model, settings.dtype, settings.device)
        return self._nets.get(key, lambda: FullyConnected(net, d_model, dtype=dtype, device=device))

    def probe(self, settings: StackSettings, stack: Stack) -> BlockStack:
        """Another stack of the same subject, to read logits from.

        A whole model gets true positions, any other stack those of the protocol.
        """
        model = self.model(settings.subject, settings.dtype, settings.device)
        positions = "true" if stack.final_norm else settings.protocol.positions
        return self._block_stack(model, settings.subject, stack, positions)

    def _block_stack(self, model: PreTrainedModel, subject: str, stack: Stack, positions: Positions) -> BlockStack:
        opening, vocab = self.opening(subject), len(embedding_weight(model))
        if opening and max(opening) >= vocab:
            got = f"a tokenizer that puts token {max(opening)} before a text, which the model has no embedding of"
            raise refusal(subject, got, f"tokens below {vocab}", SAVE_TOKENIZER)
        return BlockStack(model, stack, positions, opening)


def release_memory() -> None:
    """Free memory that is held in cycles of references, as that of models is, and return it to the system.

    Otherwise a model's blocks would stay beside the next model's for some time, on a GPU also beside other processes'.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # not every C library has this
        ctypes.CDLL(None).malloc_trim(0)


def verify_fingerprint(arm: Arm) -> None:
    """Raises SubjectError unless the weights on disk are still those that the arm names."""
    subject, source = weights_of(arm)
    if subject == "none":
        return
    found = find_subject(subject).fingerprint()
    if found != source:
        raise SubjectError(explain_replaced(subject, got=found, expected=source))


def check_finite(subject: str, model: nn.Module) -> None:
    """Raises SubjectError that names the first parameter with NaN or infinity.

    For an int8 layer its scales are checked: each is the largest |weight| of a row before it was quantized.
    """
    plain = ((name, p) for name, p in model.named_parameters() if p.is_floating_point())
    scales = ((f"{name}.weight", layer.state.SCB) for name, layer in int8_layers(model))
    for name, numbers in (*plain, *scales):
        if not bool(torch.isfinite(numbers).all()):
            raise refusal(subject, f"NaN or infinity in {name}", "finite weights", FETCH_AGAIN)
