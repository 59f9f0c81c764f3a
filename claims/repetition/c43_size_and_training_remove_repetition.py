"""C43: larger models repeat themselves less in the text they write, and training removes repetition."""

import engine as lm

EARLY, LATE = 300, 6400
"""The first checkpoint behind the warm-up and the last before the step size of training falls."""

CLAIM = lm.Claim(
    id="C43",
    section="Representation Repetitions",
    sentence="Of models trained on equal text the larger repeat themselves less when they write, and training removes "
    "repetition.",
    question="Do larger models and longer trained ones repeat themselves less in what they write?",
    quote="simply increasing the model's size does seem to reduce the amount of repetition",
    estimand="mean over prompts of the difference in repetition (1 − distinct 4-grams / 4-grams of up to 64 greedy "
    "tokens): the smallest model less the largest at the end of training, and step 300 less step 6,400 of one model",
    document="five examples of gpt2-xl with much less repetition than gpt2",
    procedure=lm.CompareTraining(
        decodings=(
            ("smallest", lm.Decoding(subject=lm.FAMILY[0], on=lm.LARGEST)),
            ("end", lm.Decoding()),
            ("early", lm.Decoding(checkpoint=EARLY)),
            ("late", lm.Decoding(checkpoint=LATE)),
            ("beam", lm.Decoding(beams=5)),
        ),
        differences=(
            ("smallest − largest", "smallest", "end"),
            ("early − late", "early", "late"),
            ("greedy − beam", "end", "beam"),
        ),
    ),
    criteria=(
        lm.Above(
            "smallest − largest",
            0,
            least=0.1,
            least_because="less than one 4-gram in ten is no finding, as in C31",
            because="larger models are said to repeat themselves less",
            on=lm.LARGEST,
        ),
        lm.Above(
            "early − late",
            0,
            least=0.1,
            least_because="less than one 4-gram in ten is no finding, as in C31",
            because="training is what would teach a model not to repeat itself",
            on=lm.LARGEST,
        ),
    ),
    subjects=lm.FAMILY,
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=60, full=60, wave=60),
    only_at_full_effort=lm.COSTLY_FAMILY,
    notes=(
        "Each size stands for three models that differ by the seed of their training; a prompt goes to the same seed "
        "at every age and size.",
        "Early is step 300, the first checkpoint behind the warm-up; late is step 6,400, the last before the step size "
        "of training falls.",
        "Amended when the smallest model's row had been seen, which read supported by its age alone: a claim about "
        "size is decided where sizes are compared. Its estimate is still shown.",
        "The repetition in the text itself, in windows of as many tokens, stands beside.",
        "Pilots were seen before: greedy text of models this small repeats 0.85 to 0.91 of its 4-grams, near the most "
        "that it can.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
