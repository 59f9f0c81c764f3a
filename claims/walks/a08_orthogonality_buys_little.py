"""A08: a walk orthogonal to the gradient moves the output nearly as far as a random one."""

import engine as lm

HALF = "less than half would be something that orthogonality buys"

CLAIM = lm.Claim(
    id="A08",
    section="Orthogonal Walk Representations",
    sentence="Orthogonality to the gradient of the summed output buys little: along a vector drawn in its null space "
    "the output moves at least half as far as along a random one.",
    question="Does an orthogonal walk move output at least half as far as a random one?",
    estimand="d_o / d_i in L² along a vector of the null space over that along a random vector, after 30 steps of "
    "0.01; geometric mean over prompts",
    document="the document compares with no random step",
    procedure=lm.OrthogonalDrift(),
    criteria=(
        lm.AtLeast("null / random, net", 0.5, because=HALF),
        lm.AtLeast("null / random, 12 blocks, float64", 0.5, because=HALF),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=(
        "No claim of the document, but the control that its ratios lack.",
        "The gradient of a sum is one direction of each token's output space: all others are free.",
        "A pilot of an audit on smollm2-135m had been seen: 16.5 against 17.1 behind one block.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
