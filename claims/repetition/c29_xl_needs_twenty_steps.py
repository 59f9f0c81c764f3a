"""C29: for one block of gpt2-xl twenty steps suffice."""

import engine as lm

BLOCK = lm.Sample(stack=lm.Stack(blocks=1), iterations=20)

CLAIM = lm.Claim(
    id="C29",
    section="Representation Repetitions",
    sentence="For one block of gpt2-xl twenty iterations suffice to come within the shift bound.",
    question="Are twenty iterations enough to match one block of gpt2-xl?",
    quote="a mere 20 iterations of gradient descent is more than enough to satisfy the desired inequality",
    estimand="share of units that hit within 20 iterations",
    document="20 iterations, more than enough",
    procedure=lm.Inversions(
        samples=(("1 block", BLOCK),), estimates=(lm.HitRate(name="hit rate (20 steps)", of="1 block"),)
    ),
    criteria=(lm.AtLeast("hit rate (20 steps)", 0.9, because="the document calls them more than enough"),),
    subjects=(lm.GPT2_XL,),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
