"""C13: through a trained block and head a stricter shift is practically infeasible."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)

CLAIM = lm.Claim(
    id="C13",
    section="Language models become less trainable as they are trained",
    sentence="Through a trained block and head, the bound of a shift of σ = 1/25 cannot be met in a feasible number of "
    "iterations.",
    question="Is a closer match out of reach through a trained block and the output head?",
    quote="Thus it is practically infeasible to make the equality in",
    estimand="share of units that hit at σ = 1/25 by ten times the smaller of N and the median hit at σ = 1/20",
    document="called practically infeasible, without figures",
    procedure=lm.Inversions(
        samples=(
            ("σ = 1/20", lm.Sample(stack=HEAD)),
            ("σ = 1/25", lm.Sample(stack=HEAD, sigma=0.04, cap_of=("σ = 1/20", 10))),
        ),
        estimates=(
            lm.HitRate(name="hit rate (σ = 1/25)", of="σ = 1/25"),
            lm.HitRate(name="hit rate (σ = 1/20)", of="σ = 1/20"),
        ),
    ),
    criteria=(lm.AtMost("hit rate (σ = 1/25)", 0.1, because="infeasible leaves room for one in ten"),),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
