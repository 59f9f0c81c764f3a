"""Folders of any decoder-only type are read without an entry, and claims run on them; others are refused in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.arms.stacks import Stack
from engine.errors import InapplicableError, SubjectError
from engine.models import find_subject
from engine.models.codec import Codec
from engine.models.families import FAMILIES, find_family, read_types
from engine.models.first_input import find_rule, read_embeddings
from engine.models.stacks import BlockStack
from engine.records import read_records
from engine.tests.every_type import ADMITTED, VOCAB, make_model
from engine.tests.planted_claims import run_session
from engine.tests.tiny_models import TOKENS, save

TRIED = ("mistral", "qwen3", "gemma3_text", "gpt_neox", "opt", "bloom", "phi3", "mixtral")
"""Rotary, learned and ALiBi positions; windows; norms behind embeddings and on keys; experts that are merged."""

ROOT = Path(__file__).parents[3]

pytestmark = [
    # Models of some types warn of what their library will change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def every_type() -> list[Any]:
    """All admitted types: those that are tried here always, the others by the slow suite."""
    admitted = [kind for kind, answer in read_types().items() if answer == ADMITTED]
    return [kind if kind in TRIED else pytest.param(kind, marks=pytest.mark.slow) for kind in admitted]


@pytest.mark.parametrize("kind", every_type())
def test_a_folder_of_a_type_without_an_entry_computes_what_the_saved_model_did(kind: str, tmp_path: Path) -> None:
    model = make_model(kind)
    model.save_pretrained(tmp_path)
    subject = find_subject(f"local:{tmp_path}")
    assert subject.family == kind
    assert (find_family(kind).key, find_family(kind).declared) == (kind, kind not in FAMILIES)
    ids = torch.arange(3, 15)[None] % VOCAB
    saved, read = (run(ids, use_cache=False).logits for run in (model, subject.model(torch.float32)))
    torch.testing.assert_close(read, saved, rtol=1e-5, atol=1e-5 * float(saved.abs().max()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5"}, "'t5', which has no class for causal language models"),
        ({"model_type": "bert"}, "bert: a model in which a later token changes an earlier position"),
        ({"model_type": "mamba"}, "mamba: a model that gives something else when it is read on behind a cache"),
        ({"model_type": "bart"}, "bart: a model without a list of 1 blocks"),
        ({"model_type": "no-such-type"}, "'no-such-type', which has no class for causal language models"),
        ({"model_type": 3}, "a model of type 3"),
        ({}, "a model of type None"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_decoder_is_refused_in_one_line_before_anything_is_loaded(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SubjectError) as refused:
        find_subject(f"local:{tmp_path}")
    assert words in str(refused.value)
    assert "expected a decoder-only language model of transformers" in str(refused.value)
    assert "\n" not in str(refused.value)


def change_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize("entry", [{"embedding_multiplier": 2.0}, {"clip_qkv": 8}, {"n_layer": 2}], ids=str)
def test_an_entry_that_a_types_class_does_not_read_is_refused(entry: dict[str, Any], tmp_path: Path) -> None:
    make_model("mistral").save_pretrained(tmp_path)
    change_config(tmp_path, **entry)
    with pytest.raises(SubjectError, match=rf"config.json with {next(iter(entry))}: .*only what the family's own"):
        find_subject(f"local:{tmp_path}")


@pytest.mark.parametrize("name", ["model.layers.9.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"])
@pytest.mark.parametrize("kind", ["mistral", "mixtral"])
def test_a_tensor_without_a_place_is_refused_where_the_library_renames_and_where_it_does_not(
    kind: str, name: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    make_model(kind).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(load_file(file) | {name: torch.zeros(3)}, file, metadata={"format": "pt"})
    with pytest.raises(SubjectError, match=f"got {name}, which the configuration has no place for"):
        find_subject(f"local:{tmp_path}").model(torch.float32)


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text", "qwen3", "phi3"])
def test_a_float64_model_has_no_norm_in_float32(kind: str, tmp_path: Path) -> None:
    make_model(kind).save_pretrained(tmp_path)
    model = find_subject(f"local:{tmp_path}").model(torch.float64)
    norms = [m for m in model.modules() if "Norm" in type(m).__name__]
    assert len(norms) > 2
    assert all(isinstance(norm, nn.RMSNorm) for norm in norms)
    single = find_subject(f"local:{tmp_path}").model(torch.float32)
    ids = torch.arange(3, 15)[None]
    wide, narrow = (run(ids, use_cache=False).logits.double() for run in (model, single))
    assert 0 < float((wide - narrow).abs().max()) < 1e-4 * float(wide.abs().max())


def test_a_model_whose_attention_knows_distances_has_no_first_position() -> None:
    model = make_model("bloom")
    BlockStack(model, Stack(blocks=1), "true")
    with pytest.raises(InapplicableError, match=r"^position 0 for all: got a model of type bloom, in which distances"):
        BlockStack(model, Stack(blocks=1), "first")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normed_embeddings_are_decoded_although_the_norm_takes_a_direction_out_of_them(dtype: torch.dtype) -> None:
    model = make_model("bloom").to(dtype)
    rows, rule = read_embeddings(model), find_rule(model)
    assert rule.factor is None
    assert int(torch.linalg.matrix_rank(rows.double(), rtol=1e-5)) == rows.shape[1] - 1
    codec = Codec(rows, computed=True)
    assert torch.equal(codec.decode(rows), torch.arange(len(rows)))


@pytest.mark.parametrize(
    ("kind", "effort"),
    [
        ("gemma3_text", "smoke"),
        ("bloom", "smoke"),
        *(pytest.param(kind, "standard", marks=pytest.mark.slow) for kind in TRIED),
    ],
)
def test_claims_run_on_it_from_end_to_end(kind: str, effort: str, pytester: pytest.Pytester) -> None:
    ids = {"pad_token_id": 0, "bos_token_id": len(TOKENS) - 1, "eos_token_id": len(TOKENS) - 1}
    model = save(pytester.path / "model", make_model(kind, vocab_size=len(TOKENS), **ids))
    places = ("--ledger", str(pytester.path / ".ledger"), "--report-dir", str(pytester.path / "report"))
    chosen = ("-k", "c01 or c11 or a01", "--subject", f"local:{model}", "--device", "cpu", "--executor", "inline")
    claims = (str(ROOT / "claims"), "--effort", effort)
    assert run_session(pytester, "-p", "no:cacheprovider", *claims, *places, *chosen).ret == 0
    found = {(r.claim, r.protocol): r for r in read_records(pytester.path / "report" / "records.jsonl")}
    assert set(found) == {("A01", "direct"), ("C01", "direct"), ("C11", "controlled"), ("C11", "page")}
    assert found["C01", "direct"].ruling == "supported"
    assert found["A01", "direct"].criteria[0].value == 1
    if effort == "smoke":
        return  # C11 measures more than that
    assert found["C11", "controlled"].criteria[0].value is not None
    page = found["C11", "page"]
    if kind == "bloom":
        assert (page.outcome, "distances between tokens" in page.sentence) == ("skipped", True)
    else:
        assert page.criteria[0].value is not None
