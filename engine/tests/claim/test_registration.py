"""A claim's digest covers what decides it and no prose; a lock comes back as it was written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine import (
    PAGE,
    SCRIPT,
    Above,
    AtLeast,
    Claim,
    Complement,
    Exact,
    Rate,
    Sample,
    Schedule,
    Stack,
    TokenNet,
    Within,
)
from engine.claim.procedure import Rounds, Trial
from engine.claim.registration import LOCK, RegistrationEntry, digest_claim, read_lock, write_lock
from engine.errors import DeclarationError, LedgerError
from engine.tests.arms.test_digest import vary
from engine.tests.planted_claims import plant


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A procedure of any parts, which checks none of them."""

    tag: ClassVar[str] = "Bundle"
    parts: tuple[object, ...]

    def rounds(self, trial: Trial) -> Rounds:
        raise NotImplementedError


CLAIM = Claim(
    id="C90",
    section="Planted",
    sentence="x is more than one.",
    estimand="x",
    document="more than one",
    procedure=Bundle(
        parts=(
            ("sample", Sample(stack=Stack(blocks=1), schedule=Schedule(), cap_of=("other", 2.5))),
            ("other", Sample(stack=TokenNet(), read_at="N", probe=Stack(blocks="all"), snapshots=(20,))),
            Rate(name="x", of="sample", reading=Complement(of=Exact()), among=(Exact(),)),
        )
    ),
    criteria=(
        Above("x", 1, least=2, least_because="planted", because="planted"),
        Within("y", 0.25, 0.5, because="planted", on="trained"),
    ),
    subjects=("gpt2-untrained", "smollm2-135m"),
    protocols=(PAGE, SCRIPT),
    only_at_full_effort=("smollm2-135m", "gpt2-untrained"),
    needs_subjects=("gpt2", "gpt2-xl"),
    notes=("A note.", "Another."),
)


def is_moot(path: str) -> bool:
    """Whether a change there is one of words, or of an order in which nothing happens."""
    name = path.removeprefix(".").split(".")[0].split("[")[0]
    prose = name in {
        "section",
        "sentence",
        "estimand",
        "document",
        "question",
        "quote",
        "notes",
        "beyond",
        "counts_untrained",
        "figures",
    } or path.endswith("because")
    lists = ("criteria", "subjects", "protocols", "only_at_full_effort", "needs_subjects")
    return prose or path in {f".{name}[order]" for name in lists}


CHANGED = [pytest.param(other, id=path) for path, other in vary(CLAIM) if not is_moot(path)]
MOOT = [pytest.param(other, id=path) for path, other in vary(CLAIM) if is_moot(path)]


@pytest.mark.parametrize("other", CHANGED)
def test_whatever_decides_a_claim_changes_its_digest(other: Claim) -> None:
    assert digest_claim(other) != digest_claim(CLAIM)


@pytest.mark.parametrize("other", MOOT)
def test_prose_and_the_order_of_what_is_listed_do_not(other: Claim) -> None:
    assert other != CLAIM
    assert digest_claim(other) == digest_claim(CLAIM)


def test_every_field_of_a_claim_was_changed() -> None:
    tried = {str(param.id).removeprefix(".").split(".")[0].split("[")[0] for param in (*CHANGED, *MOOT)}
    assert tried == {field.name for field in fields(Claim)}
    assert {str(param.id) for param in MOOT} >= {f".{name}" for name in ("sentence", "estimand", "document", "section")}


def test_no_two_changes_share_a_digest() -> None:
    digests = [digest_claim(param.values[0]) for param in CHANGED]  # pyright: ignore[reportArgumentType]
    assert len(set(digests)) == len(digests)


def test_a_bound_of_another_kind_is_another_claim() -> None:
    strict, loose = (replace(CLAIM, criteria=(kind("x", 1, because=""),)) for kind in (Above, AtLeast))
    assert digest_claim(strict) != digest_claim(loose)


@dataclass(frozen=True)
class Holding:
    tag: ClassVar[str] = "Holding"
    value: object


