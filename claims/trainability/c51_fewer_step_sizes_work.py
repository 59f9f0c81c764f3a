"""C51: a trained model's descent needs its step size tuned carefully; an untrained one's does not."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
OCTAVES = tuple(2.0**k for k in range(-3, 4))
TRAINED, UNTRAINED = (tuple(f"{name}, {factor:g} × η" for factor in OCTAVES) for name in ("trained", "untrained"))

CLAIM = lm.Claim(
    id="C51",
    section="Language models become less trainable as they are trained",
    sentence="With the head, a trained block's descent works at fewer step sizes than an untrained one's: it needs η "
    "to be tuned carefully.",
    question="Does a trained block need a more carefully tuned step size than an untrained one?",
    quote="the model appears to be very poorly conditioned such that using gradient descent to modify an input to "
    "match some output requires careful tuning",
    estimand="number of step sizes, of seven at factors of two around the tuned one, at which a unit's descent comes "
    "within the bound by the cap; untrained minus trained, paired by prompt and start",
    document="careful tuning is called necessary for the trained model, without figures",
    procedure=lm.Inversions(
        samples=(
            *((name, lm.Sample(stack=HEAD, step_factor=f)) for name, f in zip(TRAINED, OCTAVES, strict=True)),
            *(
                (name, lm.Sample(stack=HEAD, weights="random", step_factor=f))
                for name, f in zip(UNTRAINED, OCTAVES, strict=True)
            ),
        ),
        estimates=(lm.HitWidth(name="octaves, untrained − trained", more=UNTRAINED, less=TRAINED),),
    ),
    criteria=(
        lm.Above(
            "octaves, untrained − trained",
            0,
            least=1,
            least_because="a factor of two in η; the document gives no figure",
            because="the trained model's range is the narrower one",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0, full=12),
    notes=("Seven step sizes span a factor of 64; a range that is wider than that counts as seven.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
