"""All subjects by name."""

from __future__ import annotations

import os
from difflib import get_close_matches

from engine.errors import UsageError, explain
from engine.files import expand_home
from engine.models.hub import HUB_SUBJECTS, find_repository, is_repository
from engine.models.local import find_local
from engine.models.packaged import GEMMA3, GEMMA3_UNTRAINED, SMOLLM2, SMOLLM2_UNTRAINED
from engine.models.quantized import LOCAL_INT8, SUFFIX, quantize
from engine.models.subject import Subject
from engine.models.trained import TRAINED_FAMILY, find_trained
from engine.models.untrained import UntrainedSubject, parse_seed

CATALOGUE: dict[str, Subject] = {
    subject.id: subject
    for subject in (
        SMOLLM2,
        SMOLLM2_UNTRAINED,
        GEMMA3,
        GEMMA3_UNTRAINED,
        *HUB_SUBJECTS,
        *(hub.twin for hub in HUB_SUBJECTS),
        *(quantize(hub) for hub in HUB_SUBJECTS if hub.tier == "xl"),
        *TRAINED_FAMILY,
    )
}
"""The subjects with a name of their own. `find_subject` knows further ones."""


def find_subject(name: str) -> Subject:
    """The subject called `name`.

    name: one of the catalogue's, 'NAME-untrained:SEED' for a fixed seed, 'NAME-int8' for int8 linear layers, or a model
    on disk as 'local:PATH', 'local-untrained:PATH:SEED' or 'local-int8:PATH', or one of the hub as 'ORG/NAME' or
    'ORG/NAME@REVISION', which is fetched if the hub's cache lacks it. '-untrained:SEED' and '-int8' behind a revision
    are of the model there.
    Raises UsageError for an unknown name (with the nearest ones) or a bad seed, SubjectError for a path without a model
    or for int8 weights of a subject that cannot be quantized, MissingError for a model that cannot be fetched.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if (trained := find_trained(name)) is not None:
        return trained
    stem, colon, rest = name.partition(":")
    if colon and stem == "local":
        return find_local(rest)
    if colon and stem == "local-untrained":
        path, _, seed = rest.rpartition(":")
        return find_local(path).untrained(parse_seed(f"{stem}:{path}", seed))
    if colon and stem == LOCAL_INT8.rstrip(":"):
        return quantize(find_local(rest))
    base = CATALOGUE.get(name.removesuffix(SUFFIX))
    if base is not None and name.endswith(SUFFIX):
        return quantize(base)

    subject = CATALOGUE.get(stem)
    if subject is None:
        exists = bool(name) and os.path.exists(expand_home(name))  # raises nothing if the name is too long for a path
        if not exists and (found := _find_in_hub(name)) is not None:
            return found
        if exists:
            remedy = f"write local:{name}"
        else:
            near = get_close_matches(stem, CATALOGUE, n=3, cutoff=0.5)
            remedy = f"did you mean {' or '.join(near)}?" if near else "pick one"
        expected = f"one of {', '.join(CATALOGUE)}, local:PATH, or ORG/NAME"
        raise UsageError(explain(who="subject", got=repr(name), expected=expected, remedy=remedy))
    if not isinstance(subject, UntrainedSubject):
        got, expected = f"a seed ({rest!r})", "none, since its weights are trained"
        remedy = f"write {stem}, or {stem}-untrained:SEED"
        raise UsageError(explain(who=f"subject {stem}", got=got, expected=expected, remedy=remedy))
    return subject.untrained(parse_seed(stem, rest))


def _find_in_hub(name: str) -> Subject | None:
    """The model of the hub called `name`; None if that is no name of one."""
    stem, _, seed = name.partition(":")
    if seed and "@" in stem and stem.endswith("-untrained"):
        stem = stem.removesuffix("-untrained")
        return find_repository(stem).untrained(parse_seed(stem, seed)) if is_repository(stem) else None
    plain = name.removesuffix(SUFFIX) if "@" in name else name
    if not is_repository(plain):
        return None
    return find_repository(plain) if plain == name else quantize(find_repository(plain))
