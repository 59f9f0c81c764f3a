"""A model's folder is other people's work: nothing in it runs, and nothing outside of it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import SubjectError
from engine.models import find_subject
from engine.models.hub import HUB_SUBJECTS, HubSubject
from engine.models.local import MOST_BLOCKS, LocalFolder
from engine.tests.folders import change, refuse
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf


@pytest.fixture(name="folder")
def provide_folder(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_gpt2())


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("subject", HUB_SUBJECTS, ids=lambda subject: subject.id)
def test_every_model_of_the_hub_is_pinned_to_a_commit(subject: HubSubject) -> None:
    # A branch or a tag can be moved to other weights; forty hexadecimal digits cannot.
    assert len(subject.revision) == 40
    assert set(subject.revision) <= set("0123456789abcdef")
    assert subject.fingerprint() == f"revision:{subject.revision}"


@pytest.mark.parametrize("index", [False, True], ids=["one file", "an index"])
def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(
    index: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # somebody else's habit must not be ours
    (folder / "model.safetensors").unlink()
    name = "weights-00001-of-00001.bin" if index else "pytorch_model.bin"
    torch.save(make_gpt2().state_dict() | {"transformer.wte.weight": Trap(folder / "sprung")}, folder / name)
    if index:
        places = dict.fromkeys(make_gpt2().state_dict(), name)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    refuse(folder, "weights that can be loaded")
    assert not (folder / "sprung").exists()
    torch.load(folder / name, weights_only=False)  # the trap itself is sound
    assert (folder / "sprung").exists()


def test_safetensors_are_read_where_a_pickle_lies_beside_them(folder: Path) -> None:
    torch.save(Trap(folder / "sprung"), folder / "pytorch_model.bin")
    model = find_subject(f"local:{folder}").model(torch.float32)
    assert torch.equal(model.get_input_embeddings().weight, make_gpt2().transformer.wte.weight)
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize("place", ["auto_map", "custom_generate", "tokenizer"])
def test_code_in_a_folder_is_never_run(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_ask(*_: object) -> str:
        raise AssertionError("the user was asked whether to run it")

    monkeypatch.setattr("builtins.input", refuse_to_ask)
    code = f"open({str(folder / 'sprung')!r}, 'w')"
    remote = {"AutoConfig": "trap.TrapConfig", "AutoTokenizer": "trap.Trap"}
    if place == "tokenizer":  # in config.json that one refuses the model
        remote["AutoModelForCausalLM"] = "trap.TrapModel"
    if place == "custom_generate":
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(code)
    else:
        change(folder / ("config.json" if place == "auto_map" else "tokenizer_config.json"), auto_map=remote)
        (folder / "trap.py").write_text(code)
    subject = find_subject(f"local:{folder}")
    model = subject.model(torch.float32)
    assert type(model).__module__.startswith("transformers.")
    assert subject.tokenizer()("a").input_ids
    model.generate(torch.tensor([[1, 2]]), max_new_tokens=1)  # pyright: ignore[reportCallIssue]
    assert not (folder / "sprung").exists()


ELSEWHERE = ["../other/model.safetensors", "{other}/model.safetensors", "./model.safetensors", "sub/../../other/x"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_index_that_leads_out_of_its_folder_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other", make_gpt2())
    (folder / "model.safetensors").unlink()
    name = name.format(other=other)
    places = dict.fromkeys(make_gpt2().state_dict(), name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    refuse(folder, "model.safetensors.index.json that lists", "names of files beside it")
    subject = LocalFolder(id="planted", note="", path=folder)  # as one that was changed after it was named
    with pytest.raises(SubjectError, match="names of files beside it"):
        subject.fingerprint()


@pytest.mark.parametrize("name", ["other.safetensors", "../other/model.safetensors"])
def test_a_configuration_that_names_other_weights_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    # Read by the library in place of the files that the fingerprint is taken of.
    save(tmp_path / "other", make_gpt2())
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (tmp_path / "other" / "model.safetensors").rename(folder / "model.safetensors")
    change(folder / "config.json", transformers_weights=name)
    refuse(folder, "config.json that names a file of weights", "model.safetensors")


@pytest.mark.parametrize("blocks", [MOST_BLOCKS + 1, 2**31, 10**30])
def test_a_configuration_of_absurd_depth_is_refused_before_it_is_built(blocks: int, folder: Path) -> None:
    change(folder / "config.json", n_layer=blocks)
    refuse(folder, f"{blocks} blocks, expected 1 to {MOST_BLOCKS}")


def test_a_gguf_file_of_absurd_depth_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path, field = write_gguf(tmp_path / "tiny.gguf", make_llama()), b"llama.block_count"
    content = bytearray(path.read_bytes())
    value = content.index(field) + len(field) + 4  # behind the name stands the type, four bytes
    content[value : value + 4] = (2**32 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(SubjectError, match=f"4294967295 blocks, expected 1 to {MOST_BLOCKS}"):
        find_subject(f"local:{path}").config()
