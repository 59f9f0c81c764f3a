"""Names that digests read instead of a class's or a field's own, so that a rename in code orphans no measurement."""

from __future__ import annotations

from dataclasses import Field, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from engine.errors import DeclarationError, explain

TAG = "tag"


def tag_of(value: object) -> str:
    """The tag of a value's class: `tag: ClassVar[str] = "…"` in the class itself, since a subclass is another kind.

    Raises DeclarationError for a class without one.
    """
    kind = type(value)
    tag = vars(kind).get(TAG)
    if not isinstance(tag, str) or not tag:
        got, expected = f"the class {kind.__name__} without a tag", "a name that outlives the class's own"
        remedy = f'write tag: ClassVar[str] = "{kind.__name__}" in it, and keep that when you rename it'
        raise DeclarationError(explain(who="digest", got=got, expected=expected, remedy=remedy))
    return tag


def field_tag(field: Field[Any]) -> str:
    """The name that digests read for a field: its own, or an older one under `metadata={"tag": "…"}`."""
    return field.metadata.get(TAG, field.name)


@cache
def real_fields(kind: type[Any]) -> frozenset[str]:
    """The fields of a dataclass that hold real numbers, alone or in tuples: there 1 means 1.0, and -0.0 means 0.0."""
    types = get_type_hints(kind)
    return frozenset(field.name for field in fields(kind) if _holds_reals(types[field.name]))


def _holds_reals(annotation: object) -> bool:
    return annotation is float or any(map(_holds_reals, get_args(annotation)))
