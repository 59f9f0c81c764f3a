"""C53: the head makes descent harder than one more block does."""

import engine as lm

CLAIM = lm.Claim(
    id="C53",
    section="Language models become less trainable as they are trained",
    sentence="It is the language-model head above all that makes descent on a trained model hard: behind one block it "
    "costs more iterations than a second block.",
    question="Does the output head cost more iterations than a second block?",
    quote="language modeling heads (transformations from hidden space to output tokens) are particularly difficult to "
    "optimize across",
    estimand="ratio of the median iterations to the bound, one block and head over two blocks, each tuned",
    document="the head is named as what is particularly hard to optimize across, without figures",
    procedure=lm.Inversions(
        samples=(
            ("1 block and head", lm.Sample(stack=lm.Stack(blocks=1, head=True))),
            ("2 blocks", lm.Sample(stack=lm.Stack(blocks=2))),
            ("1 block", lm.Sample(stack=lm.Stack(blocks=1))),
        ),
        estimates=(
            lm.HitRatio(name="head / block", slow="1 block and head", fast="2 blocks"),
            lm.HitRatio(name="2 blocks / 1 block", slow="2 blocks", fast="1 block"),
        ),
    ),
    criteria=(
        lm.Above(
            "head / block",
            1,
            least=1.5,
            least_because="half as many iterations again; the document gives no figure",
            because="the head is the harder of the two",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=("The bound is taken at the output that is inverted, so it is not the same distance on all three.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
