"""C15: double precision neither saves iterations nor makes the stricter shift feasible."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)

CLAIM = lm.Claim(
    id="C15",
    section="Language models become less trainable as they are trained",
    sentence="Descent in float64 needs as many iterations as in float32, and the bound of σ = 1/25 stays infeasible.",
    question="Does double precision leave descent as slow and a closer match out of reach?",
    quote="Unfortunately there is no significant change in the number of iterations required to make an input",
    estimand="ratio of the median iterations to the bound, float64 over float32; share of float64 units that hit at "
    "σ = 1/25 by ten times the smaller of N and the median hit at σ = 1/20",
    document="no significant change",
    procedure=lm.Inversions(
        samples=(
            ("float32", lm.Sample(stack=HEAD, dtype="float32")),
            ("float64", lm.Sample(stack=HEAD, dtype="float64", step_of="float32")),
            (
                "float64, σ = 1/25",
                lm.Sample(stack=HEAD, dtype="float64", sigma=0.04, cap_of=("float64", 10)),
            ),
        ),
        estimates=(
            lm.HitRatio(name="ratio", slow="float64", fast="float32"),
            lm.HitRate(name="hit rate (float64, σ = 1/25)", of="float64, σ = 1/25"),
        ),
    ),
    criteria=(
        lm.Within("ratio", low=0.5, high=2, because="no significant change is less than a factor of two"),
        lm.AtMost("hit rate (float64, σ = 1/25)", 0.1, because="infeasible leaves room for one in ten"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=(
        "Float64 takes over the step size that was tuned in float32, so that precision is all that differs.",
        "The Llama family's norms compute in float64 here; the library's own would round to float32 inside.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
