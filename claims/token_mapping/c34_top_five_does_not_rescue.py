"""C34: looking at the five most activated tokens does not rescue the trained block."""

import engine as lm

BLOCK = lm.Sample(stack=lm.Stack(blocks=1), iterations=1000, read_at="N", snapshots=(30, 100, 300))

CLAIM = lm.Claim(
    id="C34",
    section="Approximate Token Mapping",
    sentence="Among the five most activated tokens of a trained block's inversion the target is hardly ever found "
    "either.",
    question="Is the prompt missing even from a trained block's five likeliest tokens?",
    quote="a model composed of a single trained GPT-2 transformer block (no language modeling head) yields only "
    "gibberish as well",
    estimand="share of positions whose target is among the five most activated tokens at N = 1000",
    document="one example of five rows, all gibberish",
    procedure=lm.Inversions(
        samples=(("trained", BLOCK),),
        estimates=(
            lm.Mean(name="target in top-5", of="trained", reading=lm.InTopFive()),
            lm.Mean(name="target in top-1", of="trained", reading=lm.Recovery()),
        ),
    ),
    criteria=(lm.AtMost("target in top-5", 0.2, because="gibberish is at most one token in five"),),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    factors=("η",),
    notes=(
        "Restricted to the prompt's own tokens a trained block recovers them, by a later page of the same site.",
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
    ),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures the five likeliest tokens after joint descent; the ladder adds what becomes of "
        "candidates that a forward pass checks.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
