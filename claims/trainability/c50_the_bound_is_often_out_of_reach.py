"""C50: with the head, the bound of σ = 1/20 is often not met in any feasible number of iterations."""

import engine as lm

CLAIM = lm.Claim(
    id="C50",
    section="Language models become less trainable as they are trained",
    sentence="For a trained block with the head, descent often does not come within the shift bound in a feasible "
    "number of iterations at all.",
    question="With the output head, does descent on a trained block often fail altogether?",
    quote="often it cannot be satisfied in a feasible number of iterations at all",
    estimand="share of units that hit by the cap, N",
    document="often not met in a feasible number of iterations, without figures",
    procedure=lm.Inversions(
        samples=(("trained", lm.Sample(stack=lm.Stack(blocks=1, head=True))),),
        estimates=(lm.HitRate(name="hit rate", of="trained"),),
    ),
    criteria=(lm.AtMost("hit rate", 0.5, because="often is every other time at least"),),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=(
        "The runs are those of C11's trained arm: smollm2-135m's under the page's protocol had been seen to hit, 36 of "
        "36.",
        "Feasible is the cap of rows that are read at the hit: 1,000 iterations on models that run on a CPU, else "
        "3,000.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
