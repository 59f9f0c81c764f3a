"""Loaded models, kept while they are in use: a subject is loaded once for all arms that follow each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.blocks import BlockStack, FullyConnected, Invertible, embedding_weight
from engine.codec import Codec
from engine.errors import SubjectError, explain
from engine.measurement import DescentSettings, Stack
from engine.subjects import find_subject

T = TypeVar("T")


class _Recent(Generic[T]):
    """The last few things made, by key."""

    def __init__(self, room: int) -> None:
        self._room, self._kept = room, OrderedDict[Hashable, T]()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= self._room:  # before making: two of the largest never stand side by side
            self._kept.popitem(last=False)
        self._kept[key] = make()
        return self._kept[key]


class Shelf:
    """Models, codecs and tokenizers by subject. Weights are checked for NaN once, when they are loaded."""

    def __init__(self) -> None:
        self._models = _Recent[PreTrainedModel](2)
        self._codecs = _Recent[Codec](2)
        self._nets = _Recent[FullyConnected](1)
        self._tokenizers = _Recent[PreTrainedTokenizerBase](8)

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        """The subject's whole model on a device. Raises SubjectError when its weights are not finite."""

        def load() -> PreTrainedModel:
            model = find_subject(subject).model(getattr(torch, dtype))
            check_finite(subject, model)
            return model.to(device)  # pyright: ignore[reportArgumentType]

        return self._models.get((subject, dtype, device), load)

    def tokenizer(self, subject: str) -> PreTrainedTokenizerBase:
        return self._tokenizers.get(subject, lambda: find_subject(subject).tokenizer())

    def codec(self, subject: str, dtype: str, device: str) -> Codec:
        def factorize() -> Codec:
            return Codec(embedding_weight(self.model(subject, dtype, device)))

        return self._codecs.get((subject, dtype, device), factorize)

    def stack(self, settings: DescentSettings) -> Invertible:
        """What `settings` inverts, on its device."""
        model = self.model(settings.subject, settings.dtype, settings.device)
        if isinstance(settings.stack, Stack):
            return BlockStack(model, settings.stack, settings.protocol.positions)
        net, d_model = settings.stack, int(model.config.hidden_size)
        dtype, device = getattr(torch, settings.dtype), torch.device(settings.device)
        key = (net, d_model, settings.dtype, settings.device)
        return self._nets.get(key, lambda: FullyConnected(net, d_model, dtype=dtype, device=device))


def check_finite(subject: str, model: nn.Module) -> None:
    """Raises SubjectError that names the first parameter with NaN or infinity."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise SubjectError(
                explain(
                    who=subject,
                    got=f"NaN or infinity in {name}",
                    expected="finite weights",
                    remedy="fetch or save the model again",
                )
            )
