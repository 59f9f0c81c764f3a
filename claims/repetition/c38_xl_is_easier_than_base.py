"""C38: at one block gpt2-xl is easier to invert than gpt2."""

import engine as lm

BLOCK = lm.Stack(blocks=1)

CLAIM = lm.Claim(
    id="C38",
    section="Representation Repetitions",
    sentence="At one block, gpt2-xl's output is brought within the shift bound in fewer iterations than gpt2's.",
    question="Does one block of gpt2-xl need fewer iterations than one of gpt2?",
    quote="optimizing an input to match the output of the first transformer block is perhaps easier than it was for "
    "the gpt2-base model",
    estimand="ratio of the median iterations to the bound, gpt2 over gpt2-xl, each tuned, no head",
    document="called perhaps easier, without figures",
    procedure=lm.Inversions(
        samples=(("base", lm.Sample(stack=BLOCK, subject="gpt2")), ("xl", lm.Sample(stack=BLOCK))),
        estimates=(lm.HitRatio(name="base / xl", slow="base", fast="xl"),),
    ),
    criteria=(
        lm.Above(
            "base / xl",
            1,
            least=1.5,
            least_because="half as many iterations again; the document gives no figure",
            because="easier is fewer iterations",
        ),
    ),
    subjects=(lm.GPT2_XL,),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    needs_subjects=("gpt2",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
