"""What reads a model of the user's, with inputs to try it on and what those must come to."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from hypothesis import strategies as st

from engine.models.local import LocalFolder, find_local
from engine.models.weight_files import find_weights
from engine.models.weights_cache import MANIFEST, is_whole
from engine.tests.mutations import change_gguf, damage, fuzz_json
from engine.tests.readers import READ, Reader, read_written
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf


def fuzz_gguf(folder: Path) -> st.SearchStrategy[bytes]:
    """Two small models, whose headers are hit: behind them stand weights, of which any are as good as others."""
    kinds: list[st.SearchStrategy[bytes]] = []
    for model in (make_gpt2(), make_llama()):
        file = write_gguf(folder / "sound.gguf", model).read_bytes()
        last = file.index(b"output_norm.weight") + 60
        stem = model.config.model_type.encode()
        fields = (b"general.architecture", b"general.name", b"tokenizer.ggml.tokens", b"tokenizer.ggml.eos_token_id")
        sizes = (stem + b".block_count", stem + b".embedding_length", stem + b".context_length")
        names = (*fields, *sizes, b"token_embd.weight", b"blk.1.ffn_up.weight", b"output_norm.weight")
        kinds += [damage([file], first=last), change_gguf(file, names)]
    return st.one_of(*kinds, st.binary(max_size=60))


def use_local(path: Path) -> None:
    """What is asked of a model of the user's before it is loaded."""
    subject = find_local(str(path))
    assert subject.family in {"gpt2", "llama"}
    assert subject.tier in {"cpu", "gpu"}
    subject.fingerprint()


def make_gguf(folder: Path) -> Reader:
    read = partial(read_written, folder / "model.gguf", use_local)
    return Reader(inputs=fuzz_gguf(folder), read=read, reaches=READ | {"SubjectError"})


def make_gguf_config(folder: Path) -> Reader:
    read = partial(read_written, folder / "model.gguf", lambda path: find_local(str(path)).config())
    return Reader(inputs=fuzz_gguf(folder), read=read, reaches=READ | {"SubjectError"})


def read_folder(path: Path) -> None:
    assert find_local(str(path.parent)).config().num_hidden_layers > 0


def size_folder(path: Path) -> None:
    use_local(path.parent)


def fuzz_entry(folder: Path, name: str) -> st.SearchStrategy[bytes]:
    """A file of a model's folder, which is left there for the others to lie beside."""
    documents = []
    for model in (make_llama(), make_gpt2()):
        save(folder / "model", model)
        documents.append(json.loads((folder / "model" / name).read_text(encoding="utf-8")))
    return fuzz_json(documents)


def make_config(folder: Path) -> Reader:
    inputs = fuzz_entry(folder, "config.json")
    read = partial(read_written, folder / "model" / "config.json", read_folder)
    return Reader(inputs=inputs, read=read, reaches=READ | {"SubjectError"})


def make_sizes_of_config(folder: Path) -> Reader:
    inputs = fuzz_entry(folder, "config.json")
    read = partial(read_written, folder / "model" / "config.json", size_folder)
    return Reader(inputs=inputs, read=read, reaches=READ | {"SubjectError"})


def make_tokenizer(folder: Path) -> Reader:
    inputs = fuzz_entry(folder, "tokenizer.json")
    subject = LocalFolder(id="local:fuzzed", note="", path=folder / "model")
    read = partial(read_written, folder / "model" / "tokenizer.json", lambda _: subject.tokenizer()("a b"))
    return Reader(inputs=inputs, read=read, reaches=READ | {"SubjectError"})


def make_index(folder: Path) -> Reader:
    path = folder / "model" / "model.safetensors.index.json"
    path.parent.mkdir()
    shards = [path.with_name(f"model-0000{k}-of-00002.safetensors") for k in (1, 2)]
    for shard in shards:
        shard.touch()
    places = {f"layer.{k}.weight": shards[k % 2].name for k in range(4)}

    def read(index: Path) -> None:
        for name in find_weights("fuzzed", index.parent):
            assert (index.parent / name).resolve().parent == index.parent.resolve()

    document = {"metadata": {"total_size": 1}, "weight_map": places}
    strays = [
        document | {"weight_map": places | {"x": f"{way}{shards[0].name}"}} for way in ("../", "/", "./", "a/../")
    ]
    inputs = fuzz_json([document, *strays])
    return Reader(inputs=inputs, read=partial(read_written, path, read), reaches=READ | {"SubjectError"})


def make_manifest(folder: Path) -> Reader:
    (folder / "weights").write_bytes(b"sound")
    facts = {"size": 5, "changed_ns": 1, "sha256": "0" * 64}
    read = partial(read_written, folder / MANIFEST, lambda path: is_whole(path.parent))
    return Reader(inputs=fuzz_json([{"weights": facts, "other": facts}]), read=read)
