"""C36: a step size that falls linearly to a tenth is the fastest schedule."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2,
    AtLeast,
    Claim,
    HitRatio,
    Inversions,
    Sample,
    Schedule,
    Stack,
    Units,
    Verdict,
)

BLOCK = Stack(blocks=1)
LINEAR = Sample(stack=BLOCK)
CONSTANT = Sample(stack=BLOCK, schedule=Schedule(shape="constant", end=1.0))
COSINE = Sample(stack=BLOCK, schedule=Schedule(shape="cosine", end=0.1))
HUNDREDTH = Sample(stack=BLOCK, schedule=Schedule(end=0.01))
BECAUSE = "the document calls its schedule empirically the fastest; a tenth is room for noise"

CLAIM = Claim(
    id="C36",
    section="Sentence Representation with Language Models",
    sentence="A step size that falls linearly from η to η/10 reaches the bound in the fewest iterations.",
    estimand="ratio of the median iterations to the bound, another schedule over the linear one, each tuned",
    document="named the fastest, without figures",
    procedure=Inversions(
        samples=(("linear", LINEAR), ("constant", CONSTANT), ("cosine", COSINE), ("to η/100", HUNDREDTH)),
        estimates=(
            HitRatio(name="constant / linear", slow="constant", fast="linear"),
            HitRatio(name="cosine / linear", slow="cosine", fast="linear"),
            HitRatio(name="to η/100 / linear", slow="to η/100", fast="linear"),
        ),
    ),
    criteria=(
        AtLeast("constant / linear", 0.9, because=BECAUSE),
        AtLeast("cosine / linear", 0.9, because=BECAUSE),
        AtLeast("to η/100 / linear", 0.9, because=BECAUSE),
    ),
    subjects=(SMOLLM2, GPT2_UNTRAINED, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
    only_at_full_effort=(GPT2_UNTRAINED,),
    notes=(
        "Where the bound is met early in a long schedule the step size has hardly fallen, and schedules can hardly "
        "differ: the hit depends on N.",
        "Under the script's protocol all four have one fixed step size.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
