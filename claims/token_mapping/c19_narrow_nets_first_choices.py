"""C19: of the per-token net's inversion only the first one or two choices are recognizable."""

import engine as lm

TOKENWISE = lm.Sample(stack=lm.TokenNet(), iterations=300, read_at="N", first_tokens=5, snapshots=(60, 100))
WIDE = lm.Sample(
    stack=lm.SentenceNet(tokens=5),
    iterations=300,
    read_at="N",
    first_tokens=5,
    snapshots=(60, 100),
    units=lm.Units(smoke=0, standard=0),
)

CLAIM = lm.Claim(
    id="C19",
    section="Approximate Token Mapping",
    sentence="Of the inverted per-token net, whose output is no wider than its input, only the first one or two "
    "choices are recognizable.",
    question="Are only the first one or two choices of a narrow net's inversion recognizable?",
    quote="we find that only the top one or two most activated input tokens are recognizable",
    estimand="recovery (target in top-1); top-five overlap of the wide net minus that of the per-token net, paired",
    document="one example: first row the prompt, the third and later ones not",
    procedure=lm.Inversions(
        samples=(("per-token net", TOKENWISE), ("wide net", WIDE)),
        estimates=(
            lm.Mean(name="recovery", of="per-token net", reading=lm.Recovery()),
            lm.Difference(
                name="overlap, wide − per-token",
                more=("wide net", lm.TopFiveOverlap()),
                less=("per-token net", lm.TopFiveOverlap()),
            ),
            lm.Mean(name="top-five overlap", of="per-token net", reading=lm.TopFiveOverlap()),
        ),
    ),
    criteria=(
        lm.AtLeast("recovery", 0.5, because="the document's first row is recognizable"),
        lm.Above(
            "overlap, wide − per-token",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because="the other choices are less recognizable than the wide net's",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=1),
    notes=("The first five tokens of each prompt, so that both nets see the same.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
