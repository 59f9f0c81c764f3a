"""What a folder's weight files hold, tensor by tensor, against what its configuration has a place for.

The library passes over a tensor that it has no place for, and casts one of whole numbers to float: a bias, an adapter
or a scale would be missing from what is computed. Here each stored tensor is used as it is, is shown to change
nothing, or is a reason to refuse the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.models.families import FAMILIES, Family
from engine.models.refusals import SAVE_AGAIN, refusal
from engine.models.weight_files import INDEX, read_index
from engine.text import shorten

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

TIED = frozenset({"lm_head.weight"})
"""What need not be stored, since it may be the embedding."""
FETCH_AGAIN = "fetch or save the model again"


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
    """Raises SubjectError for the first tensor of these files that would be passed over, cast or doubly there.

    files: as `find_weights` gives them. model: of the configuration, without numbers.
    """
    found = _list_tensors(who, folder, files)
    places: Mapping[str, Tensor] = model.state_dict()
    family, taken = FAMILIES[config.model_type], dict[str, str]()
    prefix = family.prefix
    lost = set(places) - {name if name in places else prefix + name for name in found}
    for name, tensor in sorted(found.items()):
        place = name if name in places else prefix + name
        if place not in places:
            if not _changes_nothing(name, tensor, config):
                got = f"{name[:120]}, which the configuration has no place for"
                raise refusal(who, got, _ALL, _advise(name, lost - TIED, family))
            continue
        if place in taken:
            raise refusal(who, f"{taken[place]} and {name}, which are one", "each tensor once", FETCH_AGAIN)
        taken[place] = name
        if tensor.shape != tuple(places[place].shape):
            got = f"{place} of shape {tensor.shape} where the configuration has {tuple(places[place].shape)}"
            raise refusal(who, got, _ALL, FETCH_AGAIN)
        if tensor.dtype not in ("float64", "float32", "float16", "bfloat16"):
            got, remedy = f"{name[:120]} stored as {tensor.dtype}", f"de-quantize the model and {SAVE_AGAIN}"
            raise refusal(who, got, "float64, float32, float16 or bfloat16", remedy)
    _check_head(who, prefix + family.embedding, config, {place: found[name] for place, name in taken.items()})


_ALL = "weights that fit the configuration, all of them"


def _advise(name: str, lost: AbstractSet[str], family: Family) -> str:
    """What to do about a tensor that the configuration has no place for. lost: places that no tensor is there for."""
    if "lora_" in name:
        return "merge the adapter into the model (merge_and_unload of peft) and save it again with save_pretrained"
    for biases, entry in family.biases:
        if biases.fullmatch(name):
            return f'write "{entry}": true into config.json, if the model was trained with them'
    for place in sorted(lost, key=len, reverse=True):
        if name.endswith(place):
            return f"rename the tensors: take {name.removesuffix(place)!r} from the beginning of each name"
    if lost:
        return f"name a whole model: {min(lost)} is not there"
    return "name a model whose family has it, or load this one and save it again (save_pretrained) to do without"


def _check_head(who: str, name: str, config: PreTrainedConfig, found: Mapping[str, StoredTensor]) -> None:
    """A head that is stored beside the embedding that it is tied to must be the same."""
    embedding = found.get(name)
    head = found.get("lm_head.weight")
    if embedding is None or head is None or not config.tie_word_embeddings:
        return
    import torch

    if not torch.equal(head.read(), embedding.read()):
        got = "an lm_head.weight that differs from the embedding"
        remedy = 'write "tie_word_embeddings": false into config.json, or save the model without the head'
        raise refusal(who, got, "the same where tie_word_embeddings is true", remedy)


def _changes_nothing(name: str, tensor: StoredTensor, config: Any) -> bool:
    """Whether a tensor without a place is a buffer of older versions, with the numbers that newer ones make."""
    import torch

    family = FAMILIES[config.model_type]
    causal, filling = family.masks or (None, None)
    if causal is not None and causal.fullmatch(name):
        size = int(config.n_positions)
        if tensor.shape != (1, 1, size, size):
            return False
        return torch.equal(tensor.read()[0, 0].float(), torch.ones(size, size).tril())
    if filling is not None and filling.fullmatch(name):
        return tensor.shape in ((), (1,)) and float(tensor.read()) <= -9000  # -1e4 in bfloat16 is -9984
    if family.frequencies is not None and family.frequencies.fullmatch(name):
        width = int(config.head_dim)
        if tensor.shape != (width // 2,) or not tensor.dtype.endswith(("float32", "float16", "bfloat16")):
            return False
        read = tensor.read()
        powers = torch.arange(0, width, 2, dtype=torch.float64) / width
        expected = float(config.rope_parameters["rope_theta"]) ** -powers
        # Half a spacing of the precision that they were stored in, and float32's own roundings.
        return torch.allclose(read.double(), expected, rtol=torch.finfo(read.dtype).eps + 1e-6, atol=1e-7)
    return False


def _list_tensors(who: str, folder: Path, files: Sequence[str]) -> dict[str, StoredTensor]:
    """Every tensor of the files by its name. Raises SubjectError for one that lies elsewhere than its index says."""
    places = read_index(who, folder / files[0]) if files[0].endswith(INDEX) else {}
    found: dict[str, StoredTensor] = {}
    for file in files[1:] if places else files:
        list_file = _list_safetensors if file.endswith(".safetensors") else _list_pickle
        for name, tensor in list_file(who, folder / file).items():
            if name in found:
                raise refusal(
                    who, f"{shorten(name)} in {found[name].file} and in {file}", "each tensor once", FETCH_AGAIN
                )
            if places.get(name, file) != file:
                got, expected = f"{shorten(name)} in {file}", f"it in {places[name]}, as the index says"
                raise refusal(who, got, expected, FETCH_AGAIN)
            found[name] = tensor
    if lost := sorted(places.keys() - found.keys()):
        raise refusal(who, f"no {shorten(lost[0])}", f"it in {places[lost[0]]}, as the index says", FETCH_AGAIN)
    return found


SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


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

    # A pickle may hold numbers, and nothing that runs.
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
