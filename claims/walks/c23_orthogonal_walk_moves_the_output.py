"""C23: a walk orthogonal to the gradient does not hold the output still, but for the smallest nets."""

import engine as lm

CLAIM = lm.Claim(
    id="C23",
    section="Orthogonal Walk Representations",
    sentence="Along the orthogonal walk the output moves about twice as far as the input for a per-token net of the "
    "model's size, at most half as far for nets of 10 or 50 numbers, and more than twenty times as far for a trained "
    "model; one vector for all tokens does as well as one for each.",
    question="Does the orthogonal walk move the output, except in the smallest nets?",
    quote="the orthogonal walk method is not capable of changing the input whilst leaving the output vector unchanged "
    "for all except the smallest of models",
    estimand="‖O(e) − O(e_N)‖₁ / ‖e − e_N‖₁ after 30 steps of 0.01 along the last right-singular vector that LAPACK "
    "gives, as the document's listing takes it; beside it the same in L², along a vector drawn in the null space, and "
    "along a random one",
    document="2 for the net, 1/2 or less at 10 or 50, seldom below 1 from 200 on, above 20 for GPT-2 in float64",
    procedure=lm.OrthogonalDrift(),
    criteria=(
        lm.Within("d_o / d_i, net at d = 768", 1, 4, because="within a factor of two of the document's 2"),
        lm.AtMost("d_o / d_i, net at d = 10", 0.5, because="typically one half or less"),
        lm.AtMost("d_o / d_i, net at d = 50", 0.5, because="typically one half or less"),
        lm.Above(
            "P(d_o < d_i), d = 50 − d = 200",
            0,
            least=0.1,
            least_because="less than one walk in ten is no finding",
            because="below 1 less often from 200 on",
        ),
        lm.AtLeast("d_o / d_i, 12 blocks, float64", 20, because="the document says more than 20", on="trained"),
        lm.Within("broadcast / per token, net", 0.5, 2, because="the document sees no difference"),
        lm.Within("broadcast / per token, 12 blocks", 0.5, 2, because="the document sees no difference"),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    figures=(
        ("d_o / d_i, net at d = 768", 2),
        ("d_o / d_i, net at d = 10", 0.5),
        ("d_o / d_i, net at d = 50", 0.5),
        ("d_o / d_i, 12 blocks, float64", 20),
    ),
    notes=(
        "The last right-singular vector of a gradient of few rows lies almost along one coordinate: its L¹ length is "
        "small for its L² length, which makes ratios in L¹ large. In L², and along generic vectors, they are smaller.",
        "The net has the document's width, 768, whatever the subject's.",
        "Orthogonality to the gradient of the sum leaves every other output direction free: the walk can fail without "
        "any conditioning problem, and float64 cannot mend that. The tables give the share of free directions.",
        "d_o and d_i lie in different spaces, whose scales differ from model to model.",
        "Nets of a size of their own walk from random inputs of the embedding's scale.",
        "Under the scripts' protocol the walk has 15 steps of 1 in float32 and one of 0.1 in float64.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
