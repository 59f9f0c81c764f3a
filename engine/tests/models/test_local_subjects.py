"""Models on this machine's disk: folders, GGUF files and the hub's cache compute what was saved there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, PreTrainedModel

from engine.errors import MissingError
from engine.models import find_subject
from engine.models.subject import use_torch_parts
from engine.tests.tiny_models import ALPHABET, make_gpt2, make_llama, save, write_gguf

IDS = torch.tensor([[1, 2, 3]])
TINY = {"gpt2": make_gpt2, "llama": make_llama}
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def plant(hub: Path, repository: str, revision: str, model: PreTrainedModel) -> Path:
    return save(hub / f"models--{repository.replace('/', '--')}" / "snapshots" / revision, model)


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_local_folder_computes_what_the_saved_model_did(family: str, attention: str, tmp_path: Path) -> None:
    saved = TINY[family]()
    subject = find_subject(f"local:{save(tmp_path / 'model', saved)}")
    model = subject.model(torch.float64, attention=attention)  # pyright: ignore[reportArgumentType]
    assert (subject.tier, subject.trained, subject.missing()) == ("cpu", True, None)
    saved.set_attn_implementation(attention)
    # The library's own parts compute the same, its Llama norm in float32 whatever its weights are.
    assert torch.equal(model(IDS).logits, use_torch_parts(saved.double())(IDS).logits)
    exact = saved.double()(IDS).logits.float()
    assert torch.allclose(model(IDS).logits.float(), exact, rtol=1e-5, atol=1e-6)


def test_pickled_weights_are_read_too(tmp_path: Path) -> None:
    saved = make_gpt2()
    folder = save(tmp_path / "model", saved)
    (folder / "model.safetensors").unlink()
    torch.save(saved.state_dict(), folder / "pytorch_model.bin")
    model = find_subject(f"local:{folder}").model(torch.float32)
    assert torch.equal(model.get_input_embeddings().weight, saved.transformer.wte.weight)


def test_weights_in_several_files_are_read_too(tmp_path: Path) -> None:
    saved = make_llama()
    folder = save(tmp_path / "model", saved)
    (folder / "model.safetensors").unlink()
    saved.save_pretrained(folder, max_shard_size="5KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    model = find_subject(f"local:{folder}").model(torch.float32)
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in saved.named_parameters())


@pytest.mark.parametrize("family", TINY)
def test_a_gguf_file_computes_what_the_written_model_did(family: str, tmp_path: Path) -> None:
    written = TINY[family]()
    subject = find_subject(f"local:{write_gguf(tmp_path / 'tiny.gguf', written)}")
    # Two blocks of width 8 and logits below 1: some dozens of roundings of 6e-8.
    torch.testing.assert_close(subject.model(torch.float32)(IDS).logits, written(IDS).logits, rtol=0, atol=1e-6)
    assert subject.tier == "cpu"
    assert subject.tokenizer()("abc").input_ids == [256, ALPHABET.index("c")]


def test_a_local_folder_without_tokenizer_takes_gpt2s_where_the_vocabulary_is_gpt2s(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2(vocab_size=50257, eos_token_id=50256), tokenizer=False)
    assert find_subject(f"local:{folder}").tokenizer()("The sky is").input_ids == [464, 6766, 318]


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model", make_gpt2())
    monkeypatch.chdir(tmp_path)
    assert find_subject("local:model") == find_subject(f"local:{tmp_path / 'model'}")


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_a_local_twin_is_drawn_for_the_models_own_configuration(kind: str, tmp_path: Path) -> None:
    saved = make_llama()
    path = save(tmp_path / "model", saved) if kind == "folder" else write_gguf(tmp_path / "tiny.gguf", saved)
    twin = find_subject(f"local:{path}").untrained(3)
    assert twin.id == f"local-untrained:{path}:3"
    assert find_subject(twin.id) == twin
    assert (twin.tier, twin.trained, twin.drawn) == ("cpu", False, False)
    weight = twin.model(torch.float32).get_input_embeddings().weight
    assert weight.shape == saved.get_input_embeddings().weight.shape
    assert not torch.equal(weight, saved.get_input_embeddings().weight)


def test_a_twins_fingerprint_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    folders = [save(tmp_path / name, make_llama()) for name in ("here", "there")]
    prints = {find_subject(f"local:{folder}").untrained(1).fingerprint() for folder in folders}
    assert len(prints) == 1


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folders_fingerprint_changes_with_each_file_that_decides_a_number(changed: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2())
    subject = find_subject(f"local:{folder}")
    before = subject.fingerprint()
    assert before == find_subject(f"local:{save(tmp_path / 'copy', make_gpt2())}").fingerprint()
    content = bytearray((folder / changed).read_bytes())
    content[-10] ^= 1
    (folder / changed).write_bytes(content)
    assert subject.fingerprint() != before


def test_a_file_beside_the_model_does_not_change_its_fingerprint(tmp_path: Path) -> None:
    subject = find_subject(f"local:{save(tmp_path / 'model', make_gpt2())}")
    before = subject.fingerprint()
    (tmp_path / "model" / "README.md").write_text("notes")
    assert subject.fingerprint() == before


def test_a_model_of_unknown_size_is_for_a_gpu_past_two_and_a_half_gigabytes(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_llama())
    # One embedding of 625 million float32 numbers is 2.5 GB; the blocks add to it.
    LlamaConfig(**{**make_llama().config.to_dict(), "vocab_size": 625_000_000 // 8}).save_pretrained(folder)
    assert find_subject(f"local:{folder}").tier == "gpu"


def test_a_model_in_the_hubs_cache_is_loaded_at_its_pinned_revision(hub: Path) -> None:
    saved = make_gpt2()
    plant(hub, "openai-community/gpt2", GPT2_REVISION, saved)
    subject = find_subject("gpt2")
    assert subject.missing() is None
    assert subject.fingerprint() == f"revision:{GPT2_REVISION}"
    assert subject.config().n_embd == 8
    assert torch.equal(subject.model(torch.float32)(IDS).logits, saved(IDS).logits)
    assert subject.tokenizer()("a").input_ids == [ALPHABET.index("a")]


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_a_model_that_is_not_cached_says_how_to_fetch_it(name: str, hub: Path) -> None:
    subject = find_subject(name)
    sentence = subject.missing()
    revision = subject.fingerprint().removeprefix("revision:")
    assert sentence is not None
    assert f"hf download openai-community/{name} --revision {revision}" in sentence
    for use in (lambda: subject.model(torch.float32), subject.tokenizer, subject.config):
        with pytest.raises(MissingError, match="hf download"):
            use()


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_download_that_stopped_half_way_counts_as_missing(lost: str, hub: Path) -> None:
    folder = plant(hub, "openai-community/gpt2", GPT2_REVISION, make_gpt2())
    (folder / lost).unlink()
    assert "hf download" in (find_subject("gpt2").missing() or "")


def test_another_revision_in_the_cache_is_not_taken(hub: Path) -> None:
    plant(hub, "openai-community/gpt2", "0" * 40, make_gpt2())
    assert "hf download" in (find_subject("gpt2").missing() or "")
