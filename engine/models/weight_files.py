"""Which files of a folder hold a model's weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from engine.models.refusals import read_json, refusal
from engine.text import is_text, shorten

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights, in its order; an index lists the files that hold them."""

INDEX = ".index.json"

OTHER_FORMATS = ("consolidated*", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.mlmodel", "*.tflite", "*.ckpt")
"""Weights for other programs."""


def find_weights(who: str, folder: Path) -> list[str]:
    """Names of the files that hold a folder's weights, with their index.

    Raises SubjectError without any, with two sets of one format, and for an index that names a file elsewhere.
    """
    present = [name for name in WEIGHT_FILES if os.path.isfile(folder / name)]
    if not present:
        raise _none(who, folder)
    first = present[0]
    if not first.endswith(INDEX):
        if f"{first}{INDEX}" in present:
            got = f"both {first} and {first}{INDEX}"
            raise refusal(who, got, "one set of weights", "delete the one that is out of date")
        return [first]
    shards = sorted(set(read_index(who, folder / first).values()))
    absent = [name for name in shards if not os.path.isfile(folder / name)]
    if absent:
        remedy = f"fetch {absent[0]}, or save the model again with save_pretrained"
        raise refusal(who, f"no {absent[0]}", f"the {len(shards)} files that {first} lists", remedy)
    return [first, *shards]


def read_index(who: str, path: Path) -> dict[str, str]:
    """Where an index says that each tensor lies, by name: in files beside it. Raises SubjectError."""
    index: Any = read_json(who, path).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise refusal(who, f"{path.name} without a weight_map", "an index of weight files")
    places = {str(key): str(name) for key, name in index.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    # The names come from the file, and what is joined to a folder need not stay in it.
    if strays := [name for name in places.values() if name != Path(name).name or not is_text(name)]:
        raise refusal(who, f"{path.name} that lists {shorten(strays[0])}", "names of files beside it")
    return places


def _none(who: str, folder: Path) -> Exception:
    expected = f"one of {', '.join(WEIGHT_FILES)}"
    # save_pretrained(variant="fp16") and the like write these.
    for stem, ending in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        variants = sorted(path.name for path in folder.glob(f"{stem}.*{ending}") if path.is_file())
        if variants:
            return refusal(who, f"no weights but {variants[0]}", expected, f"rename it to {stem}{ending}")
    other = sorted({path.name for pattern in OTHER_FORMATS for path in folder.glob(pattern) if path.is_file()})
    if other:
        remedy = "fetch the same model's model.safetensors, or convert it and save it with save_pretrained"
        return refusal(who, f"no weights but {other[0]}", expected, remedy)
    return refusal(who, "no weights", expected)
