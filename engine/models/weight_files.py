"""The files that hold a folder's weights, and whether every tensor in them is computed with.

transformers skips a tensor that the configuration has no place for, and casts whole numbers to float. A bias, an
adapter or a scale would silently be missing from the model. Here each stored tensor is used as it is, is shown to
change nothing, or is a reason to refuse the model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.config_file import read_json
from engine.models.families import find_context, find_family
from engine.models.subject import SAVE_AGAIN, refusal
from engine.text import is_text, shorten

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where transformers looks for weights, in its order. An index lists the files that hold them."""

INDEX = ".index.json"

OTHER_FORMATS = ("consolidated*", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.mlmodel", "*.tflite", "*.ckpt")
"""Weights for other programs."""

MASK, FILLING = re.compile(r".*attn.*\.bias|.*attention\.bias"), re.compile(r".*\.masked_bias")
FREQUENCIES = re.compile(r".*rotary_emb\.inv_freq")
"""Buffers that older versions of transformers stored and newer ones compute: causal masks, the number that fills in for
what they hide, and the frequencies of rotary positions."""

FETCH_AGAIN = "fetch or save the model again"
ALL_WEIGHTS = "weights that fit the configuration, all of them"
SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def find_weights(who: str, folder: Path) -> list[str]:
    """Names of the files that hold a folder's weights, their index first.

    Raises SubjectError if there are none, two sets of one format, or an index that names a file elsewhere.
    """
    present = [name for name in WEIGHT_FILES if os.path.isfile(folder / name)]
    if not present:
        expected = f"one of {', '.join(WEIGHT_FILES)}"
        # Files with a variant in their name, as save_pretrained(variant="fp16") writes them.
        for stem, ending in (("model", ".safetensors"), ("pytorch_model", ".bin")):
            variants = sorted(path.name for path in folder.glob(f"{stem}.*{ending}") if path.is_file())
            if variants:
                raise refusal(who, f"no weights but {variants[0]}", expected, f"rename it to {stem}{ending}")
        other = sorted({path.name for pattern in OTHER_FORMATS for path in folder.glob(pattern) if path.is_file()})
        if other:
            remedy = "fetch the same model's model.safetensors, or convert it and save it with save_pretrained"
            raise refusal(who, f"no weights but {other[0]}", expected, remedy)
        raise refusal(who, "no weights", expected)
    # Like the library, take the first; but a second set of the same format may be another model.
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
    """The file of each tensor, by the tensor's name, from an index beside these files. Raises SubjectError."""
    index: Any = read_json(who, path).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise refusal(who, f"{path.name} without a weight_map", "an index of weight files")
    places = {str(key): str(name) for key, name in index.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    # A path in the index could lead out of the folder.
    if strays := [name for name in places.values() if name != Path(name).name or not is_text(name)]:
        raise refusal(who, f"{path.name} that lists {shorten(strays[0])}", "names of files beside it")
    return places


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file. read: gives its numbers."""

    file: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Tensor]


def check_stored(
    who: str, folder: Path, files: Sequence[str], config: PreTrainedConfig, model: PreTrainedModel
) -> None:
    """Raises SubjectError for the first tensor of these files that would be skipped, cast or read twice.

    files: as `find_weights` gives them. model: of the configuration, without numbers. Where the library renames or
    merges what a type's files hold (experts, for example), only it can say what has no place: see `load_weights`.
    """
    stored = _list_tensors(who, folder, files)
    if renames(model):
        for name, tensor in sorted(stored.items()):
            _check_dtype(who, name, tensor)
        return
    places: Mapping[str, Tensor] = model.state_dict()
    embedding, head = (_name_weight(model, part) for part in ("get_input_embeddings", "get_output_embeddings"))

    # The library also takes the tensors of a model without its head, whose names lack the prefix.
    prefix = f"{model.base_model_prefix}."
    place_of = {name: name if name in places else prefix + name for name in stored}
    # The head need not be stored, since it may be tied to the embedding.
    unfilled = set(places) - set(place_of.values()) - {head}
    taken: dict[str, str] = {}
    for name, tensor in sorted(stored.items()):
        # Skipped by the library: harmless only if it is computed anew with the same numbers.
        place = place_of[name]
        if place not in places:
            if not _is_recomputed_buffer(name, tensor, config, model):
                got = f"{name[:120]}, which the configuration has no place for"
                raise refusal(who, got, ALL_WEIGHTS, _find_remedy(name, unfilled, config.model_type))
            continue
        # With and without the prefix: the library would read one of the two.
        if place in taken:
            raise refusal(who, f"{taken[place]} and {name}, two names of one tensor", "each tensor once", FETCH_AGAIN)
        taken[place] = name
        if tensor.shape != tuple(places[place].shape):
            got = f"{place} of shape {tensor.shape} where the configuration has {tuple(places[place].shape)}"
            raise refusal(who, got, ALL_WEIGHTS, FETCH_AGAIN)
        _check_dtype(who, name, tensor)

    # A head that is stored although it is tied would be replaced by the embedding.
    if embedding in taken and head in taken and config.get_text_config(decoder=True).tie_word_embeddings:
        import torch

        if not torch.equal(stored[taken[head]].read(), stored[taken[embedding]].read()):
            got = f"an {head} that differs from the embedding"
            remedy = 'write "tie_word_embeddings": false into config.json, or save the model without the head'
            raise refusal(who, got, "the same where tie_word_embeddings is true", remedy)


def _check_dtype(who: str, name: str, tensor: StoredTensor) -> None:
    """Raises SubjectError for quantized weights, which the library would cast without their scales."""
    if tensor.dtype not in SAFETENSORS.values():
        got, remedy = f"{name[:120]} stored as {tensor.dtype}", f"de-quantize the model and {SAVE_AGAIN}"
        raise refusal(who, got, "float64, float32, float16 or bfloat16", remedy)


def _name_weight(model: PreTrainedModel, part: str) -> str:
    """The name of the weight of a model's embedding or head; "" if it has none."""
    wanted: Any = getattr(model, part)()
    return next((f"{name}.weight" for name, module in model.named_modules() if module is wanted), "")


def renames(model: PreTrainedModel) -> bool:
    """Whether the library renames or merges tensors of this type's files as it reads them."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    return bool(get_model_conversion_mapping(model, add_legacy=False))


def _find_remedy(name: str, unfilled: set[str], family: str) -> str:
    """What to do about a tensor without a place. unfilled: the places for which no tensor is stored."""
    if "lora_" in name:
        return "merge the adapter into the model (merge_and_unload of peft) and save it again with save_pretrained"
    for biases, entry in find_family(family).biases:
        if biases.fullmatch(name):
            return f'write "{entry}": true into config.json, if the model was trained with them'
    for place in sorted(unfilled, key=len, reverse=True):
        if name.endswith(place):
            return f"rename the tensors: take {name.removesuffix(place)!r} from the beginning of each name"
    if unfilled:
        return f"name a whole model: {min(unfilled)} is not there"
    return "name a model whose family has it, or load this one and save it again (save_pretrained) to do without"


def _is_recomputed_buffer(name: str, tensor: StoredTensor, config: PreTrainedConfig, model: PreTrainedModel) -> bool:
    """Whether a tensor is a buffer that older versions stored, with the numbers that newer ones compute."""
    import torch

    if MASK.fullmatch(name):
        size = find_context(config)
        if tensor.shape != (1, 1, size, size):
            return False
        return torch.equal(tensor.read()[0, 0].float(), torch.ones(size, size).tril())
    if FILLING.fullmatch(name):
        return tensor.shape in ((), (1,)) and float(tensor.read()) <= -9000  # -1e4 in bfloat16 is -9984
    # Frequencies of rotary positions, theta^(-2i / width).
    if FREQUENCIES.fullmatch(name):
        rope: Any = getattr(config, "rope_parameters", None) or {}
        theta, shapes = rope.get("rope_theta"), [tuple(b.shape) for n, b in model.named_buffers() if "inv_freq" in n]
        if theta is None or tensor.shape not in shapes or not tensor.dtype.endswith(("float32", "float16", "bfloat16")):
            return False
        read = tensor.read()
        width = 2 * len(read)
        expected = float(theta) ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        # Half a spacing of the precision in which they are stored, and float32's own roundings.
        return torch.allclose(read.double(), expected, rtol=torch.finfo(read.dtype).eps + 1e-6, atol=1e-7)
    return False


def _list_tensors(who: str, folder: Path, files: Sequence[str]) -> dict[str, StoredTensor]:
    """Every tensor of the files, by name. Raises SubjectError if one lies elsewhere than its index says."""
    places = read_index(who, folder / files[0]) if files[0].endswith(INDEX) else {}
    found: dict[str, StoredTensor] = {}
    for file in files[1:] if places else files:
        list_file = _list_safetensors if file.endswith(".safetensors") else _list_pickle
        for name, tensor in list_file(who, folder / file).items():
            if name in found:
                got = f"{shorten(name)} in {found[name].file} and in {file}"
                raise refusal(who, got, "each tensor once", FETCH_AGAIN)
            if places.get(name, file) != file:
                got, expected = f"{shorten(name)} in {file}", f"it in {places[name]}, as the index says"
                raise refusal(who, got, expected, FETCH_AGAIN)
            found[name] = tensor
    if lost := sorted(places.keys() - found.keys()):
        raise refusal(who, f"no {shorten(lost[0])}", f"it in {places[lost[0]]}, as the index says", FETCH_AGAIN)
    return found


def _list_safetensors(who: str, path: Path) -> dict[str, StoredTensor]:
    from safetensors import safe_open

    def read(name: str) -> Tensor:
        with safe_open(path, framework="pt") as opened:
            return opened.get_tensor(name)

    found: dict[str, StoredTensor] = {}
    with safe_open(path, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 (it is no dictionary)
            part: Any = opened.get_slice(name)
            dtype = str(part.get_dtype())
            shape = tuple(int(n) for n in part.get_shape())
            found[name] = StoredTensor(
                file=path.name, shape=shape, dtype=SAFETENSORS.get(dtype, dtype), read=lambda name=name: read(name)
            )
    return found


def _list_pickle(who: str, path: Path) -> dict[str, StoredTensor]:
    import torch
    from transformers.modeling_utils import load_state_dict

    # weights_only: a pickle may hold numbers, and nothing that runs.
    tensors: Any = load_state_dict(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(part, torch.Tensor) for part in tensors.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        got, remedy = f"{path.name} that holds more than tensors", f"take the model's own out of it, and {SAVE_AGAIN}"
        raise refusal(who, got, "a tensor under each name", remedy)
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        dtype = str(tensor.dtype).removeprefix("torch.")
        found[str(name)] = StoredTensor(
            file=path.name, shape=tuple(tensor.shape), dtype=dtype, read=lambda tensor=tensor: tensor
        )
    return found
