"""A02: the logits at every position determine the prompt as well."""

import engine as lm

SEARCHES = (
    ("1 block and head", lm.Search(stack=lm.Stack(blocks=1, head=True), margins=8)),
    (
        "12 blocks and head",
        lm.Search(
            stack=lm.Stack(blocks=12, head=True), margins=2, units=lm.Units(smoke=0, standard=0, full=16, wave=16)
        ),
    ),
)

CLAIM = lm.Claim(
    id="A02",
    section="Recovery from activations",
    sentence="The logits that the head gives at every position determine the prompt, and it can be found from them "
    "alone.",
    question="Can the exact prompt be found from the scores that the output head gives?",
    estimand="rate at which prompts come back token for token from logits, one token and no other of those checked "
    "matching at each position; the share of those tried beside it, and the whole vocabulary at a few positions",
    document="the document finds the head a bottleneck of descent; it does not ask what logits hold",
    procedure=lm.Searches(
        samples=SEARCHES,
        estimates=(
            *(lm.Recovered(name=f"recovered, {name}", of=name) for name, _ in SEARCHES),
            *(lm.RecoveryRate(name=f"rate, {name}", of=name) for name, _ in SEARCHES),
            *(lm.Distinguishable(name=f"told apart, {name}", of=name) for name, _ in SEARCHES),
            *(lm.CheckSpeedup(name=f"fewer checks than blind, {name}", of=name) for name, _ in SEARCHES),
        ),
    ),
    criteria=tuple(
        lm.AtLeast(f"rate, {name}", 0.8, because="the bar of C03, where the document calls a net inverted")
        for name, _ in SEARCHES
    ),
    subjects=(*lm.TRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=0, full=16, wave=16),
    notes=(
        "Amended: the rate is judged by its interval, as in A01. The bar was set when every prompt tried was known to "
        "come back.",
        "A head with more outputs than inputs, and of full rank, hides nothing: hidden states are read back from "
        "logits by its pseudo-inverse, and all that follows sees those. Their float32 sums are most of the noise, so "
        "margins are told too small rather than too large.",
        "Descent goes down the L¹ distance of logits, as the document's does; distances of candidates are ‖z − z*‖₂ / "
        "‖z*‖₂.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
