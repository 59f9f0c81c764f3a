"""C36: a step size that falls linearly to a tenth is the fastest schedule."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
LINEAR = lm.Sample(stack=BLOCK)
CONSTANT = lm.Sample(stack=BLOCK, schedule=lm.Schedule(shape="constant", end=1.0))
COSINE = lm.Sample(stack=BLOCK, schedule=lm.Schedule(shape="cosine", end=0.1))
HUNDREDTH = lm.Sample(stack=BLOCK, schedule=lm.Schedule(end=0.01))
BECAUSE = "the document calls its schedule empirically the fastest; a tenth is room for noise"

CLAIM = lm.Claim(
    id="C36",
    section="Sentence Representation with Language Models",
    sentence="A step size that falls linearly from η to η/10 reaches the bound in the fewest iterations.",
    estimand="ratio of the median iterations to the bound, another schedule over the linear one, each tuned",
    document="named the fastest, without figures",
    procedure=lm.Inversions(
        samples=(("linear", LINEAR), ("constant", CONSTANT), ("cosine", COSINE), ("to η/100", HUNDREDTH)),
        estimates=(
            lm.HitRatio(name="constant / linear", slow="constant", fast="linear"),
            lm.HitRatio(name="cosine / linear", slow="cosine", fast="linear"),
            lm.HitRatio(name="to η/100 / linear", slow="to η/100", fast="linear"),
        ),
    ),
    criteria=(
        lm.AtLeast("constant / linear", 0.9, because=BECAUSE),
        lm.AtLeast("cosine / linear", 0.9, because=BECAUSE),
        lm.AtLeast("to η/100 / linear", 0.9, because=BECAUSE),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=(
        "Where the bound is met early in a long schedule the step size has hardly fallen, and schedules can hardly "
        "differ: the hit depends on N.",
        "Under the script's protocol all four have one fixed step size.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
