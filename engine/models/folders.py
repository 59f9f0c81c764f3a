"""Whether a folder is a model in transformers' format, and what to do where it is something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import SubjectError
from engine.models.config_file import select_used
from engine.models.families import check_family
from engine.models.refusals import SAVE_AGAIN, read_json, refusal
from engine.models.weight_files import find_weights

CONFIG = "config.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")

MOST_BLOCKS = 1000
"""Blocks of a model, several times the deepest one's: a number gone wrong would keep the library building for hours."""


def check_folder(who: str, folder: Path) -> None:
    """Raises SubjectError unless a folder looks like a model that can be loaded; OSError when it cannot be read."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        raise refusal(who, "an empty folder", "config.json and weights")
    packed = [name for name in names if name.endswith(".gguf")]
    if packed and CONFIG not in names:
        raise refusal(who, "a folder", "the GGUF file in it", f"name the file: local:{folder / packed[0]}")
    read_settings(who, folder)
    find_weights(who, folder)


def read_settings(who: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The family that config.json names, and the entries that its modules use. Raises SubjectError."""
    check_adapter(who, folder)
    if not (folder / CONFIG).is_file():
        raise _no_model(who, folder)
    settings = read_json(who, folder / CONFIG)
    family = check_family(who, settings.get("model_type"))
    if settings.get("quantization_config"):
        remedy = (
            "de-quantize the model and save it: AutoModelForCausalLM.from_pretrained(FOLDER, device_map='cpu')"
            ".dequantize().save_pretrained(NEW-FOLDER, save_original_format=False)"
        )
        raise refusal(who, "quantized weights", "plain ones (or a GGUF file)", remedy)
    if settings.get("transformers_weights") is not None:
        # The library would read that file, and the fingerprint be another's.
        raise refusal(who, "config.json that names a file of weights", "weights in model.safetensors")
    return family, select_used(who, family, settings)


def check_depth(who: str, blocks: object, remedy: str = SAVE_AGAIN) -> None:
    """Raises SubjectError for a number of blocks that no model has."""
    if not isinstance(blocks, int) or not 0 < blocks <= MOST_BLOCKS:
        raise refusal(who, f"{blocks!r} blocks", f"1 to {MOST_BLOCKS}", remedy)


def check_adapter(who: str, folder: Path) -> None:
    """Raises SubjectError where an adapter lies in a folder: where peft is installed, it would be attached."""
    adapters = [name for name in ADAPTER_FILES if (folder / name).is_file()]
    if not adapters:
        return
    merge = (
        "merge it into its model: peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
        ".save_pretrained(NEW-FOLDER), with the tokenizer beside it"
    )
    if (folder / CONFIG).is_file():
        got, remedy = f"an adapter ({adapters[0]}) beside a model", f"move it elsewhere, or {merge}"
    else:
        got, remedy = f"an adapter ({adapters[0]}) without its model", merge
    raise refusal(who, got, "a whole model", remedy)


def _no_model(who: str, folder: Path) -> SubjectError:
    """What else a folder without config.json is, and which folder to name."""
    expected = "a model in transformers' format"
    if nested := _find_models(folder):
        kind = "a folder of the hub's cache" if (folder / "snapshots").is_dir() else f"a folder without {CONFIG}"
        return refusal(who, kind, f"{expected}, as in it", f"name that one: local:{nested[0]}")
    return refusal(who, f"a folder without {CONFIG}", expected)


def _find_models(folder: Path) -> list[Path]:
    """Folders in a folder that hold a model: the hub's cache keeps one for each revision, training one for each stop.

    What the cache's main branch points to comes first, then the newest.
    """
    snapshots = folder / "snapshots"
    inside = [path for path in (snapshots if snapshots.is_dir() else folder).iterdir() if (path / CONFIG).is_file()]
    main = folder / "refs" / "main"
    revision = main.read_text(encoding="utf-8", errors="replace").strip() if main.is_file() else ""
    return sorted(inside, key=lambda path: (path.name != revision, -path.stat().st_mtime, path.name))
