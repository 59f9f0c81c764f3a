"""C13: through a trained block and head a stricter shift is practically infeasible."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    AtMost,
    Claim,
    HitRate,
    Inversions,
    Sample,
    Stack,
    Units,
    Verdict,
)

HEAD = Stack(blocks=1, head=True)

CLAIM = Claim(
    id="C13",
    section="Language models become less trainable as they are trained",
    sentence="Through a trained block and head, the bound of a shift of σ = 1/25 cannot be met in a feasible number of "
    "iterations.",
    estimand="share of units that hit at σ = 1/25 by ten times the smaller of N and the median hit at σ = 1/20",
    document="called practically infeasible, without figures",
    procedure=Inversions(
        samples=(
            ("σ = 1/20", Sample(stack=HEAD)),
            ("σ = 1/25", Sample(stack=HEAD, sigma=0.04, cap_of=("σ = 1/20", 10))),
        ),
        estimates=(
            HitRate(name="hit rate (σ = 1/25)", of="σ = 1/25"),
            HitRate(name="hit rate (σ = 1/20)", of="σ = 1/20"),
        ),
    ),
    criteria=(AtMost("hit rate (σ = 1/25)", 0.1, because="infeasible leaves room for one in ten"),),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, standard=0),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
