"""C14: from a start beside the target the output stays close and the text leaves the prompt."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    AtMost,
    Below,
    Claim,
    GeometricMean,
    Inversions,
    Mean,
    OutputDistance,
    Ratio,
    Recovery,
    Sample,
    Stack,
    Units,
    Verdict,
)

HEAD = Stack(blocks=1, head=True)
BESIDE = Sample(stack=HEAD, iterations=1000, read_at="N", sigma=0.01, blend=(0.001, 0.999), snapshots=(100, 300))
FAR = Sample(stack=HEAD, iterations=1000, read_at="N", sigma=0.01, blend=(1.0, 1.0), snapshots=(100, 300))

CLAIM = Claim(
    id="C14",
    section="Language models become less trainable as they are trained",
    sentence="Started at 0.001·noise + 0.999·e the output ends very close and yet the text has left the prompt; "
    "started "
    "at noise + e it ends farther at equal N.",
    estimand="distance at N = 1000 over m(1/100); recovery at N; final distance of the start (1, 1) over that of "
    "(0.001, 0.999), paired",
    document="one example each: close even for a very small shift, two of six tokens kept",
    procedure=Inversions(
        samples=(("(0.001, 0.999)", BESIDE), ("(1, 1)", FAR)),
        estimates=(
            GeometricMean(name="distance / m(1/100)", of="(0.001, 0.999)", reading=OutputDistance(in_bounds=True)),
            Mean(name="recovery", of="(0.001, 0.999)", reading=Recovery()),
            Ratio(
                name="distance, (1, 1) / (0.001, 0.999)",
                over=("(1, 1)", OutputDistance()),
                under=("(0.001, 0.999)", OutputDistance()),
            ),
        ),
    ),
    criteria=(
        Below("distance / m(1/100)", 1, because="the document says that even a very close shift's bound holds"),
        AtMost("recovery", 0.5, because="the document's example has lost most of the prompt"),
        Above("distance, (1, 1) / (0.001, 0.999)", 1, because="the document says that more iterations are needed"),
    ),
    subjects=(SMOLLM2, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, standard=0),
    notes=(
        "The start lies inside the bound already, so it is read at N and never at the hit.",
        "Under the controlled protocol the bound is a share of the run's own start distance, which is small here.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
