"""C11: through one block and the head, a trained model needs on the order of a hundred times the iterations."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)

CLAIM = lm.Claim(
    id="C11",
    section="Language models become less trainable as they are trained",
    sentence="To bring one block's logits within the shift bound takes about a hundred times as many iterations on a "
    "trained model as on the same model untrained.",
    question="Does a trained block need a hundred times the iterations of an untrained one?",
    quote="on the order to one hundred times as many as for the untrained model to be precise",
    estimand="ratio of the median iterations to the bound, trained over untrained, each with its own tuned step size",
    document="on the order of one hundred times as many",
    procedure=lm.Inversions(
        samples=(("trained", lm.Sample(stack=HEAD)), ("untrained", lm.Sample(stack=HEAD, weights="random"))),
        estimates=(lm.HitRatio(name="ratio", slow="trained", fast="untrained"),),
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
        lm.AtLeast("ratio", 30, because="the order of a hundred begins at about thirty", role="magnitude"),
    ),
    subjects=(*lm.TRAINED, *lm.FAMILY),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=lm.FAMILY,
    figures=(("ratio", 100),),
    notes=(
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
        "Under the page's protocol the bound asks less of the untrained model: a shift of 1/20 is larger than its "
        "whole embedding. The controlled protocol gives both arms the same share of their start distance to go.",
        "A median that no run reached by the cap is somewhere beyond it, and the ratio's upper end is then infinite.",
    ),
    factors=("η", "start", "positions", "bound", "σ", "metric", "cap", "schedule", "prompts"),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
