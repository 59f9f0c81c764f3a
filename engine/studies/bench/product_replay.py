"""Record the products and factorizations of a piece of work while it runs, and repeat them bare.

Only the arithmetic is repeated: each product in its order, with the real weights, by the fastest way we know; no bias,
activation, norm or loss, and nothing of Python between the products but a call.
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

from engine.models.products import multiply

PRODUCT = "product"
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
"""Operations on two matrices, or stacks of them, with the position of the first among their arguments."""

ONEDNN_PRODUCT = "_linear_pointwise"
"""What engine.models.products.multiply calls: rows [..., width] times the transpose of a matrix."""

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


class MatrixView(NamedTuple):
    """Where a matrix lies in its storage."""

    storage: int
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> MatrixView:
        storage = tensor.untyped_storage().data_ptr()
        return cls(storage, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), tensor.dtype)


Step = tuple[str, tuple[MatrixView, ...]]
Shapes = tuple[str, tuple[Any, ...]]
Call = Callable[[], object]


class ProductRecorder(TorchDispatchMode):
    """Records, while it is entered, every product, and factorizations with the first input of each shape.

    steps: each product with its two matrices, or attention with its three. factorized: how often, by name and shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.factorized: Counter[Shapes] = Counter()
        self.refactorize: dict[Shapes, Call] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name in PRODUCTS:
            left, right = args[PRODUCTS[name] : PRODUCTS[name] + 2]
            self.steps.append((PRODUCT, (MatrixView.of(left), MatrixView.of(right))))
        elif name == ONEDNN_PRODUCT:
            rows, matrix = args[:2]
            self.steps.append((PRODUCT, (MatrixView.of(rows.flatten(0, -2)), MatrixView.of(matrix.T))))
        elif name in (ATTENTION, ATTENTION_BACKWARD):
            query, key, value = args[:3] if name == ATTENTION else args[1:4]
            self.steps.append((name, (MatrixView.of(query), MatrixView.of(key), MatrixView.of(value))))
        elif name in FACTORIZATIONS:
            shapes = (name, tuple(tuple(arg.shape) if isinstance(arg, Tensor) else arg for arg in args))
            self.factorized[shapes] += 1
            if shapes not in self.refactorize:
                # A factorization's time hangs on its input's numbers, and its input may be overwritten later.
                copies = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
                self.refactorize[shapes] = partial(func, *copies, **kwargs)
        return func(*args, **kwargs)


class ProductReplay:
    """Repeats what was recorded. calls: its products in their order, then its factorizations.

    weights: tensors that are read where they lie. Any other matrix is a random one of the same sizes and strides, and
    matrices of one shape share their memory.
    """

    def __init__(self, recorded: ProductRecorder, weights: Iterable[Tensor]) -> None:
        self._weights = {weight.untyped_storage().data_ptr(): weight for weight in weights}
        self._buffers: dict[tuple[Any, ...], Tensor] = {}
        # Equal steps share one call: a descent repeats the same few at every iteration.
        calls: dict[Step, list[Call]] = {}
        for step in dict.fromkeys(recorded.steps):
            kind, views = step
            calls[step] = [self._multiply(*views)] if kind == PRODUCT else self._attend(kind, *views)
        self.calls = [call for step in recorded.steps for call in calls[step]]
        self.calls += [recorded.refactorize[shapes] for shapes in recorded.factorized.elements()]

    def __call__(self) -> None:
        with torch.no_grad():
            for call in self.calls:
                call()

    def _multiply(self, left: MatrixView, right: MatrixView) -> Call:
        a, b = self._find_operand("left", left), self._find_operand("right", right)
        if a.ndim == 2:
            return partial(multiply, a, b.T)
        return partial(torch.bmm, a, b, out=self._buffer("out", (*a.shape[:-1], b.shape[-1]), a.dtype))

    def _attend(self, kind: str, queries: MatrixView, keys: MatrixView, _values: MatrixView) -> list[Call]:
        """Scores and mix; backward, the gradients of both factors of each. The forward pass's are not repeated."""
        (*stack, tokens, width), seen, dtype = queries.sizes, keys.sizes[-2], queries.dtype
        batch = math.prod(stack)
        query = self._buffer("left", (batch, tokens, width), dtype)
        key = self._buffer("right", (batch, seen, width), dtype)
        scores = self._buffer("left", (batch, tokens, seen), dtype)
        score = partial(torch.bmm, query, key.mT, out=self._buffer("out", (batch, tokens, seen), dtype))
        mix = partial(torch.bmm, scores, key, out=self._buffer("out", (batch, tokens, width), dtype))
        if kind == ATTENTION:
            return [score, mix]
        back = partial(torch.bmm, scores.mT, query, out=self._buffer("out", (batch, seen, width), dtype))
        return [score, mix, back, back]

    def _find_operand(self, use: str, view: MatrixView) -> Tensor:
        weight = self._weights.get(view.storage)
        if weight is not None and weight.dtype == view.dtype:
            return weight.detach().as_strided(view.sizes, view.strides, view.offset)
        return self._buffer(use, view.sizes, view.dtype, view.strides)

    def _buffer(
        self, use: str, sizes: tuple[int, ...], dtype: torch.dtype, strides: tuple[int, ...] | None = None
    ) -> Tensor:
        key = (use, sizes, strides, dtype)
        if key not in self._buffers:
            strides = torch.empty(sizes, device="meta").stride() if strides is None else strides
            # As much memory as the view spans: an expanded matrix repeats its numbers there as well.
            last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
            self._buffers[key] = torch.randn(max(0, last) + 1).to(dtype).as_strided(sizes, strides)
        return self._buffers[key]
