"""Where the engine's own time goes, by kind of operation: one untimed pass under torch's profiler."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from torch.profiler import ProfilerActivity, profile

PRODUCTS, REST = "products", "rest"
KINDS = {
    PRODUCTS: r"mm|addmm_?|bmm|baddbmm_?|mv|addmv_?|dot|mkldnn_linear\w*",
    "attention": r"_?scaled_dot_product\w*|_?softmax\w*|_?safe_softmax|\w*masked_fill_?|tril|triu",
    "activation": r"gelu\w*|silu\w*|relu\w*|tanh\w*|sigmoid\w*|leaky_relu\w*|threshold\w*",
    "norm": r"native_(?:layer|batch)_norm\w*|(?:_?fused_)?rms_norm\w*|layer_norm\w*|var_mean",
    "elementwise and copies": r"(?:add|addcmul|addcdiv|sub|rsub|mul|div|pow|sqrt|rsqrt|neg|exp|abs|sum|mean|norm|"
    r"linalg_vector_norm|sgn|sign|copy|clone|fill|zero|cat|stack|where|maximum|minimum|clamp\w*|max|argmax|eq|ne|gt|ge|lt|le|any|all|"
    r"isfinite|index\w*|gather|contiguous|_to_copy|zeros|ones|isnan|logical_\w+|bitwise_\w+|lerp|square|ldexp)_?",
}
"""Names of each kind's operations. The rest is dispatch, autograd, Python, and operations such as factorizations."""


def classify(operation: str) -> str:
    """The kind of an operation as the profiler names it: 'aten::mm' is a product."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if re.fullmatch(names, name)), REST)


def measure_shares(run: Callable[[], object]) -> dict[str, float]:
    """Shares of a pass's wall time by kind, which add up to one. An operation counts without those that it calls."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        began = perf_counter()
        run()
        whole_us = 1e6 * (perf_counter() - began)
    taken_us = dict.fromkeys(KINDS, 0.0)
    averages: Any = seen.key_averages()
    for one in averages:
        # What is not classified counts as rest, together with the time outside of any operation.
        if (kind := classify(one.key)) != REST:
            taken_us[kind] += one.self_cpu_time_total
    # Threads that work side by side could together take more than the wall time.
    whole_us = max(whole_us, sum(taken_us.values()))
    shares = {kind: round(us / whole_us, 4) for kind, us in taken_us.items()}
    return shares | {REST: round(max(0.0, 1 - sum(shares.values())), 4)}
