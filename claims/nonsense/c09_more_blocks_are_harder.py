"""C09: with more blocks recovery gets harder."""

from itertools import pairwise

import engine as lm

DEPTHS = (1, 2, 4, 12)
STEPS = tuple(pairwise(DEPTHS))


def name_depth(blocks: int) -> str:
    return "1 block" if blocks == 1 else f"{blocks} blocks"


def read_at_end(blocks: int) -> lm.Sample:
    return lm.Sample(stack=lm.Stack(blocks=blocks, head=True), iterations=1000, read_at="N", snapshots=(100, 300))


CLAIM = lm.Claim(
    id="C09",
    section="Language models translate nonsense into sense",
    sentence="The more untrained blocks stand before the head, the less of the prompt a descent of 1000 iterations "
    "recovers.",
    question="Do more untrained blocks make the prompt harder to recover?",
    quote="With an increase in the number of transformer blocks before the output modeling head, it becomes more "
    "difficult to recover the target",
    estimand="recovery at N = 1000 through so many blocks minus through the next more, paired by prompt and start",
    document="one example at two blocks, with one token wrong",
    procedure=lm.Inversions(
        samples=tuple((name_depth(blocks), read_at_end(blocks)) for blocks in DEPTHS),
        estimates=(
            *(
                lm.Difference(
                    name=f"recovery, {few} − {many} blocks",
                    more=(name_depth(few), lm.Recovery()),
                    less=(name_depth(many), lm.Recovery()),
                )
                for few, many in STEPS
            ),
            lm.Trend(
                name="recovery over depth, τ",
                over=tuple(map(name_depth, DEPTHS)),
                reading=lm.Recovery(),
            ),
        ),
    ),
    criteria=tuple(
        lm.Above(
            f"recovery, {few} − {many} blocks",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because="the document says that recovery becomes more difficult with each block",
        )
        for few, many in STEPS
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
