"""C04: narrowed to its input's size, the net's inversions are typically not exact."""

import engine as lm

WIDE = lm.Sample(
    stack=lm.SentenceNet(tokens=5),
    iterations=100,
    read_at="N",
    first_tokens=5,
    snapshots=(20, 40, 45, 50, 60),
)
NARROW = lm.Sample(
    stack=lm.SentenceNet(tokens=5, narrow=True),
    iterations=100,
    read_at="N",
    first_tokens=5,
    snapshots=(20, 60),
)
LONGER = lm.Sample(
    stack=lm.SentenceNet(tokens=5, narrow=True),
    iterations=1000,
    read_at="N",
    first_tokens=5,
    snapshots=(100, 300),
    units=lm.Units(smoke=0, standard=0, wave=36),
)

CLAIM = lm.Claim(
    id="C04",
    section="Sentence Representation with Language Models",
    sentence="With its output narrowed to the input's size, the net's inversions are typically not exact copies.",
    question="Does narrowing a net's output to the input's size make inversions inexact?",
    quote="are no longer typically exact copies of the target",
    estimand="share of units decoded exactly at N = 100 and at N = 1000; the wide net's minus the narrow one's",
    document="two examples, both inexact",
    procedure=lm.Inversions(
        samples=(("wide", WIDE), ("narrow", NARROW), ("narrow, N = 1000", LONGER)),
        estimates=(
            lm.Rate(name="exact rate (narrow)", of="narrow", reading=lm.Exact()),
            lm.Rate(name="exact rate (narrow, N = 1000)", of="narrow, N = 1000", reading=lm.Exact()),
            lm.Difference(name="wide − narrow", more=("wide", lm.Exact()), less=("narrow", lm.Exact())),
        ),
    ),
    criteria=(
        lm.AtMost("exact rate (narrow)", 0.5, because="'typically not' is at most half"),
        lm.AtMost(
            "exact rate (narrow, N = 1000)",
            0.5,
            because="the document gives no N; a longer descent is shown too",
        ),
        lm.Above(
            "wide − narrow",
            0,
            least=0.1,
            least_because="less than one prompt in ten is no finding",
            because="narrowing is what makes the difference",
        ),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, wave=36),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
