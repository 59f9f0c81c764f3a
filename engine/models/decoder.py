"""Any decoder-only model through transformers' own forward pass, from its first block's input to a block's output.

No family is named here. The list of blocks is found by its length. A shallow copy of the model is run in which the
first block is given the caller's vectors in place of the library's, and the last one that is asked for ends the pass
with its output. So masks, windows, rotary angles and caches stay the library's, and no norm has to be known.

What the claims call e is what the first block gets. Whatever the library does before that (a factor, a norm, learned
positions) is read off by running it: `first_inputs`.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from engine.arms.protocol import Positions
from engine.models.families import find_context
from engine.models.subject import refusal

WHO = "stack"

SHORTEST_TRIAL = 64
"""Tokens of the shortest text on which masks are compared. What holds for it holds for every shorter one."""


class Reached(Exception):
    """Ends a forward pass. hidden: what was reached, [runs, tokens, d_model]."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _Wrapped(nn.Module):
    """A module in another's place, with all of its attributes, since forward passes ask for some."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


class _First(_Wrapped):
    """The first block that is run, given `instead` where that is set. Where it is not, what it gets ends the pass."""

    instead: Tensor | None = None

    def forward(self, *args: Any, **options: Any) -> Any:
        name = _parameters(self.inner)[0]
        if self.instead is None:
            raise Reached(args[0] if args else options[name])
        return self.inner(self.instead, *args[1:], **{k: v for k, v in options.items() if k != name})


class _Skipped(_Wrapped):
    """A block that is left out. The library runs its loop over it as over the others."""

    def forward(self, *args: Any, **options: Any) -> Any:
        return args[0] if args else options[_parameters(self.inner)[0]]


class _Last(_Wrapped):
    """A block whose output ends the pass."""

    def forward(self, *args: Any, **options: Any) -> Any:
        output = self.inner(*args, **options)
        raise Reached(hidden_of(output))


class _ZeroIds(_Wrapped):
    """A module that turns position ids into positions, and is shown zeros."""

    def forward(self, *args: Any, **options: Any) -> Any:
        given = {**dict(zip(_parameters(self.inner), args, strict=False)), **options}
        ids = given.get("position_ids")
        if isinstance(ids, Tensor):
            given["position_ids"] = torch.zeros_like(ids)
        return self.inner(**given)


def hidden_of(output: Any) -> Tensor:
    """The hidden states among what a block puts out, which some families give with other things."""
    return output[0] if isinstance(output, tuple | list) else output


class Decoder:
    """A model's first `count` blocks, as a function of what the first of them gets. It shares the model's weights.

    final_norm: run what the library runs behind the blocks, too (its final norm, for most families).
    positions: 'true' leaves positions as they are; 'first' gives every token those of position 0.
    first: the block, from 1, that is run first and gets the inputs; those before it are left out. A cache then has to
    hold the earlier tokens of every block, as a decoder of all blocks leaves it.
    Raises SubjectError for a model whose blocks cannot be found.
    """

    def __init__(
        self, model: PreTrainedModel, count: int, *, final_norm: bool, positions: Positions, first: int = 1
    ) -> None:
        self._model, path = model, find_blocks(model)
        whole: Any = model.get_submodule(path)
        blocks = list(whole)[:count] if final_norm else list(whole)
        if not final_norm:
            blocks[count - 1] = _Last(blocks[count - 1])
        if positions == "first":
            # Blocks that turn ids into angles themselves are shown zeros as well. Masks are made outside of them.
            blocks = [_ZeroIds(block) if "position_ids" in _parameters(block) else block for block in blocks]
        # Left out in place: masks, windows and caches go by a block's number.
        blocks[: first - 1] = [_Skipped(block) for block in blocks[: first - 1]]
        blocks[first - 1] = self._first = _First(blocks[first - 1])
        self._body = _copy_path(model, path, nn.ModuleList(blocks), positions)
        if len(blocks) < len(whole):
            _shorten(self._body, path, len(blocks))
        self._body.eval()

    def first_inputs(self, embeddings: Tensor) -> Tensor:
        """What the first block gets for the library's `inputs_embeds`: [runs, tokens, d_model], both."""
        self._first.instead = None
        try:
            self._run(embeddings, None)
        except Reached as end:
            return end.hidden
        raise AssertionError("the first block was not run")

    def __call__(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """Inputs of the first block, [runs, tokens, d_model] → hidden states of the same shape.

        cache: of the tokens before these, which is extended.
        """
        self._first.instead = inputs
        try:
            return self._run(inputs, cache)
        except Reached as end:
            return end.hidden
        finally:
            self._first.instead = None

    def logits(self, inputs: Tensor) -> Tensor:
        """What the library's own head gives behind all blocks, with its bias, scale or cap: [runs, tokens, vocab]."""
        self._first.instead = inputs
        try:
            return self._body(inputs_embeds=inputs, use_cache=False).logits
        finally:
            self._first.instead = None

    def _run(self, embeddings: Tensor, cache: Cache | None) -> Tensor:
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
        new, before = embeddings.shape[1], cache.get_seq_length() if cache is not None else 0
        if takes_causal_mask(self._model, before + new):
            # The library would look at its own mask's values at each pass, for which a GPU has to be waited for.
            options["attention_mask"] = make_causal_mask(new, before, embeddings)
        return _body_of(self._body)(inputs_embeds=embeddings, **options).last_hidden_state


_CAUSAL: WeakKeyDictionary[PreTrainedModel, dict[int, bool]] = WeakKeyDictionary()
"""Of each model, whether texts of a length take a causal mask."""


@torch.no_grad()
def takes_causal_mask(model: PreTrainedModel, tokens: int) -> bool:
    """Whether a plain causal mask gives what the library's own masks give, tried on a text at least so long.

    It does not where blocks see a window only, where positions are part of the mask, and where a model has no mask.
    """
    tried = _CAUSAL.setdefault(model, {})
    for length, causal in tried.items():
        if (causal and tokens <= length) or tokens == length:
            return causal
    text = model.config.get_text_config(decoder=True)
    weight: Any = model.get_input_embeddings()
    if weight.weight.device.type == "meta":
        return True  # it has no numbers to compare
    # A longer text first, so that texts that grow by a token need no trial each.
    longer = min(max(find_context(model.config), tokens), max(SHORTEST_TRIAL, 2 ** (tokens - 1).bit_length()))
    for length in sorted({longer, tokens}, reverse=True):
        if length >= tokens and length not in tried:
            ids = torch.randint(int(text.vocab_size), (1, length), generator=torch.Generator().manual_seed(0))
            tried[length] = _agrees(model, weight(ids.to(weight.weight.device)))
        if tried.get(length):
            return True
    return tried[tokens]


def _agrees(model: PreTrainedModel, embeddings: Tensor) -> bool:
    run = _body_of(model)
    try:
        own = run(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        mask = make_causal_mask(embeddings.shape[1], 0, embeddings)
        masked = run(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state
    except Exception:
        return False
    return bool((masked - own).abs().max() <= 256 * torch.finfo(own.dtype).eps * own.abs().max())


def _body_of(model: PreTrainedModel) -> Any:
    """The model without its head, which for some families has a name of its own."""
    body: Any = model.base_model
    return model.get_submodule(find_blocks(model).rpartition(".")[0]) if body is model else body


def make_causal_mask(new: int, before: int, like: Tensor) -> Tensor:
    """Which tokens each new token sees, itself and all before it: [runs, 1, new, before + new] of bool."""
    mask = torch.ones(new, before + new, dtype=torch.bool, device=like.device).tril(before)
    return mask.expand(like.shape[0], 1, -1, -1)


def find_blocks(model: PreTrainedModel, who: str = WHO) -> str:
    """The name of the list of a model's blocks. Raises SubjectError if there is none of the configured length."""
    depth = int(model.config.get_text_config(decoder=True).num_hidden_layers)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not found:
        got = f"a model of type {model.config.model_type} without a list of {depth} blocks"
        raise refusal(who, got, "a decoder of blocks", "name a decoder-only language model")
    # The outermost such list; of several, the one with the most weights (experts of a block may be as many).
    outermost = min(name.count(".") for name, _ in found)
    return max(
        ((name, module) for name, module in found if name.count(".") == outermost),
        key=lambda item: sum(p.numel() for p in item[1].parameters()),
    )[0]


def _parameters(module: nn.Module) -> list[str]:
    """The names of the parameters of a module's forward pass."""
    while isinstance(module, _Wrapped):
        module = module.inner
    return list(inspect.signature(type(module).forward).parameters)[1:]


def _copy_path(model: PreTrainedModel, path: str, blocks: nn.ModuleList, positions: Positions) -> Any:
    """A copy of a model with other blocks. Modules on the way to them are copied, all others shared."""
    top = here = _copy_module(model)
    *names, last = path.split(".")
    for name in names:
        child = _copy_module(here._modules[name])
        here._modules[name] = child
        here = child
    here._modules[last] = blocks
    if positions == "first":
        for name, child in list(here._modules.items()):
            if child is not None and name != last and "position_ids" in _parameters(child):
                here._modules[name] = _ZeroIds(child)
    return top


def _copy_module(module: Any) -> Any:
    copied = copy.copy(module)
    # torch keeps submodules in this dictionary. With a copy of it, changes leave the model as it is.
    copied.__dict__["_modules"] = dict(module.__dict__["_modules"])
    # Accelerate leaves these on a module that it has placed. They are bound to the original, and would run all blocks.
    for name in ("forward", "_old_forward", "_hf_hook"):
        copied.__dict__.pop(name, None)
    return copied


def _shorten(model: Any, path: str, count: int) -> None:
    """Give the copied modules a configuration of so many blocks, with every list per block cut to as many."""
    whole, text = model.config, model.config.get_text_config(decoder=True)
    short = copy.copy(text)
    depth = int(text.num_hidden_layers)
    for field, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth:  # pyright: ignore[reportUnknownArgumentType]
            object.__setattr__(short, field, value[:count])
    object.__setattr__(short, text.attribute_map.get("num_hidden_layers", "num_hidden_layers"), count)
    outer = short if text is whole else copy.copy(whole)
    if outer is not short:
        object.__setattr__(outer, "text_config", short)
    node = model
    for name in ["", *path.split(".")[:-1]]:
        node = node._modules[name] if name else node
        if hasattr(node, "config"):
            node.config = short if node.config is text else outer
