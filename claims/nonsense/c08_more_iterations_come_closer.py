"""C08: more iterations come closer and recover more."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
SHORT, HUNDREDS, THOUSAND, THOUSANDS = (
    lm.Sample(stack=HEAD, iterations=n, read_at="N") for n in (100, 300, 1000, 3000)
)
FAR, STEPS = lm.InputDistance(), ((100, 300), (300, 1000), (1000, 3000))
CLOSER = "the document says that the distance falls as N grows"
A_TENTH = "a tenth of the distance; the document gives no figure"

CLAIM = lm.Claim(
    id="C08",
    section="Language models translate nonsense into sense",
    sentence="More iterations bring the found input closer to the prompt and recover it exactly more often; at N = "
    "1000 most are close but not equal.",
    question="Do more iterations come closer to the prompt and recover it more often?",
    quote="a greater probability of recovering the original prompt",
    estimand="‖e − e_N‖₂ at one N over that at the one before, paired; exact rate at N = 1000, and at 3000 minus that",
    document="most are close but not quite equal for N = 1000",
    procedure=lm.Inversions(
        samples=(("N = 100", SHORT), ("N = 300", HUNDREDS), ("N = 1000", THOUSAND), ("N = 3000", THOUSANDS)),
        estimates=(
            *(
                lm.Ratio(name=f"‖e − e_N‖₂, {more} / {less}", over=(f"N = {more}", FAR), under=(f"N = {less}", FAR))
                for less, more in STEPS
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
        *(
            lm.Below(f"‖e − e_N‖₂, {more} / {less}", 1, least=1.1, least_because=A_TENTH, because=CLOSER)
            for less, more in STEPS
        ),
        lm.Below("exact rate at 1000", 0.5, because="the document says that most are not quite equal"),
        lm.Above(
            "exact, 3000 − 1000",
            0,
            least=0.1,
            least_because="less than one prompt in ten is no finding",
            because="the document says that further iterations recover more",
        ),
    ),
    subjects=(lm.GPT2_UNTRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    factors=("η",),
    notes=(
        "On a Llama-like model a page row tests the start more than the claim: RMSNorm does not remove the mean of "
        "N(1/2, 1/20²), and GPT-2's LayerNorm does.",
        "Each N is a descent of its own: the step size falls along N, and is tuned for the distance at that N.",
        "Distances are compared as ratios, so that a model's scale does not decide what counts as closer.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
