"""C09: with more blocks recovery gets harder."""

import engine as lm

ONE, TWO, FOUR, TWELVE = (
    lm.Sample(stack=lm.Stack(blocks=k, head=True), iterations=1000, read_at="N", snapshots=(100, 300))
    for k in (1, 2, 4, 12)
)
HARDER = "the document says that recovery becomes more difficult with each block"

CLAIM = lm.Claim(
    id="C09",
    section="Language models translate nonsense into sense",
    sentence="The more untrained blocks stand before the head, the less of the prompt a descent of 1000 iterations "
    "recovers.",
    estimand="recovery at N = 1000 through so many blocks minus through the next more, paired by prompt and start",
    document="one example at two blocks, with one token wrong",
    procedure=lm.Inversions(
        samples=(("1 block", ONE), ("2 blocks", TWO), ("4 blocks", FOUR), ("12 blocks", TWELVE)),
        estimates=(
            lm.Difference(
                name="recovery, 1 − 2 blocks", more=("1 block", lm.Recovery()), less=("2 blocks", lm.Recovery())
            ),
            lm.Difference(
                name="recovery, 2 − 4 blocks", more=("2 blocks", lm.Recovery()), less=("4 blocks", lm.Recovery())
            ),
            lm.Difference(
                name="recovery, 4 − 12 blocks", more=("4 blocks", lm.Recovery()), less=("12 blocks", lm.Recovery())
            ),
            lm.Trend(
                name="recovery over depth, τ",
                over=("1 block", "2 blocks", "4 blocks", "12 blocks"),
                reading=lm.Recovery(),
            ),
        ),
    ),
    criteria=(
        lm.Above(
            "recovery, 1 − 2 blocks",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because=HARDER,
        ),
        lm.Above(
            "recovery, 2 − 4 blocks",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because=HARDER,
        ),
        lm.Above(
            "recovery, 4 − 12 blocks",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because=HARDER,
        ),
    ),
    subjects=(lm.GPT2_UNTRAINED,),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=(
        "Neighbouring depths are compared in pairs; where one of them recovers all or nothing, no difference can show.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
