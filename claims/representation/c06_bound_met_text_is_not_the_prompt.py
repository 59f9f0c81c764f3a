"""C06: one block with head reaches the shift bound in 100 steps, and yet the text is not the prompt."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2,
    SMOLLM2_UNTRAINED,
    AtLeast,
    AtMost,
    Claim,
    Exact,
    HitRate,
    Inversions,
    Rate,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK_AND_HEAD = Sample(stack=Stack(blocks=1, head=True), iterations=100, read_at="N", snapshots=(20, 50))

CLAIM = Claim(
    id="C06",
    section="Sentence Representation with Language Models",
    sentence="For one block with head, 100 steps bring the output within the shift bound, and yet the decoded text is "
    "not the prompt.",
    estimand="share of units that hit within 100 steps; share decoded exactly at step 100",
    document="one example after 100 steps: inside the bound, none of its tokens the prompt's",
    procedure=Inversions(
        samples=(("1 block + head", BLOCK_AND_HEAD),),
        estimates=(
            HitRate(name="hit rate (1 block + head)", of="1 block + head"),
            Rate(name="exact rate (1 block + head)", of="1 block + head", reading=Exact()),
        ),
    ),
    criteria=(
        AtLeast("hit rate (1 block + head)", 0.9, because="the document states that the bound is met"),
        AtMost("exact rate (1 block + head)", 0.1, because="the document's example is not the prompt"),
    ),
    subjects=(GPT2_UNTRAINED, SMOLLM2, SMOLLM2_UNTRAINED, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
    notes=(
        "The document does not say whether this block is trained, so both are run.",
        "A shift of σ = 1/20 is larger than the whole signal of an untrained embedding (std 0.02) and smaller than a "
        "trained one's: under the page's protocol the bound does not ask the same of both.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
