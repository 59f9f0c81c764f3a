"""C18: the five nearest tokens of the wide net's inversion are the target's own neighbours."""

import engine as lm

WIDE = lm.Sample(stack=lm.SentenceNet(tokens=5), iterations=300, read_at="N", first_tokens=5, snapshots=(60, 100))

CLAIM = lm.Claim(
    id="C18",
    section="Approximate Token Mapping",
    sentence="The inverted wide net decodes to the prompt, and its five most activated tokens are near it in meaning.",
    question="Do the wide net's five likeliest tokens stay near the prompt in meaning?",
    quote="one can see that successive outputs are semantically similar",
    estimand="exact rate; share of the five tokens that e itself decodes to, at each position, that e_N's five hold",
    document="one example: first row exact, the others synonyms and inflections",
    procedure=lm.Inversions(
        samples=(("wide net", WIDE),),
        estimates=(
            lm.Rate(name="exact rate", of="wide net", reading=lm.Exact()),
            lm.Mean(name="top-five overlap", of="wide net", reading=lm.TopFiveOverlap()),
        ),
    ),
    criteria=(
        lm.AtLeast("exact rate", 0.8, because="the document's first row is the prompt (as C03)"),
        lm.AtLeast("top-five overlap", 0.8, because="what e itself decodes to is the reference for being near"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0, wave=36),
    notes=("Nearness in meaning is that of the embedding matrix alone: the net, which is random, adds nothing to it.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
