"""C25: fully connected nets do not let the input move more than three times as far as the output."""

import engine as lm

CLAIM = lm.Claim(
    id="C25",
    section="Clamped Gradient Walk Representations",
    sentence="On fully connected nets the clamped walk does not move the input more than three times as far as the "
    "output.",
    question="Does the clamped walk move a net's input at most threefold farther than its output?",
    quote="the fully connected model, which generally does not yield an",
    estimand="r = ‖e − e_N‖₁ / ‖ΔO‖₁ at a tenth of ‖e‖₁, and r over that of a random step of equal ‖e − e_N‖₁, one "
    "descent step after each shift, for the net over the whole sentence and the net over each token",
    document="generally no r above 3 without substantial tuning",
    procedure=lm.ClampedGain(
        walks=(
            ("sentence net", lm.ClampedWalk(stack=lm.SentenceNet(tokens=5), first_tokens=5)),
            ("token net", lm.ClampedWalk(stack=lm.TokenNet())),
        )
    ),
    criteria=(
        lm.AtMost("r, sentence net", 3, because="the document sees no r above 3"),
        lm.AtMost("r, token net", 3, because="the document sees no r above 3"),
        lm.AtMost("gain, sentence net", 3, because="the document sees no ratio above 3"),
        lm.AtMost("gain, token net", 3, because="the document sees no ratio above 3"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    figures=(("r, sentence net", 3), ("r, token net", 3)),
    notes=(
        "The grid of settings is widened until the best lies inside; the criteria were fixed before.",
        "The document speaks of r, which compares distances in two spaces whose scales differ. So it is also held "
        "against the r of a random step of the same size.",
        "The settings are the best of 24 and more on four walks of their own, the same 24 as for the blocks.",
        "The net over a whole sentence takes the first five tokens of each prompt.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
