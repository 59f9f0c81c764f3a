"""C20: an untrained block's inversion decodes to likely words, a trained one's to words hardly ever seen."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
SNAPSHOTS = (30, 100)

CLAIM = lm.Claim(
    id="C20",
    section="Approximate Token Mapping",
    sentence="What an untrained block's inversion decodes to are words likely to be found in text; a trained block's "
    "are hardly ever seen.",
    question="Does an untrained block decode to likelier words than a trained one?",
    quote="the words corresponding to the input representation of a trained model are much less likely to exist in a "
    "real sentence than the decoded input representation by an untrained model",
    estimand="mean log₁₀ word frequency of the decoded tokens that begin a word, recovered positions left out, "
    "untrained minus trained, paired by prompt and start",
    document="one example each, judged by eye",
    procedure=lm.Inversions(
        samples=(
            (
                "untrained",
                lm.Sample(stack=BLOCK, iterations=300, weights="random", read_at="N", snapshots=SNAPSHOTS),
            ),
            ("trained", lm.Sample(stack=BLOCK, iterations=300, read_at="N", snapshots=SNAPSHOTS)),
        ),
        estimates=(
            lm.Difference(
                name="difference", more=("untrained", lm.LogFrequency()), less=("trained", lm.LogFrequency())
            ),
            lm.Mean(name="log₁₀ frequency (untrained)", of="untrained", reading=lm.LogFrequency()),
            lm.Mean(name="log₁₀ frequency (trained)", of="trained", reading=lm.LogFrequency()),
        ),
        vocabulary=True,
    ),
    criteria=(
        lm.Above(
            "difference",
            0,
            least=0.3,
            least_because="a word twice as frequent; the document gives no figure",
            because="the untrained block's words are the likelier ones",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    factors=("η",),
    notes=(
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
        "Frequencies are those of the wordfreq package; words below 10⁻⁸, or unknown to it, count as 10⁻⁸.",
        "Tokens drawn from the vocabulary at random have the frequency shown for the whole vocabulary.",
        "A unit without a decoded word among its missed positions has no value, and its pair is left out.",
        "Several of the page's odd words are under-trained tokens, which the pseudo-inverse's argmax may favour.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
