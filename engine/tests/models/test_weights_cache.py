"""Unpacked weights are kept once, shared by processes, and never read damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.models import packaged
from engine.models import weights_cache as unpacked
from engine.tests.tiny_models import make_llama


class Unpacking:
    """Writes one file into a cache entry and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "weights").write_bytes(b"sound" * 100)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_cache_entry_is_written_once(root: Path) -> None:
    unpack = Unpacking()
    assert unpacked.cached_weights("model", unpack) == unpacked.cached_weights("model", unpack) == root / "model"
    assert unpack.times == 1
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["model"]


def test_a_copied_cache_is_hashed_and_kept(root: Path) -> None:
    unpack = Unpacking()
    unpacked.cached_weights("model", unpack)
    os.utime(root / "model" / "weights", ns=(1, 1))
    unpacked.cached_weights("model", unpack)
    assert unpack.times == 1


def cut(path: Path) -> None:
    os.truncate(path, 100)


def flip(path: Path) -> None:
    path.write_bytes(b"souNd" * 100)
    os.utime(path, ns=(1, 1))


def lose(path: Path) -> None:
    path.unlink()


def lose_manifest(path: Path) -> None:
    (path.parent / unpacked.MANIFEST).unlink()


def garble_manifest(path: Path) -> None:
    (path.parent / unpacked.MANIFEST).write_text('{"weights": 3}')


def test_processes_that_start_together_unpack_once(root: Path) -> None:
    code = (
        "import os, time; from engine.models import weights_cache as unpacked\n"
        "def unpack(folder):\n"
        "    time.sleep(0.3)\n"
        "    (folder / 'weights').write_text(str(os.getpid()))\n"
        "print((unpacked.cached_weights('model', unpack) / 'weights').read_text())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    read = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(read)) == 1


@pytest.mark.parametrize("damage", [cut, flip, lose, lose_manifest, garble_manifest])
def test_a_damaged_cache_entry_is_set_aside_and_written_again(damage: object, root: Path) -> None:
    assert callable(damage)
    unpack = Unpacking()
    for times in (1, 2, 3):
        entry = unpacked.cached_weights("model", unpack)
        assert entry is not None
        assert (entry / "weights").read_bytes() == b"sound" * 100
        assert unpack.times == times
        damage(entry / "weights")
    assert (root / "model.damaged").is_dir()


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "file"))
    assert unpacked.cached_weights("model", Unpacking()) is None
    assert "cannot be written" in caplog.text


def test_an_unpacking_that_fails_leaves_no_entry(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_bytes(b"half")
        raise OSError("no space left on device")

    assert unpacked.cached_weights("model", fail) is None
    assert [path.name for path in root.iterdir() if path.is_dir()] == []


def test_packaged_weights_that_cannot_be_read_are_unpacked_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = make_llama()

    def unpack(*_: object) -> object:
        return make_llama()

    monkeypatch.setattr(packaged.PackagedSubject, "_from_gguf", unpack)
    monkeypatch.setattr(packaged, "read_tokenizer", lambda *_, **__: _NoTokenizer())
    subject = replace(packaged.SMOLLM2, settings=lambda: make_llama().config)
    subject.model(torch.float32)
    (weights,) = root.glob("*/model.safetensors")
    status = weights.stat()
    weights.write_bytes(b"\xff" * status.st_size)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))  # damage that neither size nor time shows
    again = subject.model(torch.float32)
    assert all(torch.equal(value, again.get_parameter(name)) for name, value in sound.named_parameters())
    assert len(list(root.glob("*.damaged"))) == 1


class _NoTokenizer:
    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")