GAINED = make_dataclass(
    "Another", ["value", ("later", bool, False), ("more", tuple[int, ...], ())], namespace={"tag": "Holding"}
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0.0, -0.0),
        (1e21, 10**21),
        (Sample(stack=Stack(blocks=1)), Sample(stack=Stack(blocks=1), sigma=0.05, weights="own")),
        (Holding(7), GAINED(7)),
    ],
    ids=["1 and 1.0", "0 and -0", "large", "defaults spelled out", "a setting that the engine gains, off by default"],
)
def test_equal_declarations_have_equal_digests(one: object, other: object) -> None:
    assert digest_claim(hold(one)) == digest_claim(hold(other))


def hold(*values: object) -> Claim:
    return replace(CLAIM, procedure=Bundle(parts=values))


@pytest.mark.parametrize(
    "value", [print, {1, 2}, {"a": 1}, b"x", int, object()], ids=lambda value: type(value).__name__
)
def test_what_is_no_data_cannot_be_registered(value: object) -> None:
    with pytest.raises(
        DeclarationError, match=r"^claim C90, procedure\.parts: got a value of type \w+, expected texts, numbers, "
    ):
        digest_claim(hold(value))


def test_infinities_and_nan_have_digests_of_their_own() -> None:
    digests = {digest_claim(hold(value)) for value in (math.inf, -math.inf, math.nan, 1e308)}
    assert len(digests) == 4


def test_a_digest_is_the_sha256_of_the_declaration_in_json() -> None:
    declared = (
        '{"criteria": [["Above", {"bound": 1, "estimate": "x", "on": "every", "role": "only"}]], "id": "C90", '
        '"others_on": "every", "procedure": ["Planted", {"interval": [2, 3]}], "protocols": [["Protocol", '
        '{"bound": "start", "loss_scale": 1, "name": "direct", "positions": "true", "reference_sigma": 0.05, '
        '"shift_draws": 16, "start_fraction": 0.3, "start_mean": 0}]], "subjects": ["gpt2-untrained"], '
        '"units": ["Units", {"full": 36, "smoke": 2, "standard": 36, "wave": 12}]}'
    )
    assert json.dumps(json.loads(declared), sort_keys=True) == declared
    assert digest_claim(plant("supported")) == hashlib.sha256(declared.encode()).hexdigest()[:40]


def make_entry(day: int = 1, **changes: Any) -> RegistrationEntry:
    date = datetime(2026, 3, day, 12, 30, tzinfo=UTC)
    settings = {"date": date, "commit": "a" * 40, "digest": "b" * 40, "fields": {"criteria": "c" * 8}}
    return RegistrationEntry(**(settings | changes))


def test_a_lock_comes_back_as_it_was_whatever_the_order_of_its_claims(tmp_path: Path) -> None:
    lock = {"C02": [make_entry(commit="")], 'own "claim" .é': [make_entry()], "C01": [make_entry(1), make_entry(2)]}
    (tmp_path / LOCK).write_text(write_lock(lock), encoding="utf-8")
    assert read_lock(tmp_path / LOCK) == lock
    assert write_lock(dict(reversed(lock.items()))) == write_lock(lock)


def test_the_first_of_several_registrations_is_the_oldest(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(write_lock({"C01": [make_entry(2), make_entry(1)]}), encoding="utf-8")
    assert read_lock(tmp_path / LOCK) == {"C01": [make_entry(1), make_entry(2)]}


GOOD = write_lock({"C01": [make_entry()]})
BROKEN: dict[str, Callable[[str], str]] = {
    "no TOML": lambda text: text + "<<<<<<< HEAD\n",
    "a date without a zone": lambda text: text.replace("+00:00", ""),
    "no date": lambda text: text.replace("2026-03-01T12:30:00+00:00", '"soon"'),
    "a digest of other length": lambda text: text.replace("b" * 40, "b" * 39),
    "a commit that is none": lambda text: text.replace("a" * 40, "HEAD"),
    "no digest": lambda text: text.replace("digest = ", "digset = "),
    "a key that we do not know": lambda text: text.replace("fields = ", 'note = ""\nfields = '),
    "one table": lambda text: text.replace("[[C01]]", "[C01]"),
    "deep": lambda text: f"{text}x = {'[' * 5000}",
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_lock_that_cannot_be_read_is_one_line(spoil: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / LOCK
    path.write_text(spoil(GOOD), encoding="utf-8")
    with pytest.raises(LedgerError) as raised:
        read_lock(path)
    assert str(raised.value).startswith(f"{path}: got ")
    assert str(raised.value).endswith("; restore it from git")
    assert str(raised.value).isprintable()
