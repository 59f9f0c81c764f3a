"""C03: a wide fully connected net over a whole sentence is inverted exactly within a few dozen steps."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2,
    AtLeast,
    Claim,
    Exact,
    HitRate,
    Inversions,
    Rate,
    Sample,
    SentenceNet,
    Units,
    Verdict,
)

WIDE = Sample(
    stack=SentenceNet(tokens=5),
    iterations=100,
    read_at="N",
    first_tokens=5,
    snapshots=(20, 40, 45, 50, 60),
)

CLAIM = Claim(
    id="C03",
    section="Sentence Representation with Language Models",
    sentence="A fully connected net that widens a five-token sentence is inverted exactly, from noise, in 100 steps.",
    estimand="share of units whose five tokens are all decoded at step 100",
    document="exact after 60 steps, for one sentence",
    procedure=Inversions(
        samples=(("wide", WIDE),),
        estimates=(
            Rate(name="exact rate (wide)", of="wide", reading=Exact()),
            HitRate(name="hit rate (wide)", of="wide"),
        ),
    ),
    criteria=(AtLeast("exact rate (wide)", 0.8, because="the document calls the net successfully inverted"),),
    subjects=(SMOLLM2, GPT2_UNTRAINED, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, wave=36),
    only_at_full_effort=(GPT2_UNTRAINED,),
    notes=("The first five tokens of each prompt, since the document's net has five inputs.",),
    pilot_seen=True,
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
