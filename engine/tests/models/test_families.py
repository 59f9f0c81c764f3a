"""All that the engine knows of a family of models is in its entry."""

from __future__ import annotations

import ast
from pathlib import Path

from engine.models.families import FAMILIES, check_family, config_class, model_class
from engine.tests.tiny import FAMILIES as TRIED

ENGINE = Path(__file__).resolve().parents[2]
OTHERS = {
    ("__init__.py", "gpt2"),  # a subject's id, here and in the next two
    ("experiments/language/compare.py", "gpt2"),
    ("models/hub.py", "gpt2"),
    ("report/standing.py", "gpt2"),  # the document's own models
    ("session/record.py", "gpt2"),
    ("models/gguf.py", "gpt2"),  # kinds of tokenizers, as GGUF names them
    ("models/gguf.py", "llama"),
}


def test_a_family_is_named_in_its_entry_alone() -> None:
    found = {
        (path.relative_to(ENGINE).as_posix(), node.value)
        for path in ENGINE.rglob("*.py")
        if not {"tests", "studies"} & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FAMILIES
    }
    assert found == OTHERS | {("models/families.py", key) for key in FAMILIES}


def test_every_family_is_tried_and_has_classes_of_its_own_type() -> None:
    assert set(TRIED) == set(FAMILIES)
    for key in FAMILIES:
        assert check_family("a model", key) == key
        assert config_class(key).model_type == key
        assert model_class(key).config_class is config_class(key)
