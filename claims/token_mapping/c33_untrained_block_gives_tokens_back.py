"""C33, the central one: an untrained block gives its tokens back, a trained one does not."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
SNAPSHOTS = (30, 100, 300)

CLAIM = lm.Claim(
    id="C33",
    section="Approximate Token Mapping",
    sentence="Descent to one block's output gives the input tokens back from an untrained block but not from a trained "
    "one.",
    question="Does an untrained block give its input tokens back where a trained one does not?",
    quote="we can recover these tokens from untrained but not trained language model transformer blocks",
    estimand="recovery at N = 1000 of the untrained block minus the trained block's, paired by prompt and start",
    document="shown by examples",
    procedure=lm.Inversions(
        samples=(
            (
                "untrained",
                lm.Sample(stack=BLOCK, iterations=1000, weights="random", read_at="N", snapshots=SNAPSHOTS),
            ),
            ("trained", lm.Sample(stack=BLOCK, iterations=1000, read_at="N", snapshots=SNAPSHOTS)),
        ),
        estimates=(
            lm.Difference(name="difference", more=("untrained", lm.Recovery()), less=("trained", lm.Recovery())),
        ),
    ),
    criteria=(lm.AtLeast("difference", 0.5, because="one gives the tokens back and the other does not"),),
    subjects=(*lm.TRAINED, *lm.FAMILY),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=lm.FAMILY,
    # Neither the bound nor σ enters what is recovered at N.
    factors=("η", "start", "positions", "metric", "cap", "schedule", "prompts"),
    notes=(
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
        "What joint descent does not find is not thereby lost: hidden states identify the prompt almost surely "
        "(arXiv 2510.15511), and descent in embedding space can work (arXiv 2607.00852).",
        "Under the page's protocol trained and untrained embeddings start at very different relative distances.",
    ),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures what one method brings back; the ladder adds what each change of the method brings "
        "back from a trained block.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
