"""C17: without the head the bound is met and the text is still unrecognizable."""

import engine as lm

BLOCK = lm.Sample(stack=lm.Stack(blocks=1), iterations=1000, read_at="N", snapshots=(30, 100, 300))

CLAIM = lm.Claim(
    id="C17",
    section="Language models become less trainable as they are trained",
    sentence="Without the head the bound is met, and still the decoded text is unrecognizable.",
    question="Is the text still unrecognizable once a trained block's output is matched?",
    quote="even these embeddings map to inputs that are more or less completely unrecognizable",
    estimand="recovery at N = 1000 among units whose output is inside the bound",
    document="one example, none of its tokens the prompt's",
    procedure=lm.Inversions(
        samples=(("trained", BLOCK),),
        estimates=(
            lm.Mean(name="recovery (inside the bound)", of="trained", reading=lm.Recovery(), among=(lm.InsideBound(),)),
            lm.Rate(name="inside the bound", of="trained", reading=lm.InsideBound()),
        ),
    ),
    criteria=(lm.AtMost("recovery (inside the bound)", 0.2, because="unrecognizable is at most one token in five"),),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    factors=("η",),
    notes=(
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
        "What joint descent does not find is not thereby lost: hidden states identify the prompt almost surely "
        "(arXiv 2510.15511).",
    ),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures what is decoded once a bound is met; the ladder adds what is found by going on to "
        "float noise.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
