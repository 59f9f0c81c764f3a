"""Measurements: an arm, its result, and where it was measured. None of it needs torch.

An arm's digest covers every setting that can change its numbers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import Field as Held
from pydantic import TypeAdapter

from engine.arms.arm import Arm, Result
from engine.arms.tags import real_fields, tag_of
from engine.records import Provenance

NUMERICS = 4
"""Version of the numerics: raised whenever the same arm would give other numbers (a golden test watches)."""

SCHEMA = 1
"""Version of the stored form of a measurement."""


Seconds = Annotated[float, Held(ge=0, allow_inf_nan=False)]
"""Elapsed seconds. No digest covers them, so that their range is all that can be checked of a stored value."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The result of an arm, with its provenance.

    `digest`, `arm` and `result` are the same in every run; the rest describes the run.
    peak_bytes: of the process. gpu_s: by the GPU's own clock. gpu_peak_bytes: of the tensors on it. None without a GPU.
    """

    schema: int = SCHEMA
    digest: str
    arm: Arm
    result: Result
    provenance: Provenance
    elapsed_s: Seconds
    peak_bytes: int | None = None
    gpu_s: Seconds | None = None
    gpu_peak_bytes: int | None = None

    def content(self) -> str:
        """Digest of the arm and its result, without timings and provenance."""
        plain = measurement_type().dump_python(self, mode="json", include={"digest", "arm", "result"})
        parts = {"arm": self.arm, "result": self.result}
        return digest_json(plain | {name: _drop_later(part, plain[name]) for name, part in parts.items()})


@cache
def measurement_type() -> TypeAdapter[Measurement]:
    """Converts measurements of every kind from and to plain data."""
    return TypeAdapter(Measurement)


def digest_of(arm: Arm) -> str:
    """The digest of an arm: 40 hexadecimal digits over every setting and the version of the numerics."""
    return digest_json({"numerics": NUMERICS, "arm": _plain(arm)})[:40]


def _plain(value: Any, *, real: bool = False) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        reals = real_fields(type(value))
        held = {f.name: getattr(value, f.name) for f in fields(value) if _counts(value, f)}
        return {"type": tag_of(value), **{name: _plain(v, real=name in reals) for name, v in held.items()}}
    if isinstance(value, tuple):
        return [_plain(v, real=real) for v in value]  # pyright: ignore[reportUnknownVariableType]
    # 1 equals 1.0 and -0.0 equals 0.0, so their digests must be equal too.
    return float(value) + 0.0 if real and isinstance(value, int | float) else value


def _drop_later(value: Any, plain: Any) -> Any:
    """The JSON form without later-added fields at their default, i.e. as older versions stored it."""
    if not is_dataclass(value) or isinstance(value, type):
        return plain
    counted = {f.name for f in fields(value) if _counts(value, f)}
    return {name: _drop_later(getattr(value, name), part) for name, part in plain.items() if name in counted}


def _counts(value: Any, field: Field[Any]) -> bool:
    """Whether a field is part of a digest. A later-added field is only if it differs from its default."""
    return not (field.metadata.get("later") and getattr(value, field.name) == field.default)


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
