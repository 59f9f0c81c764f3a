"""Every claim asks a short question of its own; those of the document, and no others, quote it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.claim.claim import Claim
from engine.claim.discover import find_claims

CLAIMS = [found.claim for found in find_claims(Path(__file__).resolve().parents[3] / "claims")]
OF_THE_DOCUMENT = [claim for claim in CLAIMS if claim.id.startswith("C")]
OUR_OWN = [claim for claim in CLAIMS if claim.id.startswith("A")]


def get_id(claim: Claim) -> str:
    return claim.id


def test_every_claim_is_the_documents_or_our_own() -> None:
    assert len(OF_THE_DOCUMENT) + len(OUR_OWN) == len(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=get_id)
def test_a_question_is_short_and_ends_as_one(claim: Claim) -> None:
    assert claim.question.endswith("?")
    assert len(claim.question) <= 90


def test_no_question_is_asked_twice() -> None:
    asked = Counter(claim.question for claim in CLAIMS)
    assert not [question for question, times in asked.items() if times > 1]


@pytest.mark.parametrize("claim", OF_THE_DOCUMENT, ids=get_id)
def test_a_claim_of_the_document_quotes_a_few_of_its_words(claim: Claim) -> None:
    assert 5 <= len(claim.quote.split()) <= 30
    assert len(claim.quote) <= 200


@pytest.mark.parametrize("claim", OUR_OWN, ids=get_id)
def test_a_claim_of_our_own_quotes_nothing(claim: Claim) -> None:
    assert not claim.quote
