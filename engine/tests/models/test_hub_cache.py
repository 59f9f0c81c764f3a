"""Models in the hub's cache, laid out as the hub's own client lays them, load with no network at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from transformers import PreTrainedModel

from engine.errors import MissingError, SubjectError, UsageError
from engine.models import find_subject
from engine.models.hub import HubSubject
from engine.models.packaged import SMOLLM2_UNTRAINED
from engine.models.quantized import quantize
from engine.models.token_text import read_token
from engine.records import read_records
from engine.tests.tiny_models import make_gpt2, make_llama, save

ROOT = Path(__file__).resolve().parents[3]
GPT2 = find_subject("gpt2")
assert isinstance(GPT2, HubSubject)
LLAMA = HubSubject(
    id="tiny-llama",
    note="made up for a test",
    repository="someone/tiny-llama",
    revision="c0ffee" * 6 + "c0de",
    size="gpu",
    twin=SMOLLM2_UNTRAINED,
)
CASES = {"gpt2": (GPT2, make_gpt2), "llama": (LLAMA, make_llama)}


def lay(cache: Path, subject: HubSubject, model: PreTrainedModel) -> Path:
    """The model as a download leaves it: files by their hash in blobs, a snapshot of links to them, and a ref."""
    repository = cache / f"models--{subject.repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / subject.revision
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(subject.revision)
    plain = save(cache / "plain", model)
    for path in plain.iterdir():
        blob = repository / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        path.replace(blob)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", blob.name))
    shutil.rmtree(plain)
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, with the hub offline and every connection refused."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("something went to the network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "hub"


@pytest.mark.parametrize(("subject", "make"), CASES.values(), ids=CASES)
def test_a_cached_model_loads_offline_with_its_weights_and_its_tokenizer(
    subject: HubSubject, make: Any, cache: Path
) -> None:
    saved = make()
    lay(cache, subject, saved)
    assert subject.missing() is None
    assert subject.family == subject.config().model_type == saved.config.model_type
    model, tokenizer = subject.model(torch.float32), subject.tokenizer()
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in saved.named_parameters()}
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in saved.named_parameters())
    ids = torch.tensor([tokenizer("ab cab", add_special_tokens=False).input_ids])
    assert ids.shape == (1, 4)  # 'ab', ' ', 'c', 'ab': the saved vocabulary has one merge
    assert tokenizer.decode(ids[0]) == "ab cab"
    assert torch.equal(model(ids).logits, saved(ids).logits)


@pytest.mark.parametrize(("subject", "make"), CASES.values(), ids=CASES)
def test_weights_that_are_not_there_are_one_sentence_with_one_command(
    subject: HubSubject, make: Any, cache: Path
) -> None:
    sentence = subject.missing() or ""
    assert "\n" not in sentence
    assert sentence.count("hf download ") == 1
    command = f"hf download {subject.repository} --revision {subject.revision} "
    assert sentence.startswith(f"{subject.id} is not in the hub's cache: {command}")
    for use in (lambda: subject.model(torch.float32), subject.config, subject.tokenizer, subject.folder):
        with pytest.raises(MissingError, match="hf download"):
            use()


def test_a_link_to_a_blob_that_is_gone_counts_as_missing(cache: Path) -> None:
    assert isinstance(GPT2, HubSubject)
    snapshot = lay(cache, GPT2, make_gpt2())
    (snapshot / "model.safetensors").resolve().unlink()
    assert "hf download" in (GPT2.missing() or "")


def test_a_cached_model_is_quantized_from_its_snapshot(cache: Path) -> None:
    subject = quantize(GPT2)
    if "bitsandbytes" in (subject.missing() or ""):
        pytest.skip("runs where bitsandbytes can be imported")
    assert "hf download" in (subject.missing() or "")
    assert isinstance(GPT2, HubSubject)
    lay(cache, GPT2, make_gpt2())
    assert subject.missing() is None
    assert {p.dtype for p in subject.model(torch.float32).parameters()} == {torch.float32, torch.int8}


@pytest.mark.slow
def test_a_claim_about_a_cached_model_runs_offline_on_a_cpu_when_it_is_asked_for(tmp_path: Path) -> None:
    assert isinstance(GPT2, HubSubject)
    saved = make_gpt2(initializer_range=0.5)
    snapshot = lay(tmp_path / "hub", GPT2, saved)
    report, ledger = tmp_path / "report", tmp_path / "ledger"
    places = ["--report-dir", str(report), "--ledger", str(ledger), "-p", "no:cacheprovider"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "pytest", "claims", "-k", "c32", "--subject", "gpt2", "--device", "cpu", *places]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (record,) = read_records(report / "records.jsonl")
    # Every token of the tiny vocabulary is one letter or 'ab', so that none of them is the word.
    assert (record.claim, record.subject, record.ruling, record.outcome) == ("C32", "gpt2", "refuted", "finding")
    assert record.sources == {"gpt2": GPT2.fingerprint()}
    from engine.models.tokenizers import read_tokenizer

    tokenizer = read_tokenizer("gpt2", snapshot, saved.config)
    ids = torch.tensor([tokenizer("The sky is", add_special_tokens=False).input_ids])
    expected = saved(ids).logits[0, -1].softmax(-1).topk(5)
    (table,) = record.tables
    assert [row[1] for row in table.rows] == [repr(read_token(tokenizer, i)) for i in expected.indices.tolist()]
    assert [row[2] for row in table.rows] == pytest.approx(expected.values.tolist(), rel=1e-4)  # float32, twice


COMMIT = LLAMA.revision


@pytest.mark.parametrize("asked", ["someone/tiny-llama", "someone/tiny-llama@main", f"someone/tiny-llama@{COMMIT}"])
def test_a_repository_is_named_by_its_commit_whatever_was_asked(asked: str, cache: Path) -> None:
    saved = make_llama()
    lay(cache, LLAMA, saved)
    subject = find_subject(asked)
    assert (subject.id, subject.own) == (f"someone/tiny-llama@{COMMIT}", True)
    assert subject.fingerprint() == f"opened:revision:{COMMIT}"
    assert (subject.family, subject.tier) == ("llama", "cpu")
    assert find_subject(subject.id) == subject
    ids = torch.tensor([[3, 1, 4]])
    assert torch.equal(subject.model(torch.float32)(ids).logits, saved(ids).logits)
    twin = find_subject(f"{subject.id}-untrained:3")
    assert (twin.own, twin.trained) == (True, False)
    assert twin == subject.untrained(3) == find_subject(twin.id)
    assert find_subject(f"{asked.partition('@')[0]}@main-int8").id == f"{subject.id}-int8"


def test_a_branch_is_what_the_cache_says(cache: Path) -> None:
    snapshot = lay(cache, LLAMA, make_llama())
    refs = snapshot.parents[1] / "refs"
    (refs / "pr").mkdir()
    (refs / "pr" / "1").write_text(COMMIT)
    assert find_subject("someone/tiny-llama@pr/1").id == f"someone/tiny-llama@{COMMIT}"


@pytest.mark.parametrize("name", ["someone/else", "someone/tiny-llama@v2", f"someone/tiny-llama@{'ab' * 20}"])
def test_what_the_cache_lacks_and_cannot_be_fetched_is_one_line(name: str, cache: Path) -> None:
    lay(cache, LLAMA, make_llama())
    with pytest.raises(MissingError, match=rf"^{name}: got no such model in the hub's cache, .*hf download") as error:
        find_subject(name)
    assert "\n" not in str(error.value)


def test_what_the_cache_lacks_is_fetched_as_safetensors(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        return str(lay(cache, LLAMA, make_llama()))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_subject("someone/tiny-llama").id == find_subject("someone/tiny-llama@main").id
    ((repository, revision, patterns),) = asked
    assert (repository, revision) == ("someone/tiny-llama", "main")
    assert "model.safetensors" in patterns
    assert not [pattern for pattern in patterns if "bin" in pattern or ".py" in pattern]


def test_a_repository_with_pickled_weights_alone_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = lay(cache, LLAMA, make_llama())
    torch.save(make_llama().state_dict(), snapshot / "pytorch_model.bin")
    (snapshot / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **options: str(snapshot))
    with pytest.raises(SubjectError, match=r"got no model.safetensors, expected weights in safetensors"):
        find_subject("someone/tiny-llama")


@pytest.mark.parametrize(
    "name",
    [
        "a/b/c",
        "some one/name",
        "/name",
        "org/",
        "org/näme",
        "org/name@",
        "./0",
        "a/b.",
        "a/b@../c",
        "a/b@-int8",
        "a/b@-untrained:0",
        f"a/{'b' * 99}",
    ],
)
def test_what_is_no_name_of_a_repository_is_an_unknown_subject(name: str, cache: Path) -> None:
    with pytest.raises(UsageError, match="expected one of"):
        find_subject(name)


@pytest.mark.slow
def test_a_claim_runs_on_a_repository_offline_and_its_record_names_the_commit(tmp_path: Path) -> None:
    lay(tmp_path / "hub", LLAMA, make_llama(initializer_range=0.5))
    report, ledger = tmp_path / "report", tmp_path / "ledger"
    places = ["--report-dir", str(report), "--ledger", str(ledger), "-p", "no:cacheprovider"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    asked = ["-k", "c01", "--subject", "someone/tiny-llama", "--device", "cpu"]
    command = [sys.executable, "-m", "pytest", "claims", *asked, *places]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (record,) = read_records(report / "records.jsonl")
    assert record.subject == f"someone/tiny-llama@{COMMIT}"
    assert record.criteria[0].value is not None
