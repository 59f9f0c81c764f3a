"""C16: removing the language-model head cuts the iterations more than a hundredfold."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    Claim,
    HitRatio,
    Inversions,
    Sample,
    Stack,
    Units,
    Verdict,
)

CLAIM = Claim(
    id="C16",
    section="Language models become less trainable as they are trained",
    sentence="Without the language-model head, one trained block's output comes within the shift bound in less than a "
    "hundredth of the iterations: the head is a gradient bottleneck.",
    estimand="ratio of the median iterations to the bound, with the head over without, the step size tuned for each",
    document="a factor of more than 100",
    procedure=Inversions(
        samples=(
            ("with head", Sample(stack=Stack(blocks=1, head=True))),
            ("without head", Sample(stack=Stack(blocks=1))),
        ),
        estimates=(HitRatio(name="ratio", slow="with head", fast="without head"),),
    ),
    criteria=(
        Above("ratio", 1, because="the direction of the claim", role="direction"),
        Above("ratio", 100, because="the document says more than 100", role="magnitude"),
    ),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
    notes=(
        "The bound is taken at the output that is inverted, so with and without head it is not the same distance.",
        "The direction agrees with 'Lost in Backpropagation' (arXiv 2603.10145), which measures it in training.",
    ),
    factors=("start", "positions", "bound", "σ", "metric", "cap", "schedule", "prompts"),
    pilot_seen=True,
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
