"""Names that digests read in the place of a class's own, so that code can be renamed and no measurement is orphaned."""

from __future__ import annotations

from dataclasses import fields
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


@cache
def real_fields(kind: type[Any]) -> frozenset[str]:
    """The fields of a dataclass that hold real numbers, alone or in tuples: there 1 means 1.0, and -0.0 means 0.0."""
    types = get_type_hints(kind)
    return frozenset(field.name for field in fields(kind) if _holds_reals(types[field.name]))


def _holds_reals(annotation: object) -> bool:
    return annotation is float or any(map(_holds_reals, get_args(annotation)))
