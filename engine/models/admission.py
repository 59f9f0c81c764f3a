"""Whether a model can be taken, found by four checks on its own weights.

Stacks, prefixes and the search rest on what these check, whatever family a model belongs to: that k blocks are the
library's k blocks, that all of them with norm and head give its logits, that a text can be read on behind a cache, and
that no token changes what lies before it.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from engine.errors import EngineError
from engine.files import cache_folder, hash_files, make_folder
from engine.models.decoder import Decoder, find_blocks, hidden_of
from engine.models.families import find_context
from engine.models.subject import refusal

TOKENS, TURN = 12, 7
"""Length of the texts that are run, and the token that is changed in them and that is read on from."""

REMEDY = "name a decoder-only language model"


NOTES = "admitted"
"""The cache's folder with an empty file for each model that has passed."""

_passed: set[str] = set()
"""What this process knows to have passed."""


def admit_once(who: str, model: PreTrainedModel, source: str) -> None:
    """As `admit`, unless a model with this fingerprint passed before, in this process or as the cache remembers.

    source: the fingerprint of trained weights; "" for random ones, of which one draw stands for all of a configuration.
    """
    weight: Any = next(model.parameters())
    facts = [model.config.to_json_string(), source, str(weight.dtype), weight.device.type]
    facts += [torch.__version__, transformers.__version__, _hash_code()]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    note = cache_folder() / NOTES / key
    if key in _passed or os.path.exists(note):
        return
    admit(who, model)
    _passed.add(key)
    with suppress(OSError):  # what cannot be remembered is checked again
        make_folder(note.parent)
        note.touch()


@cache
def _hash_code() -> str:
    """Of the code that checks, and of what it checks: other code may find otherwise."""
    folder = Path(__file__).parent
    return hash_files(folder, ("admission.py", "decoder.py"))


@torch.no_grad()
def admit(who: str, model: PreTrainedModel) -> None:
    """Raises SubjectError, with the check that failed, for a model that cannot be taken. Takes some forward passes.

    Differences are compared with the largest activation, since those of some families reach 98,000.
    """
    kind = f"a model of type {model.config.model_type}"
    if model.config.is_encoder_decoder:
        raise refusal(who, f"{kind}, an encoder with a decoder", "a decoder alone", REMEDY)
    config, table = model.config.get_text_config(decoder=True), model.get_input_embeddings()
    assert table is not None
    device = next(table.parameters()).device
    drawn = torch.randint(
        int(config.vocab_size),
        (2, min(TOKENS, find_context(model.config))),
        generator=torch.Generator().manual_seed(0),
    )
    ids = drawn.to(device)
    turn = min(TURN, ids.shape[1] - 1)
    depth = len(model.get_submodule(find_blocks(model, who)))  # pyright: ignore[reportArgumentType]

    try:
        blocks, logits = _run_whole(model, ids)
    except EngineError:
        raise
    except Exception as error:
        raise refusal(
            who, f"{kind} that does not run on ids alone ({_shorten(error)})", "one that does", REMEDY
        ) from error

    if not all(bool(torch.isfinite(found).all()) for found in (*blocks, logits)):
        return  # Nothing can be compared. Whatever is measured on it says that outputs overflow, and what to do.

    try:
        inputs = Decoder(model, 1, final_norm=False, positions="true").first_inputs(table(ids))
        for count in sorted({1, (depth + 1) // 2, depth}):
            found = Decoder(model, count, final_norm=False, positions="true")(inputs)
            if not _close(found, blocks[count - 1]):
                got = f"{kind} whose first {count} of {depth} blocks depend on more than the embeddings"
                raise refusal(who, got, "blocks that read what the one before puts out", REMEDY)
        whole = Decoder(model, depth, final_norm=True, positions="true")
        if not _close(whole.logits(inputs), logits):
            got = f"{kind} whose logits depend on more than its blocks, norm and head"
            raise refusal(who, got, "logits that are made of those", REMEDY)
        once = whole(inputs)
        changed = inputs.clone()
        changed[:, turn] = inputs[:, turn].flip(-1)
        moved = whole(changed)
    except EngineError:
        raise
    except Exception as error:
        got = f"{kind} whose blocks cannot be run by themselves ({_shorten(error)})"
        raise refusal(who, got, "blocks one after the other", REMEDY) from error

    if not _close(moved[:, :turn], once[:, :turn], once):
        got = f"{kind} in which a later token changes an earlier position"
        raise refusal(who, got, "positions that see earlier ones alone", REMEDY)
    if _close(moved[:, turn:], once[:, turn:], once):
        raise refusal(who, f"{kind} in which a token changes nothing", "positions that see earlier ones", REMEDY)

    try:
        cache = DynamicCache()
        before = whole(inputs[:, :turn], cache)
        layers: Any = cache.layers
        held = len(layers) == depth and all(layer.keys.shape[2] == turn for layer in layers)
        read_on = torch.cat([before, whole(inputs[:, turn:], cache)], dim=1)
    except Exception as error:
        got = f"{kind} that cannot be read on behind a cache ({_shorten(error)})"
        raise refusal(who, got, "attention whose keys and values can be kept", REMEDY) from error
    if not held or not _close(read_on, once):
        got = f"{kind} that gives something else when it is read on behind a cache"
        raise refusal(who, got, "attention whose keys and values can be kept", REMEDY)


def _run_whole(model: PreTrainedModel, ids: Tensor) -> tuple[list[Tensor], Tensor]:
    """What each block puts out, [runs, tokens, d_model], and the logits [runs, tokens, vocab]."""
    outputs: list[Tensor] = []
    blocks: Any = model.get_submodule(find_blocks(model))

    def note(module: object, given: object, output: Any) -> None:
        outputs.append(hidden_of(output).clone())

    handles = [block.register_forward_hook(note) for block in blocks]
    try:
        run: Any = model
        logits: Tensor = run(input_ids=ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return outputs, logits


def _close(found: Tensor, expected: Tensor, scale: Tensor | None = None) -> bool:
    """Whether they differ by no more than the order of summation explains. scale: what else to compare with."""
    if found.shape != expected.shape:
        return False
    # Half precision has three digits, in which a wrong mask still shows.
    tolerance = min(1024 * torch.finfo(expected.dtype).eps, 0.1)
    largest = (expected if scale is None else scale).abs().max()
    difference = (found.to(expected.device) - expected).abs().max()
    return bool(difference <= tolerance * largest)


def _shorten(error: Exception) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= 120 else f"{words[:119]}…"
