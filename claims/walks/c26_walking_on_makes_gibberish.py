"""C26: walking on turns a trained model's sentence into gibberish while its output stays close."""

import engine as lm

CLAIM = lm.Claim(
    id="C26",
    section="Clamped Gradient Walk Representations",
    sentence="The longer the clamped walk through twelve blocks of a trained model, the fewer tokens of the sentence "
    "are left, while the output stays within the shift bound.",
    question="Does a longer clamped walk lose the prompt while the output stays close?",
    quote="Once again, we find that the trained GPT-2 approximates an English sentence with gibberish",
    estimand="recovery after 10, 30, 100 and 300 outer steps, paired differences of neighbours; share of "
    "positions whose token is among the five most activated after 300; the largest ‖ΔO‖₁ of these over m(1/20)",
    document="shown by one sentence",
    procedure=lm.ClampedText(),
    criteria=(
        *(
            lm.Above(
                f"recovery({early}) − recovery({late})",
                0,
                least=0.1,
                least_because="less than one token in ten is no finding",
                because="the longer the walk, the less is left of the sentence",
            )
            for early, late in ((10, 30), (30, 100), (100, 300))
        ),
        lm.AtMost("top five after 300", 0.5, because="the text is lost among the five likeliest tokens, too"),
        lm.Below("largest ‖ΔO‖₁ / m", 1, because="the output stays as close as a shift of 1/20 leaves it"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=(
        "The grid was widened once, after trial walks on two prompts had put the best on its edge; the criteria "
        "were fixed before.",
        "The settings are the best of 12 on two walks of their own: of those that keep the output within m up to step "
        "100, the one that leaves the fewest tokens.",
        "m stands for the shift bound under every protocol. Recovery is judged on units whose ceiling is 1.",
    ),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures how far an input can be walked within a bound on the output; the ladder adds that the "
        "sentence is found again once float noise takes the place of the bound.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
