"""C04: narrowed to its input's size, the net's inversions are typically not exact."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    AtMost,
    Claim,
    Difference,
    Exact,
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
NARROW = Sample(
    stack=SentenceNet(tokens=5, narrow=True),
    iterations=100,
    read_at="N",
    first_tokens=5,
    snapshots=(20, 60),
)
LONGER = Sample(
    stack=SentenceNet(tokens=5, narrow=True),
    iterations=1000,
    read_at="N",
    first_tokens=5,
    snapshots=(100, 300),
    units=Units(smoke=0, standard=0, wave=36),
)

CLAIM = Claim(
    id="C04",
    section="Sentence Representation with Language Models",
    sentence="With its output narrowed to the input's size, the net's inversions are typically not exact copies.",
    estimand="share of units decoded exactly at N = 100 and at N = 1000; the wide net's minus the narrow one's",
    document="two examples, both inexact",
    procedure=Inversions(
        samples=(("wide", WIDE), ("narrow", NARROW), ("narrow, N = 1000", LONGER)),
        estimates=(
            Rate(name="exact rate (narrow)", of="narrow", reading=Exact()),
            Rate(name="exact rate (narrow, N = 1000)", of="narrow, N = 1000", reading=Exact()),
            Difference(name="wide − narrow", more=("wide", Exact()), less=("narrow", Exact())),
        ),
    ),
    criteria=(
        AtMost("exact rate (narrow)", 0.5, because="'typically not' is at most half"),
        AtMost(
            "exact rate (narrow, N = 1000)",
            0.5,
            because="the document gives no N; a longer descent is shown too",
        ),
        Above("wide − narrow", 0, because="narrowing is what makes the difference"),
    ),
    subjects=(SMOLLM2, GPT2_UNTRAINED, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, wave=36),
    only_at_full_effort=(GPT2_UNTRAINED,),
    pilot_seen=True,
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
