"""C37: without the head stricter shifts become feasible."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    AtLeast,
    Claim,
    HitRate,
    Inversions,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK = Stack(blocks=1)
FEASIBLE = "feasible is nine in ten by the cap"

CLAIM = Claim(
    id="C37",
    section="Language models become less trainable as they are trained",
    sentence="Without the head, one trained block's output also comes within the bounds of stricter shifts.",
    estimand="share of units that hit by the cap at σ = 1/25 and at σ = 1/50, the step size tuned for each",
    document="called feasible, without figures",
    procedure=Inversions(
        samples=(("σ = 1/25", Sample(stack=BLOCK, sigma=0.04)), ("σ = 1/50", Sample(stack=BLOCK, sigma=0.02))),
        estimates=(
            HitRate(name="hit rate (σ = 1/25)", of="σ = 1/25"),
            HitRate(name="hit rate (σ = 1/50)", of="σ = 1/50"),
        ),
    ),
    criteria=(
        AtLeast("hit rate (σ = 1/25)", 0.9, because=FEASIBLE),
        AtLeast("hit rate (σ = 1/50)", 0.9, because=FEASIBLE),
    ),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
