"""The head as each family has it: a matrix alone, with a bias, a factor or a soft cap; logits are the library's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import engine
from engine.arms.stacks import WHOLE, Stack
from engine.errors import InapplicableError, SubjectError
from engine.models.first_input import read_embeddings
from engine.models.head import read_head
from engine.models.stacks import BlockStack, whole_output
from engine.records import read_records
from engine.tests.every_type import VOCAB, make_model
from engine.tests.planted_claims import run_session
from engine.tests.tiny_models import TOKENS, save

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

ROOT = Path(__file__).parents[3]
IDS = (40, 3, 55, 21, 90)

HEADS: dict[str, tuple[str, dict[str, Any], tuple[float, bool, float | None]]] = {
    "a matrix": ("llama", {}, (1.0, False, None)),
    "a bias": ("phi", {}, (1.0, True, None)),
    "a divisor": ("granite", {"logits_scaling": 8.0}, (1 / 8, False, None)),
    "a factor": ("cohere", {"logit_scale": 0.25}, (0.25, False, None)),
    "a cap": ("gemma2", {"final_logit_softcapping": 3.0}, (1.0, False, 3.0)),
}
"""By what the head has: a type of such models, entries of its configuration, and its factor, bias and cap."""


def draw(kind: str, changes: dict[str, Any]) -> PreTrainedModel:
    model = make_model(kind, **changes)
    head: Any = model.get_output_embeddings()
    if head.bias is not None:
        # The library begins with a bias of zeros, which would hide one that is left out.
        nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(3))
    return model


def whole_text(model: PreTrainedModel) -> tuple[BlockStack, Tensor, Tensor]:
    """The whole model as a stack, its inputs, and the library's own logits."""
    stack, run = BlockStack(model, WHOLE, "true"), model
    with torch.no_grad():
        logits: Tensor = run(torch.tensor([IDS]), use_cache=False).logits  # pyright: ignore[reportCallIssue]
    return stack, (read_embeddings(model)[list(IDS)] + stack.positions(len(IDS)))[None], logits


@pytest.mark.parametrize(("kind", "changes", "expected"), HEADS.values(), ids=HEADS)
def test_a_head_is_read_off_the_logits_that_the_library_gives(
    kind: str, changes: dict[str, Any], expected: tuple[float, bool, float | None]
) -> None:
    model = draw(kind, changes)
    module: Any = model.get_output_embeddings()
    head, (factor, biased, cap) = read_head(model), expected
    torch.testing.assert_close(head.matrix, factor * module.weight)
    assert (head.matrix is module.weight) == (factor == 1)
    assert (head.bias is not None, head.cap) == (biased, cap)
    stack, e, logits = whole_text(model)
    torch.testing.assert_close(stack.logits(stack(e)), logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))


@pytest.mark.parametrize("name", ["a bias", "a divisor", "a factor"])
def test_differences_of_outputs_are_differences_of_the_librarys_logits(name: str) -> None:
    kind, changes, _ = HEADS[name]
    stack, e, logits = whole_text(draw(kind, changes))
    found = whole_output(stack, e)
    found, expected = found[:, 1:] - found[:, :-1], logits[:, 1:] - logits[:, :-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))


def test_a_soft_cap_behind_blocks_is_refused_in_one_line_and_by_a_claim_skipped(
    tmp_path: Path, pytester: pytest.Pytester
) -> None:
    kind, changes, _ = HEADS["a cap"]
    model = draw(kind, changes)
    with pytest.raises(InapplicableError, match="got a head whose logits are bent to stay below 3, expected a linear"):
        BlockStack(model, Stack(blocks=1, head=True), "true")
    assert BlockStack(model, Stack(blocks=1), "true").head is None
    large = make_model(kind, vocab_size=len(TOKENS), **changes)
    subject = f"local:{save(tmp_path, large)}"
    run_session(
        *(pytester, str(ROOT / "claims"), "--rootdir", str(pytester.path), "-k", "c06 or c05"),
        *(
            "--subject",
            subject,
            "--effort",
            "smoke",
            "--prompt",
            "ab ab",
            "--protocol",
            "controlled",
            "--protocol",
            "direct",
        ),
    )
    found = {one.claim: one for one in read_records(pytester.path / "reports" / "latest" / "records.jsonl")}
    assert found["C06"].outcome == "skipped"
    assert "bent to stay below 3" in found["C06"].sentence
    assert found["C05"].ruling is not None


def test_a_head_of_zeros_stays_what_it_is() -> None:
    model = make_model("phi")
    module: Any = model.get_output_embeddings()
    nn.init.zeros_(module.weight)
    head = read_head(model)
    assert head.matrix is module.weight
    assert not head.logits(torch.ones(1, module.in_features)).any()


def test_a_head_that_is_no_such_map_is_refused_by_name() -> None:
    model = make_model("llama")

    class Cubed(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) ** 3

    old: Any = model.get_output_embeddings()
    odd = Cubed(old.in_features, old.out_features, bias=False)
    odd.weight = old.weight
    model.set_output_embeddings(odd)
    with pytest.raises(SubjectError, match="type llama whose logits are no linear map of its last hidden state"):
        read_head(model)


@pytest.mark.parametrize("name", ["a bias", "a factor"])
def test_prompts_are_recovered_from_logits_of_such_heads(name: str) -> None:
    kind, changes, _ = HEADS[name]
    model = draw(kind, changes)
    ids = torch.randint(3, VOCAB, (1, 5), generator=torch.Generator().manual_seed(4))
    run: Any = model
    with torch.no_grad():
        logits = run(ids, use_cache=False).logits
    found = engine.recover(model, logits, blocks="all", head=True, step=0.2, iterations=20)
    assert found.tokens == ids.tolist()
