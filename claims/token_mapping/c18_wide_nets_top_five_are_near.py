"""C18: the five nearest tokens of the wide net's inversion are the target's own neighbours."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    AtLeast,
    Claim,
    Exact,
    Inversions,
    Mean,
    Rate,
    Sample,
    SentenceNet,
    TopFiveOverlap,
    Units,
    Verdict,
)

WIDE = Sample(stack=SentenceNet(tokens=5), iterations=300, read_at="N", first_tokens=5, snapshots=(60, 100))

CLAIM = Claim(
    id="C18",
    section="Approximate Token Mapping",
    sentence="The inverted wide net decodes to the prompt, and its five most activated tokens are near it in meaning.",
    estimand="exact rate; share of the five tokens that e itself decodes to, at each position, that e_N's five hold",
    document="one example: first row exact, the others synonyms and inflections",
    procedure=Inversions(
        samples=(("wide net", WIDE),),
        estimates=(
            Rate(name="exact rate", of="wide net", reading=Exact()),
            Mean(name="top-five overlap", of="wide net", reading=TopFiveOverlap()),
        ),
    ),
    criteria=(
        AtLeast("exact rate", 0.8, because="the document's first row is the prompt (as C03)"),
        AtLeast("top-five overlap", 0.8, because="what e itself decodes to is the reference for being near"),
    ),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, standard=0, wave=36),
    notes=("Nearness in meaning is that of the embedding matrix alone: the net, which is random, adds nothing to it.",),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
