"""Model folders for tests: their settings and weights changed in place, and what naming them comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from engine.errors import SubjectError
from engine.models import find_subject

Tensors = dict[str, torch.Tensor]


def change(path: Path, **entries: Any) -> None:
    """Write entries into a JSON file, which is made where there is none."""
    said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(said | entries), encoding="utf-8")


def change_weights(folder: Path, act: Callable[[Tensors], Mapping[str, torch.Tensor]]) -> None:
    """Put what `act` makes of a folder's tensors in their place."""
    tensors = load_file(folder / "model.safetensors")
    changed = {name: tensor.contiguous().clone() for name, tensor in act(tensors).items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})


def add_weights(folder: Path, **tensors: torch.Tensor) -> None:
    """Add tensors to a folder's weights, under names whose dots are written as double underscores."""
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    change_weights(folder, lambda own: own | named)


def refuse(path: Path, *words: str) -> str:
    """The model is refused when it is named or when it is loaded, in one line with every one of `words`."""
    with pytest.raises(SubjectError) as caught:
        find_subject(f"local:{path}").model(torch.float32)
    line = str(caught.value)
    assert "\n" not in line
    assert ", expected " in line
    assert "; " in line
    for word in words:
        assert word in line, line
    return line


def logits(model: PreTrainedModel) -> torch.Tensor:
    """What a model makes of three tokens."""
    return model(torch.tensor([[1, 2, 3]])).logits.detach()


def load_logits(path: Path) -> torch.Tensor:
    """What the subject at a path makes of the same tokens."""
    return logits(find_subject(f"local:{path}").model(torch.float32))
