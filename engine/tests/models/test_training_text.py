"""Text to train on: cleaned, every sentence once, no source in both halves, and the same tokens every time."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from engine.errors import SubjectError
from engine.models.training_text import (
    BOTOCORE,
    END,
    VOCABULARY,
    FolderText,
    find_documentation,
    make_text,
    read_html,
    read_json_file,
    tokenize,
)


@pytest.mark.parametrize(
    ("markup", "paragraphs"),
    [
        ("<p>One <b>bold</b> word.</p><p>Two.</p>", ["One bold word.", "Two."]),
        ("<ul> <li>a</li><li>b &amp; c</li> </ul>", ["a", "b & c"]),
        ("no  markup\nat all", ["no markup at all"]),
        ("line<br/>break <code>x &lt; y</code>", ["line", "break x < y"]),
        ("<p></p>  ", []),
    ],
)
def test_markup_becomes_paragraphs(markup: str, paragraphs: list[str]) -> None:
    assert read_html(markup) == paragraphs


def test_documentation_is_found_wherever_it_stands_and_nothing_else_is() -> None:
    tree = {"documentation": "a", "shapes": [{"documentation": "b", "name": "no"}, {"x": {"documentation": "c"}}]}
    assert list(find_documentation(tree)) == ["a", "b", "c"]
    # An entry may be called so and be no text.
    assert list(find_documentation({"documentation": {"documentation": "inner"}})) == ["inner"]


def sources() -> dict[str, list[str]]:
    common = "This sentence is everywhere. And this one too."
    return {f"s{k:02}": [f"{common} Source {k} says this.", f"Only {k} knows that."] for k in range(40)}


def sentences(half: dict[str, tuple[str, ...]] | object) -> list[str]:
    assert isinstance(half, dict)
    return [part.rstrip(".") for ps in half.values() for p in ps for part in p.split(". ")]


def test_no_sentence_comes_twice_and_no_source_is_in_both_halves() -> None:
    text = make_text(sources())
    assert not set(text.training) & set(text.validation)
    assert set(text.training) | set(text.validation) == set(sources())
    found = sentences(text.training) + sentences(text.validation)
    assert len(found) == len(set(found))
    # A sentence of both halves belongs to the training half.
    assert "This sentence is everywhere" in sentences(text.training)
    assert 1 <= len(text.validation) <= 3  # about a twentieth
    assert make_text(dict(reversed(sources().items()))).digest == text.digest
    assert make_text(sources() | {"s00": ["Another text."]}).digest != text.digest


def test_text_without_two_halves_is_refused() -> None:
    with pytest.raises(SubjectError, match="sentences for both"):
        make_text({"one": ["Alone."]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, paragraphs in sources().items():
        (tmp_path / f"{name}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\xff\x00")
    return tmp_path


def test_a_folder_of_text_gives_tokens_that_decode_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(folder / "cache"))
    source = FolderText(folder)
    made, again = tokenize(source), tokenize(source)  # the second time from the cache
    for one, other in ((made.training, again.training), (made.validation, again.validation)):
        assert np.array_equal(one, other)
        assert one.dtype == np.uint16
        assert one.max() < VOCABULARY
    assert made.tokenizer.to_str() == again.tokenizer.to_str()
    text = source.read()
    expected = "".join("\n".join(paragraphs) for paragraphs in text.validation.values())
    assert made.tokenizer.decode(made.validation.tolist()).replace(END, "") == expected
    # Each source begins behind END, the first id.
    assert int((made.validation == 0).sum()) == len(text.validation)
    assert made.validation[0] == 0


def test_a_folder_that_cannot_be_read_is_one_line(folder: Path, tmp_path: Path) -> None:
    (folder / "s00.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SubjectError, match=r"s00\.txt.*text in UTF-8"):
        FolderText(folder).read()
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(SubjectError, match="0 text files"):
        FolderText(empty).read()


def test_a_file_that_unpacks_to_far_more_than_it_should_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "service-2.json.gz").write_bytes(gzip.compress(b'{"documentation": "a"}' + b" " * 5000))
    assert read_json_file(file) == {"documentation": "a"}
    monkeypatch.setattr("engine.models.training_text.MOST_BYTES", 5000)
    with pytest.raises(SubjectError, match="more than 5,000 bytes"):
        read_json_file(file)


@pytest.mark.skipif(BOTOCORE.missing() is not None, reason=str(BOTOCORE.missing()))
def test_the_packaged_text_is_the_pinned_one() -> None:
    text = BOTOCORE.read()  # raises unless its digest is the pinned one
    assert sum(len(p) for ps in text.training.values() for p in ps) > 24e6
    assert len(text.training) + len(text.validation) == 444
    made = tokenize(BOTOCORE)
    assert made.tokenizer.get_vocab_size() == VOCABULARY
    assert len(made.training) == 6_888_814
