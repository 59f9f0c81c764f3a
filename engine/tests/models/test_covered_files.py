"""A fingerprint covers every file that is opened, and a name in a file opens no other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Tokenizer

from engine.errors import SubjectError
from engine.models import find_subject, loading
from engine.models.local import LocalFolder
from engine.tests.folders import change, load_logits, refuse
from engine.tests.tiny_models import TOKENS, make_gpt2, make_llama, save, write_gguf
from engine.tests.tiny_tokenizers import KINDS, make_tokenizer

ROOT = Path(__file__).resolve().parents[3]
TEXT = "ab cab<|endoftext|>[X]"


@pytest.fixture(name="folder")
def provide_folder(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_gpt2())


def other_tokenizer(folder: Path, *, merges: tuple[tuple[str, str], ...] = (("c", "a"),)) -> Path:
    """A tokenizer that cuts the text in another way, in files of its own."""
    GPT2Tokenizer(
        vocab={text: k for k, text in enumerate([*TOKENS[:256], "ca", TOKENS[257]])}, merges=list(merges)
    ).save_pretrained(folder)
    return folder


def describe(path: Path) -> tuple[Any, ...]:
    """What a claim can see of a subject: its tokens, its special ones, and its logits."""
    tokenizer = find_subject(f"local:{path}").tokenizer()
    tokens = tokenizer(TEXT, add_special_tokens=False).input_ids
    seen = (tokens, tokenizer.decode(tokens), tokenizer.all_special_ids, str(tokenizer.chat_template))
    return (*seen, load_logits(path).tolist())


def plant_tokens_map(folder: Path) -> None:
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "a", "pad_token": "b"}))


def plant_version(folder: Path) -> None:
    other = other_tokenizer(folder.with_name("other"))
    (other / "tokenizer.json").rename(folder / "tokenizer.5.0.0.json")
    change(folder / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.5.0.0.json"])


def plant_added_tokens(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"[X]": 200}))


def plant_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def plant_more_templates(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool.jinja").write_text("{{ tools }}")


def plant_vocabulary(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({text: k for k, text in enumerate(reversed(TOKENS))}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\n")


def plant_model(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"\x0a\x05")


def plant_tekken(folder: Path) -> None:
    (folder / "tekken.json").write_text("{}")


def plant_decoding(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 5, "repetition_penalty": 9.0}))


def plant_code(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text("raise SystemExit")


def plant_shards(folder: Path) -> None:
    # What a distributed training leaves, which the library prefers to the plain file.
    save_file({"transformer.wte.weight": torch.ones(258, 8)}, folder / "shard-00000-model-00001-of-00001.safetensors")


def plant_pickle(folder: Path) -> None:
    own = {name: torch.zeros_like(tensor) for name, tensor in make_gpt2().state_dict().items()}
    torch.save(own, folder / "pytorch_model.bin")


def plant_subfolder(folder: Path) -> None:
    save(folder / "checkpoint-5", make_gpt2(initializer_range=0.5))


PLANTS = {
    act.__name__.removeprefix("plant_"): act
    for act in (
        plant_tokens_map,
        plant_version,
        plant_added_tokens,
        plant_template,
        plant_more_templates,
        plant_vocabulary,
        plant_model,
        plant_tekken,
        plant_decoding,
        plant_code,
        plant_shards,
        plant_pickle,
        plant_subfolder,
    )
}
SEEN = {"tokens_map", "version", "added_tokens", "template", "more_templates"}
"""Those that the library reads beside a whole tokenizer.json: without them the test would hold of anything."""


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_a_file_beside_the_model_either_changes_the_fingerprint_or_nothing(
    plant: Callable[[Path], None], folder: Path
) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("added_tokens_decoder", None)  # in its place older files are read
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    subject = find_subject(f"local:{folder}")
    print_before, seen_before = subject.fingerprint(), describe(folder)
    plant(folder)
    print_after, seen_after = subject.fingerprint(), describe(folder)
    assert print_after != print_before or seen_after == seen_before
    assert (seen_after != seen_before) == (plant.__name__.removeprefix("plant_") in SEEN)


READ = """
import json, os, sys
from pathlib import Path
opened = set()
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        opened.add(os.path.realpath(os.fsdecode(arguments[0])))
path, here = Path(sys.argv[1]), os.path.realpath(sys.argv[2])
import torch
from engine.models import find_subject
subject = find_subject(f"local:{path}")
sys.addaudithook(note)
subject.model(torch.float32); subject.tokenizer(); subject.config(); subject.untrained(1).model(torch.float32)
print(json.dumps(sorted(os.path.relpath(name, here) for name in opened if name.startswith(here + os.sep))))
"""


def read_files(path: Path, here: Path) -> list[str]:
    """The files under `here` that a process of its own opens to read a subject, by way of links, too."""
    command = [sys.executable, "-W", "ignore", "-c", READ, str(path), str(here)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_nothing_in_a_folder_is_opened_that_the_fingerprint_does_not_cover(folder: Path) -> None:
    for plant in (plant_added_tokens, plant_template, plant_more_templates, plant_decoding, plant_pickle, plant_shards):
        plant(folder)
    opened = read_files(folder, folder)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "additional_chat_templates/tool.jinja"} <= set(
        opened
    )
    subject = find_subject(f"local:{folder}")
    for name in opened:
        before, content = subject.fingerprint(), (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert subject.fingerprint() != before, name
        (folder / name).write_bytes(content)


@pytest.mark.slow
def test_nothing_beside_a_gguf_file_is_opened(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2())
    plant_template(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    path = write_gguf(folder / "tiny.gguf", make_llama())
    assert set(read_files(path, folder)) <= {"tiny.gguf"}


@pytest.mark.parametrize(
    "beside", ["tokenizer_config.json", "config.json", "adapter_config.json", "chat_template.jinja"]
)
def test_a_file_beside_a_gguf_file_changes_nothing(beside: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama())
    before = describe(path)
    settings = {"tokenizer_class": "BertTokenizer", "eos_token": "a", "model_type": "bert", "peft_type": "LORA"}
    (tmp_path / beside).write_text(json.dumps(settings))
    assert describe(path) == before


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_an_untrained_twins_fingerprint_covers_its_tokenizer(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        first, second = (save(tmp_path / name, make_llama()) for name in ("one", "two"))
        other_tokenizer(second)
    else:
        first = write_gguf(tmp_path / "one.gguf", make_llama())
        second = write_gguf(
            tmp_path / "two.gguf",
            make_llama(),
            fields={"tokenizer.ggml.tokens": [*TOKENS[:256], "ca", TOKENS[257]], "tokenizer.ggml.merges": ["c a"]},
        )
    one, two = (find_subject(f"local:{path}").untrained(1) for path in (first, second))
    assert one.tokenizer()("ca").input_ids != two.tokenizer()("ca").input_ids
    assert one.fingerprint() != two.fingerprint()
    assert one.fingerprint().rpartition(":tokenizer=")[0] == two.fingerprint().rpartition(":tokenizer=")[0]


def test_an_int8_versions_fingerprint_covers_its_tokenizer(tmp_path: Path) -> None:
    first, second = (save(tmp_path / name, make_llama()) for name in ("one", "two"))
    assert len({find_subject(f"local-int8:{path}").fingerprint() for path in (first, second)}) == 1
    other_tokenizer(second)
    assert len({find_subject(f"local-int8:{path}").fingerprint() for path in (first, second)}) == 2


def test_files_that_are_links_are_covered_by_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    subject = find_subject(f"local:{folder}")
    before, seen = subject.fingerprint(), describe(folder)
    store = tmp_path / "store"
    store.mkdir()
    for path in list(folder.iterdir()):
        path.rename(store / path.name)
        path.symlink_to(store / path.name)
    assert (subject.fingerprint(), describe(folder)) == (before, seen)
    os.replace(other_tokenizer(tmp_path / "other") / "tokenizer.json", store / "tokenizer.json")
    assert subject.fingerprint() != before


def test_a_folder_reads_the_same_whatever_it_is_called(tmp_path: Path) -> None:
    # Some names of the hub choose another kind of tokenizer.
    plain = save(tmp_path / "model", make_llama())
    named = save(tmp_path / "deepseek-ai" / "DeepSeek-R1", make_llama())
    change(named / "config.json", _name_or_path="deepseek-ai/DeepSeek-R1")
    assert describe(plain) == describe(named)


KEYS = ["vocab_file", "merges_file", "spm_file", "tokenizer_file", "gguf_file", "vocab", "a_key_of_tomorrow"]


@pytest.mark.parametrize("how", ["absolute", "relative", "from here", "nested"])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_an_entry_of_a_tokenizer_that_names_a_file_elsewhere_is_refused(
    name: str, key: str, how: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_tokenizer(tmp_path / "other") / "tokenizer.json"
    monkeypatch.chdir(tmp_path)
    value: Any = {"absolute": str(other), "relative": "../other/tokenizer.json", "from here": "other/tokenizer.json"}
    value = value.get(how, {"inner": [str(other)]})
    change(folder / name, **{key: value})
    with pytest.raises(SubjectError, match=f"{name} whose '{key}' names the file") as caught:
        find_subject(f"local:{folder}").tokenizer()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["~/", "../../etc/passwd", "/etc/passwd"])
@pytest.mark.parametrize("key", ["init_inputs", "sp_model_kwargs", "fast_tokenizer_files"])
def test_other_ways_out_of_the_folder_are_refused(key: str, value: str, folder: Path) -> None:
    change(folder / "tokenizer_config.json", **{key: {"model_file": value} if key == "sp_model_kwargs" else [value]})
    with pytest.raises(SubjectError, match=f"whose '{key}' names the file"):
        find_subject(f"local:{folder}").tokenizer()


def test_a_version_of_the_tokenizer_that_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (other_tokenizer(tmp_path / "other") / "tokenizer.json").rename(tmp_path / "tokenizer.5.0.0.json")
    change(folder / "tokenizer_config.json", fast_tokenizer_files=["../tokenizer.5.0.0.json"])
    with pytest.raises(SubjectError, match=r"names the file '\.\./tokenizer\.5\.0\.0\.json'"):
        find_subject(f"local:{folder}").tokenizer()


def test_a_tokenizer_that_names_files_elsewhere_is_accepted_once_it_is_saved_again(
    folder: Path, tmp_path: Path
) -> None:
    before = describe(folder)
    change(folder / "tokenizer_config.json", vocab_file=str(other_tokenizer(tmp_path / "other") / "tokenizer.json"))
    with pytest.raises(SubjectError, match=r"tokenizer\.save_pretrained"):
        find_subject(f"local:{folder}").tokenizer()
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # the remedy
    assert describe(folder) == before


NOTES: dict[str, Any] = {
    "name_or_path": "{other}",
    "special_tokens_map_file": "{other}/special_tokens_map.json",
    "tokenizer_file": "/a/path/of/somebody/elses/machine/tokenizer.json",
    "auto_map": {"AutoTokenizer": ["someone/repo--code.Slow", "someone/repo--code.Fast"]},
    "eos_token": "/",
    "extra_special_tokens": ["../", "~"],
    "model_max_length": 1000000000000000019884624838656,
    "padding_side": "left",
}


@pytest.mark.parametrize("key", NOTES)
def test_notes_and_tokens_that_look_like_paths_are_not_opened(key: str, folder: Path, tmp_path: Path) -> None:
    before = describe(folder)[0]
    other = other_tokenizer(tmp_path / "other")
    value = NOTES[key].format(other=other) if isinstance(NOTES[key], str) else NOTES[key]
    change(folder / "tokenizer_config.json", **{key: value})
    assert describe(folder)[0] == before


@pytest.mark.parametrize(
    "entry",
    [
        {"transformers_weights": "../other/model.safetensors"},
        {"configuration_files": ["config.5.0.0.json"]},
        {"vocab_file": "../other/vocab.json"},
        {"adapter_path": "../other"},
        {"extra_files": ["../other/model.safetensors"]},
        {"quantization_config": {"quant_method": "gguf", "file": "../other"}},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_an_entry_of_config_json_that_names_a_file_is_refused(entry: dict[str, Any], folder: Path) -> None:
    other = save(folder.with_name("other"), make_gpt2(initializer_range=0.5))
    (folder / "config.5.0.0.json").write_text((other / "config.json").read_text())
    change(folder / "config.json", **entry)
    refuse(folder)


def test_a_configuration_that_names_another_model_opens_nothing_of_it(folder: Path, tmp_path: Path) -> None:
    before = describe(folder)
    other = str(save(tmp_path / "other", make_gpt2(initializer_range=0.5)))
    change(folder / "config.json", _name_or_path=other, name_or_path=other, base_model_name_or_path=other)
    assert describe(folder) == before


@pytest.mark.parametrize("whole", [True, False], ids=["beside a model", "alone"])
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_a_folder_with_an_adapter_is_refused_with_the_remedy(name: str, whole: bool, folder: Path) -> None:
    (folder / name).write_text("{}")
    if not whole:
        (folder / "config.json").unlink()
    line = refuse(folder, f"an adapter ({name}) {'beside a model' if whole else 'without its model'}", "merge it")
    assert "merge_and_unload().save_pretrained(" in line
    subject = LocalFolder(id="local:planted", note="", path=folder)  # as one that was changed after it was named
    with pytest.raises(SubjectError, match="an adapter"):
        subject.model(torch.float32)


@pytest.fixture(name="nowhere")
def provide_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is not there yet, as the one place for what is temporary."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "MEMORY", tmp_path / "memory")
    return tmp_path / "nowhere"


def test_no_place_for_links_is_one_line_with_its_remedy(folder: Path, nowhere: Path) -> None:
    subject = find_subject(f"local:{folder}")
    for use in (lambda: subject.model(torch.float32), subject.tokenizer):
        with pytest.raises(SubjectError, match=r"no folder for temporary files .*, expected .*; set TMPDIR to one"):
            use()
    nowhere.mkdir()  # the remedy
    subject.model(torch.float32)


@pytest.mark.parametrize("place", ["cache", "memory"])
def test_links_are_laid_elsewhere_where_nothing_temporary_can_be_written(
    place: str, folder: Path, nowhere: Path
) -> None:
    nowhere.with_name(place).mkdir()
    describe(folder)
    assert list(nowhere.with_name(place).iterdir()) == []


def test_no_link_is_left_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    describe(folder)
    own = load_file(folder / "model.safetensors") | {"extra.bias": torch.ones(3)}
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})
    refuse(folder, "extra.bias")
    assert list(place.iterdir()) == []


def test_names_that_hold_line_breaks_are_told_apart(folder: Path) -> None:
    """One file's name and hash, written as a line, would pass for two files."""
    shown = folder / "tokenizer.json"
    lines = f"tokenizer.json {hashlib.sha256(shown.read_bytes()).hexdigest()}\ntokenizer_config.json"
    before = LocalFolder(id="x", note="", path=folder).fingerprint()
    other_tokenizer(folder)
    shown.unlink()
    (folder / "tokenizer_config.json").rename(folder / lines)
    assert LocalFolder(id="x", note="", path=folder).fingerprint() != before


