"""C37: without the head stricter shifts become feasible."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
FEASIBLE = "feasible is nine in ten by the cap"

CLAIM = lm.Claim(
    id="C37",
    section="Language models become less trainable as they are trained",
    sentence="Without the head, one trained block's output also comes within the bounds of stricter shifts.",
    question="Without the output head, is a closer match to a trained block feasible?",
    quote="that is accurate even when compared with stricter",
    estimand="share of units that hit by the cap at σ = 1/25 and at σ = 1/50, the step size tuned for each",
    document="called feasible, without figures",
    procedure=lm.Inversions(
        samples=(("σ = 1/25", lm.Sample(stack=BLOCK, sigma=0.04)), ("σ = 1/50", lm.Sample(stack=BLOCK, sigma=0.02))),
        estimates=(
            lm.HitRate(name="hit rate (σ = 1/25)", of="σ = 1/25"),
            lm.HitRate(name="hit rate (σ = 1/50)", of="σ = 1/50"),
        ),
    ),
    criteria=(
        lm.AtLeast("hit rate (σ = 1/25)", 0.9, because=FEASIBLE),
        lm.AtLeast("hit rate (σ = 1/50)", 0.9, because=FEASIBLE),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
