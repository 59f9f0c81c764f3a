"""C19: of the per-token net's inversion only the first one or two choices are recognizable."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    AtLeast,
    Claim,
    Difference,
    Inversions,
    Mean,
    Recovery,
    Sample,
    SentenceNet,
    TokenNet,
    TopFiveOverlap,
    Units,
    Verdict,
)

TOKENWISE = Sample(stack=TokenNet(), iterations=300, read_at="N", first_tokens=5, snapshots=(60, 100))
WIDE = Sample(
    stack=SentenceNet(tokens=5),
    iterations=300,
    read_at="N",
    first_tokens=5,
    snapshots=(60, 100),
    units=Units(smoke=0, standard=0),
)

CLAIM = Claim(
    id="C19",
    section="Approximate Token Mapping",
    sentence="Of the inverted per-token net, whose output is no wider than its input, only the first one or two "
    "choices "
    "are recognizable.",
    estimand="recovery (target in top-1); top-five overlap of the wide net minus that of the per-token net, paired",
    document="one example: first row the prompt, the third and later ones not",
    procedure=Inversions(
        samples=(("per-token net", TOKENWISE), ("wide net", WIDE)),
        estimates=(
            Mean(name="recovery", of="per-token net", reading=Recovery()),
            Difference(
                name="overlap, wide − per-token",
                more=("wide net", TopFiveOverlap()),
                less=("per-token net", TopFiveOverlap()),
            ),
            Mean(name="top-five overlap", of="per-token net", reading=TopFiveOverlap()),
        ),
    ),
    criteria=(
        AtLeast("recovery", 0.5, because="the document's first row is recognizable"),
        Above("overlap, wide − per-token", 0, because="the other choices are less recognizable than the wide net's"),
    ),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=1),
    notes=("The first five tokens of each prompt, so that both nets see the same.",),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