def test_a_name_that_is_no_text_is_covered_like_any_other(folder: Path) -> None:
    before = LocalFolder(id="x", note="", path=folder).fingerprint()
    Path(os.fsdecode(os.fsencode(folder) + b"/tokenizer_\xff.json")).write_text("{}")
    assert LocalFolder(id="x", note="", path=folder).fingerprint() != before


@pytest.mark.parametrize("text", ["/", "./", "~"])
def test_a_sign_in_a_tokenizers_settings_is_no_file(text: str, folder: Path) -> None:
    change(folder / "tokenizer_config.json", stop_tokens_list=[text])
    assert find_subject(f"local:{folder}").tokenizer().vocab_size == 258


@pytest.mark.parametrize("named", [None, "GPT2Tokenizer", "LlamaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_that_is_stored_is_the_one_that_cuts(kind: str, named: str | None, tmp_path: Path) -> None:
    """A class of the library's puts a normalizer and a pre-tokenizer of its own around the file's vocabulary."""
    stored = make_tokenizer(kind).backend_tokenizer
    folder = save(tmp_path / "model", make_gpt2(vocab_size=stored.get_vocab_size()))
    stored.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").unlink()
    if named is not None:
        change(folder / "tokenizer_config.json", tokenizer_class=named)
    tokenizer = find_subject(f"local:{folder}").tokenizer()
    for text in ("The sky is blue.", " lead", "  two  spaces", "UPPER ﬁ"):
        assert tokenizer(text, add_special_tokens=False).input_ids == stored.encode(text, add_special_tokens=False).ids
