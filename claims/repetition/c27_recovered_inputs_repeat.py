"""C27: inputs recovered from a trained model repeat themselves."""

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
    Mean,
    Repetition,
    Sample,
    Stack,
    Units,
    Verdict,
)

BLOCK = Sample(stack=Stack(blocks=1), iterations=300, read_at="N", snapshots=(30, 100))

CLAIM = Claim(
    id="C27",
    section="Representation Repetitions",
    sentence="Inputs that descent recovers from a trained block repeat their own tokens.",
    estimand="share of repeated tokens in the five decoded rows of e_N minus that of the same run's e₀, paired",
    document="practically every poorly formed example repeats itself",
    procedure=Inversions(
        samples=(("trained", BLOCK),),
        estimates=(
            Difference(
                name="repetition, end − start",
                more=("trained", Repetition("end")),
                less=("trained", Repetition("start")),
            ),
            Mean(name="repetition at the end", of="trained", reading=Repetition("end")),
            Mean(name="repetition at the start", of="trained", reading=Repetition("start")),
        ),
    ),
    criteria=(Above("repetition, end − start", 0, because="the descent, not the start, must have brought it about"),),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=1),
    notes=("The page's start N(1/2, 1/20²) alone already decodes to heavy repetition.",),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
