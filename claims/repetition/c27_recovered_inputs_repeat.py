"""C27: inputs recovered from a trained model repeat themselves."""

import engine as lm

BLOCK = lm.Sample(stack=lm.Stack(blocks=1), iterations=300, read_at="N", snapshots=(30, 100))

CLAIM = lm.Claim(
    id="C27",
    section="Representation Repetitions",
    sentence="Inputs that descent recovers from a trained block repeat their own tokens.",
    question="Do inputs recovered from a trained block repeat their own tokens?",
    quote="practically every example of a poorly-formed input representation we have seen on this page suffers from "
    "some degree or other of repetition",
    estimand="share of repeated tokens in the five decoded rows of e_N minus that of the same run's e₀, paired",
    document="practically every poorly formed example repeats itself",
    procedure=lm.Inversions(
        samples=(("trained", BLOCK),),
        estimates=(
            lm.Difference(
                name="repetition, end − start",
                more=("trained", lm.Repetition("end")),
                less=("trained", lm.Repetition("start")),
            ),
            lm.Mean(name="repetition at the end", of="trained", reading=lm.Repetition("end")),
            lm.Mean(name="repetition at the start", of="trained", reading=lm.Repetition("start")),
        ),
    ),
    criteria=(
        lm.Above(
            "repetition, end − start",
            0,
            least=0.1,
            least_because="less than one token in ten is not what practically every example shows",
            because="the descent, not the start, must have brought it about",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=1),
    factors=("η",),
    notes=("The page's start N(1/2, 1/20²) alone already decodes to heavy repetition.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
