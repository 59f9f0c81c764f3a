"""C08: more iterations come closer and recover more."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
SHORT, HUNDREDS, THOUSAND, THOUSANDS = (
    lm.Sample(stack=HEAD, iterations=n, read_at="N") for n in (100, 300, 1000, 3000)
)
CLOSER = "the document says that the distance falls as N grows"

CLAIM = lm.Claim(
    id="C08",
    section="Language models translate nonsense into sense",
    sentence="More iterations bring the found input closer to the prompt and recover it exactly more often; at N = "
    "1000 most are close but not equal.",
    estimand="‖e − e_N‖₂ at one N minus at the next, paired; exact rate at N = 1000; exact at 3000 minus at 1000",
    document="most are close but not quite equal for N = 1000",
    procedure=lm.Inversions(
        samples=(("N = 100", SHORT), ("N = 300", HUNDREDS), ("N = 1000", THOUSAND), ("N = 3000", THOUSANDS)),
        estimates=(
            lm.Difference(
                name="‖e − e_N‖₂, 100 − 300", more=("N = 100", lm.InputDistance()), less=("N = 300", lm.InputDistance())
            ),
            lm.Difference(
                name="‖e − e_N‖₂, 300 − 1000",
                more=("N = 300", lm.InputDistance()),
                less=("N = 1000", lm.InputDistance()),
            ),
            lm.Difference(
                name="‖e − e_N‖₂, 1000 − 3000",
                more=("N = 1000", lm.InputDistance()),
                less=("N = 3000", lm.InputDistance()),
            ),
            lm.Trend(
                name="‖e − e_N‖₂ over N, τ",
                over=("N = 100", "N = 300", "N = 1000", "N = 3000"),
                reading=lm.InputDistance(),
            ),
            lm.Rate(name="exact rate at 1000", of="N = 1000", reading=lm.Exact()),
            lm.Difference(name="exact, 3000 − 1000", more=("N = 3000", lm.Exact()), less=("N = 1000", lm.Exact())),
        ),
    ),
    criteria=(
        lm.Above("‖e − e_N‖₂, 100 − 300", 0, because=CLOSER),
        lm.Above("‖e − e_N‖₂, 300 − 1000", 0, because=CLOSER),
        lm.Above("‖e − e_N‖₂, 1000 − 3000", 0, because=CLOSER),
        lm.Below("exact rate at 1000", 0.5, because="the document says that most are not quite equal"),
        lm.Above("exact, 3000 − 1000", 0, because="the document says that further iterations recover more"),
    ),
    subjects=(lm.GPT2_UNTRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=("Each N is a descent of its own: the step size falls along N.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
