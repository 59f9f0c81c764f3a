"""C20: an untrained block's inversion decodes to likely words, a trained one's to words hardly ever seen."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    Claim,
    Difference,
    Inversions,
    LogFrequency,
    Mean,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK = Stack(blocks=1)
SNAPSHOTS = (30, 100)

CLAIM = Claim(
    id="C20",
    section="Approximate Token Mapping",
    sentence="What an untrained block's inversion decodes to are words likely to be found in text; a trained block's "
    "are "
    "hardly ever seen.",
    estimand="mean log₁₀ word frequency of the decoded tokens that begin a word, recovered positions left out, "
    "untrained "
    "minus trained, paired by prompt and start",
    document="one example each, judged by eye",
    procedure=Inversions(
        samples=(
            (
                "untrained",
                Sample(stack=BLOCK, iterations=300, weights="random", read_at="N", snapshots=SNAPSHOTS),
            ),
            ("trained", Sample(stack=BLOCK, iterations=300, read_at="N", snapshots=SNAPSHOTS)),
        ),
        estimates=(
            Difference(name="difference", more=("untrained", LogFrequency()), less=("trained", LogFrequency())),
            Mean(name="log₁₀ frequency (untrained)", of="untrained", reading=LogFrequency()),
            Mean(name="log₁₀ frequency (trained)", of="trained", reading=LogFrequency()),
        ),
        vocabulary=True,
    ),
    criteria=(Above("difference", 0, because="the untrained block's words are the likelier ones"),),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0),
    notes=(
        "Frequencies are those of the wordfreq package; words below 10⁻⁸, or unknown to it, count as 10⁻⁸.",
        "Tokens drawn from the vocabulary at random have the frequency shown for the whole vocabulary.",
        "A unit without a decoded word among its missed positions has no value, and its pair is left out.",
        "Several of the page's odd words are under-trained tokens, which the pseudo-inverse's argmax may favour.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
