"""The products and factorizations that a piece of work really does, written down while it runs, and done again bare.

What is done again is the arithmetic alone: each product in its order, with the real weights and outputs made
beforehand; no bias, no activation, no norm, no loss, nothing of Python's between them but a call.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCT = "product"
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
"""Operations on two matrices, or stacks of them, by the place of the first."""

ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
ATTENTION_BACKWARD = ATTENTION + "_backward"
FACTORIZATIONS = (
    "linalg_cholesky_ex",
    "_linalg_eigh",
    "_linalg_svd",
    "linalg_qr",
    "linalg_lu_factor_ex",
    "cholesky_solve",
    "cholesky_inverse",
    "linalg_solve_triangular",
)


class View(NamedTuple):
    """Where a matrix lies in its storage."""

    storage: int
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


Step = tuple[str, tuple[View, ...]]
Shapes = tuple[str, tuple[Any, ...]]


def _view(tensor: Tensor) -> View:
    storage = tensor.untyped_storage().data_ptr()
    return View(storage, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), tensor.dtype)


class Listener(TorchDispatchMode):
    """Writes down products in their order, and factorizations with the first input of each shape.

    steps: each product with its two matrices, or attention with its three. factorized: how often, by name and sizes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.factorized: Counter[Shapes] = Counter()
        self.again: dict[Shapes, Callable[[], object]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            left, right = args[PRODUCTS[name] : PRODUCTS[name] + 2]
            self.steps.append((PRODUCT, (_view(left), _view(right))))
        elif name in (ATTENTION, ATTENTION_BACKWARD):
            query, key, value = args[:3] if name == ATTENTION else args[1:4]
            self.steps.append((name, (_view(query), _view(key), _view(value))))
        elif name in FACTORIZATIONS:
            self._keep(name, func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def _keep(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        shapes = (name, tuple(tuple(arg.shape) if isinstance(arg, Tensor) else arg for arg in args))
        self.factorized[shapes] += 1
        if shapes not in self.again:
            copies = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
            self.again[shapes] = partial(func, *copies, **kwargs)


class Replay:
    """What a listener has written down, ready to be done again.

    weights: tensors that are read where they lie; any other matrix is a random one of its sizes and strides.
    """

    def __init__(self, heard: Listener, weights: Iterable[Tensor]) -> None:
        self._weights = {weight.untyped_storage().data_ptr(): weight for weight in weights}
        self._buffers: dict[tuple[Any, ...], Tensor] = {}
        self._made: dict[Step, list[Callable[[], object]]] = {}
        self.calls = [call for step in heard.steps for call in self._calls(step)]
        self.calls += [heard.again[shapes] for shapes in heard.factorized.elements()]

    def __call__(self) -> None:
        with torch.no_grad():
            for call in self.calls:
                call()

    def _calls(self, step: Step) -> list[Callable[[], object]]:
        if step not in self._made:
            kind, views = step
            self._made[step] = [self._multiply(*views)] if kind == PRODUCT else self._attend(kind, views)
        return self._made[step]

    def _multiply(self, left: View, right: View) -> Callable[[], object]:
        a, b = self._operand("left", left), self._operand("right", right)
        out = self._buffer("out", (*a.shape[:-1], b.shape[-1]), None, a.dtype)
        return partial(torch.mm if a.ndim == 2 else torch.bmm, a, b, out=out)

    def _attend(self, kind: str, views: tuple[View, ...]) -> list[Callable[[], object]]:
        """Scores and mix; behind them the gradients of both factors of each: the forward pass's are not made again."""
        (*stack, tokens, width), seen, dtype = views[0].sizes, views[1].sizes[-2], views[0].dtype
        batch = math.prod(stack)
        query = self._buffer("left", (batch, tokens, width), None, dtype)
        key = self._buffer("right", (batch, seen, width), None, dtype)
        scores = self._buffer("left", (batch, tokens, seen), None, dtype)
        score = partial(torch.bmm, query, key.mT, out=self._buffer("out", (batch, tokens, seen), None, dtype))
        mix = partial(torch.bmm, scores, key, out=self._buffer("out", (batch, tokens, width), None, dtype))
        if kind == ATTENTION:
            return [score, mix]
        back = partial(torch.bmm, scores.mT, query, out=self._buffer("out", (batch, seen, width), None, dtype))
        return [score, mix, back, back]

    def _operand(self, use: str, view: View) -> Tensor:
        weight = self._weights.get(view.storage)
        if weight is not None and weight.dtype == view.dtype:
            return weight.detach().as_strided(view.sizes, view.strides, view.offset)
        return self._buffer(use, view.sizes, view.strides, view.dtype)

    def _buffer(self, use: str, sizes: tuple[int, ...], strides: tuple[int, ...] | None, dtype: torch.dtype) -> Tensor:
        key = (use, sizes, strides, dtype)
        if key not in self._buffers:
            spread = torch.empty(sizes, device="meta").stride() if strides is None else strides
            last = sum((size - 1) * stride for size, stride in zip(sizes, spread, strict=True))
            self._buffers[key] = torch.randn(max(0, last) + 1).to(dtype).as_strided(sizes, spread)
        return self._buffers[key]
