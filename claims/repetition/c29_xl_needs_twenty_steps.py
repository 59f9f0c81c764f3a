"""C29: for one block of gpt2-xl twenty steps suffice."""

from engine import (
    CONTROLLED,
    GPT2_XL,
    PAGE,
    SCRIPT,
    AtLeast,
    Claim,
    HitRate,
    Inversions,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK = Sample(stack=Stack(blocks=1), iterations=20)

CLAIM = Claim(
    id="C29",
    section="Representation Repetitions",
    sentence="For one block of gpt2-xl twenty iterations suffice to come within the shift bound.",
    estimand="share of units that hit within 20 iterations",
    document="20 iterations, more than enough",
    procedure=Inversions(samples=(("1 block", BLOCK),), estimates=(HitRate(name="hit rate (20 steps)", of="1 block"),)),
    criteria=(AtLeast("hit rate (20 steps)", 0.9, because="the document calls them more than enough"),),
    subjects=(GPT2_XL,),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
