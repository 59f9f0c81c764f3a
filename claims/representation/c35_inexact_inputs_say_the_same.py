"""C35: what the narrow net's descent finds is not the prompt, and yet a trained model goes on alike."""

import engine as lm

NARROW = lm.Sample(
    stack=lm.SentenceNet(tokens=5, narrow=True),
    iterations=1000,
    read_at="N",
    first_tokens=5,
    snapshots=(100, 300),
    probe=lm.WHOLE,
)

CLAIM = lm.Claim(
    id="C35",
    section="Sentence Representation with Language Models",
    sentence="Inputs that descent through the narrow net finds, though not exact, give the trained model's same next "
    "token as the prompt.",
    question="Do the narrow net's inexact inputs give the same next token as the prompt?",
    quote="These representations yield the same next character output for a trained GPT-2",
    estimand="share of units, among those that are not decoded exactly at N = 1000, after whose result the whole model "
    "says the same next token as after the prompt's five tokens",
    document="two examples, the same next token for both",
    procedure=lm.Inversions(
        samples=(("narrow", NARROW),),
        estimates=(
            lm.Rate(
                name="agreement (inexact units)",
                of="narrow",
                reading=lm.SameNextToken(),
                among=(lm.Complement(lm.Exact()),),
            ),
            lm.Rate(
                name="agreement of the decoded tokens",
                of="narrow",
                reading=lm.SameNextToken("decoded"),
                among=(lm.Complement(lm.Exact()),),
            ),
            lm.Rate(
                name="agreement of an equal random shift",
                of="narrow",
                reading=lm.SameNextToken("shifted"),
                among=(lm.Complement(lm.Exact()),),
            ),
            lm.Rate(name="exact rate", of="narrow", reading=lm.Exact()),
        ),
    ),
    criteria=(
        lm.AtLeast("agreement (inexact units)", 0.5, because="the document says that they yield the same next token"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0, wave=36),
    notes=(
        "The embeddings e_N are fed to the model, as they are fed to the net; what their decoded tokens give is shown "
        "beside it.",
        "A shift of equal length in a random direction says how much of the agreement is nearness alone.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
