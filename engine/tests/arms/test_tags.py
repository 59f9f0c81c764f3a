"""Digests read tags: code may be renamed, and what was measured and registered is still found."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import TypeAdapter

from engine import Above, Claim
from engine.arms.arm import Arm
from engine.arms.measurement import digest_of
from engine.arms.stacks import Stack
from engine.arms.tags import TAG, real_fields, tag_of
from engine.claim.registration import RegistrationEntry, digest_claim, digest_fields, name_changes, plain_declaration
from engine.commands.register import read_lock_status
from engine.errors import DeclarationError
from engine.records import read_records
from engine.tests.planted import INVERSION, TUNING
from engine.tests.planted_claims import plant

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "reports" / "reference" / "records.jsonl"
ARMS = Path(__file__).parents[1] / "reference_arms.jsonl.gz"
"""Most arms of the reference run, as JSON beside their digest."""


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """A stack by another name, with its annotations in other words."""

    tag: ClassVar[str] = "Stack"
    blocks: int
    head: bool = False
    final_norm: bool = False


@dataclass(frozen=True, kw_only=True)
class Untagged:
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Derived(Stack):
    """A kind of its own, which says so nowhere."""


def test_the_arms_of_the_reference_run_have_the_digests_that_they_were_measured_under() -> None:
    measured = {digest for record in read_records(REFERENCE) for digest in record.arms}
    arm: TypeAdapter[Arm] = TypeAdapter(Arm)
    kinds: set[str] = set()
    for line in gzip.decompress(ARMS.read_bytes()).splitlines():
        held = json.loads(line)
        one = arm.validate_python(held["arm"])
        kinds.add(one.kind)
        assert held["digest"] in measured
        assert digest_of(one) == held["digest"], one
    assert len(kinds) == 16


def test_every_claim_is_declared_as_it_was_registered_last() -> None:
    (found,) = read_lock_status(ROOT / "claims")
    assert len(found.declared) == 62
    assert found.new == found.amended == []


def test_another_name_for_a_class_and_its_types_changes_no_digest() -> None:
    settings: Any = replace(INVERSION.settings, stack=Renamed(blocks=1))  # pyright: ignore[reportArgumentType]
    renamed = replace(INVERSION, settings=settings)
    assert digest_of(renamed) == digest_of(replace(INVERSION, settings=replace(settings, stack=Stack(blocks=1))))


def test_another_name_for_a_declared_class_amends_no_claim() -> None:
    @dataclass(frozen=True)
    class MoreThan(Above):
        tag: ClassVar[str] = "Above"

    claim = plant("supported")
    assert isinstance(claim, Claim)
    renamed = replace(claim, criteria=(MoreThan("x", 1, because="planted"),))
    assert plain_declaration(renamed) == plain_declaration(claim)
    assert digest_claim(renamed) == digest_claim(claim)


def test_another_name_for_a_field_amends_no_claim_and_messages_say_the_new_name() -> None:
    claim = plant("supported")
    assert isinstance(claim, Claim)
    moved = replace(claim, only_at_full_effort=("smollm2-135m",))
    entry = RegistrationEntry(
        date=datetime(2026, 1, 1, tzinfo=UTC), commit="", digest=digest_claim(claim), fields=digest_fields(claim)
    )
    assert plain_declaration(moved)["full_only"] == ["smollm2-135m"]
    assert name_changes(entry, moved) == "only at full effort"


@pytest.mark.parametrize("value", [Untagged(blocks=1), Derived(blocks=1)])
def test_a_class_without_a_tag_of_its_own_is_one_line(value: Any) -> None:
    with pytest.raises(
        DeclarationError, match=r"^digest: got the class \w+ without a tag, expected .*; write tag: Class"
    ):
        tag_of(value)
    with pytest.raises(DeclarationError):
        digest_of(replace(INVERSION, settings=replace(INVERSION.settings, stack=value)))


def test_real_numbers_are_told_by_their_types() -> None:
    assert real_fields(type(INVERSION)) == {"step"}
    assert real_fields(type(TUNING)) == {"steps"}
    assert real_fields(type(INVERSION.settings)) == {"sigma", "blend"}


def test_no_two_classes_share_a_tag() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("engine.") and "tests" not in name]
    named = [kind for module in modules for kind in vars(module).values() if is_dataclass(kind)]
    tagged = {kind for kind in named if isinstance(kind, type) and TAG in vars(kind)}
    tags = {vars(kind)[TAG] for kind in tagged}
    assert len(tags) == len(tagged) > 60
    assert not any(field.name == TAG for kind in tagged for field in fields(kind))
