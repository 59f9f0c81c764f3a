"""C08: more iterations come closer and recover more."""

from engine import (
    CONTROLLED,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2_UNTRAINED,
    Above,
    Below,
    Claim,
    Difference,
    Exact,
    InputDistance,
    Inversions,
    Rate,
    Sample,
    Stack,
    Trend,
    Units,
    Verdict,
)

HEAD = Stack(blocks=1, head=True)
SHORT, HUNDREDS, THOUSAND, THOUSANDS = (Sample(stack=HEAD, iterations=n, read_at="N") for n in (100, 300, 1000, 3000))
CLOSER = "the document says that the distance falls as N grows"

CLAIM = Claim(
    id="C08",
    section="Language models translate nonsense into sense",
    sentence="More iterations bring the found input closer to the prompt and recover it exactly more often; at N = "
    "1000 "
    "most are close but not equal.",
    estimand="‖e − e_N‖₂ at one N minus at the next, paired; exact rate at N = 1000; exact at 3000 minus at 1000",
    document="most are close but not quite equal for N = 1000",
    procedure=Inversions(
        samples=(("N = 100", SHORT), ("N = 300", HUNDREDS), ("N = 1000", THOUSAND), ("N = 3000", THOUSANDS)),
        estimates=(
            Difference(
                name="‖e − e_N‖₂, 100 − 300", more=("N = 100", InputDistance()), less=("N = 300", InputDistance())
            ),
            Difference(
                name="‖e − e_N‖₂, 300 − 1000", more=("N = 300", InputDistance()), less=("N = 1000", InputDistance())
            ),
            Difference(
                name="‖e − e_N‖₂, 1000 − 3000", more=("N = 1000", InputDistance()), less=("N = 3000", InputDistance())
            ),
            Trend(
                name="‖e − e_N‖₂ over N, τ",
                over=("N = 100", "N = 300", "N = 1000", "N = 3000"),
                reading=InputDistance(),
            ),
            Rate(name="exact rate at 1000", of="N = 1000", reading=Exact()),
            Difference(name="exact, 3000 − 1000", more=("N = 3000", Exact()), less=("N = 1000", Exact())),
        ),
    ),
    criteria=(
        Above("‖e − e_N‖₂, 100 − 300", 0, because=CLOSER),
        Above("‖e − e_N‖₂, 300 − 1000", 0, because=CLOSER),
        Above("‖e − e_N‖₂, 1000 − 3000", 0, because=CLOSER),
        Below("exact rate at 1000", 0.5, because="the document says that most are not quite equal"),
        Above("exact, 3000 − 1000", 0, because="the document says that further iterations recover more"),
    ),
    subjects=(GPT2_UNTRAINED, SMOLLM2_UNTRAINED),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, standard=0),
    notes=("Each N is a descent of its own: the step size falls along N.",),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
