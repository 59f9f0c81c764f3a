"""Where a model's weights lie: on one device, or spread over several GPUs where one has no room for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import MissingError, explain
from engine.models.memory import WORKING_SHARE
from engine.models.quantized import int8_layers, move

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Capacity = Callable[[int], float]
"""Free bytes of a GPU."""


def place(model: PreTrainedModel, device: str, gpus: Sequence[int]) -> PreTrainedModel:
    """The model on a device; on all of `gpus`, block by block, where the first has no room for it."""
    if device != "cuda" or len(gpus) < 2 or int8_layers(model):
        return move(model, device)
    layout = plan_layout(model, gpus, ask_room)
    return move(model, device) if layout is None else dispatch(model, layout)


def ask_room(gpu: int) -> float:
    import torch

    return float(torch.cuda.mem_get_info(gpu)[0])


def plan_layout(model: PreTrainedModel, gpus: Sequence[int], room: Capacity) -> dict[str, Any] | None:
    """A device for each module, whole blocks together; None where the first GPU holds all that is needed.

    The first keeps room for what works on the embeddings: their gradients and their factors.
    """
    from accelerate import infer_auto_device_map

    whole: Any = model._no_split_modules  # pyright: ignore[reportPrivateUsage] (the library's own name for them)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if WORKING_SHARE * weights <= room(gpus[0]):
        return None
    most: dict[int | str, int | str] = {gpu: int(room(gpu) / WORKING_SHARE) for gpu in gpus}
    layout = dict(infer_auto_device_map(model, max_memory=most, no_split_module_classes=list(whole or ())))
    if not set(layout.values()) <= set(gpus):  # the library would leave the rest with the host or on a disk
        each = ", ".join(f"{room(gpu) / 1e9:.1f}" for gpu in gpus)
        got, expected = (
            f"{weights / 1e9:.1f} GB of weights in whole blocks",
            f"room for them on GPUs with {each} GB free",
        )
        raise MissingError(explain(who="placement", got=got, expected=expected, remedy="free some, or use larger ones"))
    return layout


def dispatch(model: PreTrainedModel, layout: Mapping[str, Any], **options: Any) -> PreTrainedModel:
    """The model with each module on its device; the library's hooks carry hidden states from one to the next."""
    from accelerate import dispatch_model

    placed: Any = dispatch_model(model, dict(layout), **options)
    return placed
