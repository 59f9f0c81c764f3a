"""C38: at one block gpt2-xl is easier to invert than gpt2."""

from engine import (
    CONTROLLED,
    GPT2_XL,
    PAGE,
    SCRIPT,
    Above,
    Claim,
    HitRatio,
    Inversions,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK = Stack(blocks=1)

CLAIM = Claim(
    id="C38",
    section="Representation Repetitions",
    sentence="At one block, gpt2-xl's output is brought within the shift bound in fewer iterations than gpt2's.",
    estimand="ratio of the median iterations to the bound, gpt2 over gpt2-xl, each tuned, no head",
    document="called perhaps easier, without figures",
    procedure=Inversions(
        samples=(("base", Sample(stack=BLOCK, subject="gpt2")), ("xl", Sample(stack=BLOCK))),
        estimates=(HitRatio(name="base / xl", slow="base", fast="xl"),),
    ),
    criteria=(Above("base / xl", 1, because="easier is fewer iterations"),),
    subjects=(GPT2_XL,),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
    needs_subjects=("gpt2",),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
