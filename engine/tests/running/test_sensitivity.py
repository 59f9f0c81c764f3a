"""One choice of an experiment made otherwise at a time: which arms are asked for, and what is said of the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claims.token_mapping.c33_untrained_block_gives_tokens_back import CLAIM as C33
from claims.trainability.c11_trained_needs_hundredfold import CLAIM as C11
from engine.arms.arm import Arm, Result
from engine.arms.protocol import CONTROLLED, PAGE, Protocol
from engine.arms.settings import DescentSettings
from engine.claim.claim import Claim
from engine.claim.procedure import Evidence
from engine.claim.units import Units
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.tuning.arm import TuningArm
from engine.running.interim_looks import evaluate_item
from engine.running.sensitivity import VARIANTS, Variant
from engine.tests.planted import drive, make_inversion, make_run, make_trial, tune_to_middle


def run(claim: Claim, hits: dict[str, int], *, protocol: Protocol = CONTROLLED, effort: str = "full") -> Evidence:
    """Trained runs hit at 290 iterations, untrained ones at 60, unless a variant's choice is named in `hits`."""

    def answer(arm: Arm) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, InversionArm)
        usual = 60 if "untrained" in arm.settings.subject else 290
        hit = next((hits[word] for word in hits if "untrained" in arm.settings.subject and is_of(arm, word)), usual)
        last = arm.settings.iterations
        return make_inversion([make_run(unit, hit=min(hit + unit.seed % 5, last)) for unit in arm.units])

    trial = replace(
        make_trial(effort, units=Units(standard=12, full=12)),  # pyright: ignore[reportArgumentType]
        protocol=protocol,
    )
    return drive(evaluate_item(claim, trial), answer)


def is_of(arm: InversionArm, word: str) -> bool:
    settings: DescentSettings = arm.settings
    return {
        "positions": settings.protocol.positions == "first",
        "metric": settings.metric == "l2",
        "cap": settings.iterations == 3000,
    }[word]


def read(evidence: Evidence) -> dict[tuple[str, str], tuple[str, str]]:
    (table,) = (table for table in evidence.tables if table.title.startswith("Sensitivity"))
    return {(str(row[0]), str(row[1])): (str(row[3]), str(row[4])) for row in table.rows}


def test_the_choice_that_turns_the_verdict_round_is_named() -> None:
    """As declared the ratio is five, so that the direction holds alone; with one choice made otherwise it is 290."""
    found = read(run(C11, {"positions": 1}))
    assert found["positions", "0 for every token"] == ("supported", "flips")
    others = {key: said for key, said in found.items() if key[0] != "positions"}
    assert set(others.values()) == {("partly supported", "as declared")}


@pytest.mark.parametrize("protocol", [PAGE, CONTROLLED], ids=lambda protocol: protocol.name)
def test_every_factor_has_a_choice_and_none_is_the_declared_one(protocol: Protocol) -> None:
    found = read(run(C11, {}, protocol=protocol))
    assert {factor for factor, _ in found} == {"η", *C11.factors}
    own = "N(1/2, 1/20²)" if protocol == PAGE else "the target's own scale"
    assert ("start", own) not in found
    assert ("start", "N(0, 1)") in found


def test_only_full_effort_asks_for_it() -> None:
    assert not [t for t in run(C11, {}, effort="standard").tables if t.title.startswith("Sensitivity")]


def test_a_claim_names_the_factors_that_can_move_it() -> None:
    assert {factor for factor, _ in read(run(C33, {}))} == {"η", *C33.factors}
    assert "σ" not in C33.factors


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.factor}, {variant.choice}")
def test_a_variant_changes_one_thing_under_one_protocol_or_both(variant: Variant) -> None:
    procedure = C11.procedure
    assert isinstance(procedure, Inversions)
    asked = {name: value for name, value in vars(variant).items() if name not in ("factor", "choice")}
    assert sum(value not in (None, ()) for value in asked.values()) == 1
    own = variant.change_procedure(procedure)
    assert any(
        (own, variant.change_protocol(protocol), variant.prompts) != (procedure, protocol, ())
        for protocol in (PAGE, CONTROLLED)
    )
