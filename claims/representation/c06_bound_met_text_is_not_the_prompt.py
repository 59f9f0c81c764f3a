"""C06: one block with head reaches the shift bound in 100 steps, and yet the text is not the prompt."""

import engine as lm

BLOCK_AND_HEAD = lm.Sample(stack=lm.Stack(blocks=1, head=True), iterations=100, read_at="N", snapshots=(20, 50))

CLAIM = lm.Claim(
    id="C06",
    section="Sentence Representation with Language Models",
    sentence="For one block with head, 100 steps bring the output within the shift bound, and yet the decoded text is "
    "not the prompt.",
    question="Do 100 steps through a block and head match the output but miss the prompt?",
    quote="For the first transformer block (followed by the language modeling head) of GPT, we can see that after 100 "
    "iterations",
    estimand="share of units that hit within 100 steps; share decoded exactly at step 100",
    document="one example after 100 steps: inside the bound, none of its tokens the prompt's",
    procedure=lm.Inversions(
        samples=(("1 block + head", BLOCK_AND_HEAD),),
        estimates=(
            lm.HitRate(name="hit rate (1 block + head)", of="1 block + head"),
            lm.Rate(name="exact rate (1 block + head)", of="1 block + head", reading=lm.Exact()),
        ),
    ),
    criteria=(
        lm.AtLeast("hit rate (1 block + head)", 0.9, because="the document states that the bound is met"),
        lm.AtMost("exact rate (1 block + head)", 0.1, because="the document's example is not the prompt"),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=72, full=72),
    counts_untrained=True,
    notes=(
        "The document does not say whether this block is trained, so both are run.",
        "A shift of σ = 1/20 is larger than the whole signal of an untrained embedding (std 0.02) and smaller than a "
        "trained one's: under the page's protocol the bound does not ask the same of both.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
