"""C44: where the gradient is conditioned worse, descent needs more iterations."""

import engine as lm

CLAIM = lm.Claim(
    id="C44",
    section="Language models become less trainable as they are trained",
    sentence="Poor conditioning of the gradient is why trained models need more iterations: along training, the worse "
    "one block and the head are conditioned, the later a descent comes within its bound.",
    question="Do descents take longer where the gradient is conditioned worse?",
    quote="the model appears to be very poorly conditioned such that using gradient descent to modify an input to "
    "match some output requires careful tuning",
    estimand="Spearman's ρ between the log condition number of one position's Jacobian behind one block and the head "
    "(99th over 1st percentile of its singular values, median of prompts) and the median iterations to the bound, over "
    "checkpoints from step 100 on at constant step size, within each training seed; on gpt2-mini-d256 over all sizes",
    document="poor conditioning is named as the cause, without figures",
    procedure=lm.ConditioningExplains(stack=lm.Stack(blocks=1, head=True), steps=(100, 300, 1000, 3000, 6400)),
    criteria=(
        lm.Above(
            "rank correlation",
            0.5,
            because="a cause named alone should order more than half of what it is to explain; 0.5 is a large "
            "correlation by convention",
        ),
    ),
    subjects=lm.FAMILY,
    protocols=(lm.CONTROLLED,),
    units=lm.Units(smoke=0, wave=36),
    only_at_full_effort=lm.FAMILY,
    needs_subjects=lm.FAMILY[:-1],
    needed_on=lm.LARGEST,
    notes=(
        "On one size there are five checkpoints, whose ranks are coarse; the largest size's item reads twenty, of all "
        "four sizes.",
        "The interval holds for the training seeds that are read: units are drawn again within each of them.",
        "A correlation along training is no proof of a cause: whatever grows with training goes with the iterations.",
        "A run without a hit counts as later than every hit, and checkpoints without a median hit tie.",
        "The checkpoints lie before the decay of the training's step size.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
