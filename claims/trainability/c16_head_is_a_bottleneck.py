"""C16: removing the language-model head cuts the iterations more than a hundredfold."""

import engine as lm

CLAIM = lm.Claim(
    id="C16",
    section="Language models become less trainable as they are trained",
    sentence="Without the language-model head, one trained block's output comes within the shift bound in less than a "
    "hundredth of the iterations: the head is a gradient bottleneck.",
    question="Does the output head slow inversion down a hundredfold?",
    quote="removing the language modeling head reduces the number of iterations required",
    estimand="ratio of the median iterations to the bound, with the head over without, the step size tuned for each",
    document="a factor of more than 100",
    procedure=lm.Inversions(
        samples=(
            ("with head", lm.Sample(stack=lm.Stack(blocks=1, head=True))),
            ("without head", lm.Sample(stack=lm.Stack(blocks=1))),
        ),
        estimates=(lm.HitRatio(name="ratio", slow="with head", fast="without head"),),
    ),
    criteria=(
        lm.Above(
            "ratio",
            1,
            least=3,
            least_because="half an order of magnitude, where the document speaks of two",
            because="the direction of the claim",
            role="direction",
        ),
        lm.Above("ratio", 100, because="the document says more than 100", role="magnitude"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    figures=(("ratio", 100),),
    notes=(
        "The bound is taken at the output that is inverted, so with and without head it is not the same distance.",
        "The direction agrees with 'Lost in Backpropagation' (arXiv 2603.10145), which measures it in training.",
    ),
    factors=("η", "start", "positions", "bound", "σ", "metric", "cap", "schedule", "prompts"),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
