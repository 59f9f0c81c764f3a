"""C03: a wide fully connected net over a whole sentence is inverted exactly within a few dozen steps."""

import engine as lm

WIDE = lm.Sample(
    stack=lm.SentenceNet(tokens=5),
    iterations=100,
    read_at="N",
    first_tokens=5,
    snapshots=(20, 40, 45, 50, 60),
)

CLAIM = lm.Claim(
    id="C03",
    section="Sentence Representation with Language Models",
    sentence="A fully connected net that widens a five-token sentence is inverted exactly, from noise, in 100 steps.",
    question="Can a wide fully connected net be inverted exactly within a hundred steps?",
    quote="our small fully connected model has been successfully inverted",
    estimand="share of units whose five tokens are all decoded at step 100",
    document="exact after 60 steps, for one sentence",
    procedure=lm.Inversions(
        samples=(("wide", WIDE),),
        estimates=(
            lm.Rate(name="exact rate (wide)", of="wide", reading=lm.Exact()),
            lm.HitRate(name="hit rate (wide)", of="wide"),
        ),
    ),
    criteria=(lm.AtLeast("exact rate (wide)", 0.8, because="the document calls the net successfully inverted"),),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, wave=36),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=("The first five tokens of each prompt, since the document's net has five inputs.",),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
