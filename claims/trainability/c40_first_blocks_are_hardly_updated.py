"""C40: late in training the first block is hardly updated, the last one is."""

import engine as lm

CLAIM = lm.Claim(
    id="C40",
    section="Language models become less trainable as they are trained",
    sentence="Late in training the first block is hardly updated and the last one is.",
    question="Are the first blocks hardly updated late in training, and only the last ones?",
    quote="most of the model is poorly updated towards the end of training",
    estimand="relative update ‖W − W₀‖ / ‖W₀‖ of the first block over the last block's, geometric mean over training "
    "seeds: in the window of steps 6,000 to 6,400, and that over the window of steps 400 to 800",
    document="concluded from inversions, without figures",
    procedure=lm.FirstOverLast(of="updates"),
    criteria=(
        lm.Below("late first / last", 0.5, because="hardly any is at most half of what the last block gets"),
        lm.Below(
            "late / early",
            1,
            least=1.25,
            least_because="a quarter less is the least that one would call a change in training",
            because="it is said of the end of training",
        ),
    ),
    subjects=lm.FAMILY,
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=0, full=6, wave=6),
    notes=(
        "The unit is a training: six seeds of each size, the fewest that give an interval.",
        "Both windows are a twentieth of training, behind the warm-up and before the step size falls, so that late "
        "does not mean small steps.",
        "Adam divides the size of a gradient out: what a block is changed by and what gradient reaches it are two "
        "claims, and C57 is the other.",
        "The optimizer is AdamW, with which language models are trained; plain descent is not measured here.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
