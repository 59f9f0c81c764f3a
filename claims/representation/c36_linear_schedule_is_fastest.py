"""C36: a step size that falls linearly to a tenth comes nearest."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
SCHEDULES = (
    ("linear", lm.Schedule()),
    ("constant", lm.Schedule(shape="constant", end=1.0)),
    ("cosine", lm.Schedule(shape="cosine", end=0.1)),
    ("to η/100", lm.Schedule(end=0.01)),
)
OTHERS = tuple(name for name, _ in SCHEDULES[1:])
END = lm.OutputDistance()

CLAIM = lm.Claim(
    id="C36",
    section="Sentence Representation with Language Models",
    sentence="A step size that falls linearly from η to η/10 is the best schedule: no other ends nearer.",
    question="Is a step size that falls linearly to a tenth the best schedule?",
    quote="empirically results in the fastest optimization",
    estimand="output distance at N = 1000 under the linear schedule over that under each other one, paired, each tuned "
    "for that distance; the ratio of median hits beside it",
    document="named the fastest, without figures",
    procedure=lm.Inversions(
        samples=tuple(
            (name, lm.Sample(stack=BLOCK, iterations=1000, read_at="N", schedule=schedule))
            for name, schedule in SCHEDULES
        ),
        estimates=(
            *(lm.Ratio(name=f"linear / {name}", over=("linear", END), under=(name, END)) for name in OTHERS),
            *(lm.HitRatio(name=f"hits, {name} / linear", slow=name, fast="linear") for name in OTHERS),
        ),
    ),
    criteria=tuple(
        lm.AtMost(f"linear / {name}", 1.1, because="no other ends more than a tenth nearer") for name in OTHERS
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=(
        "Hits come long before a schedule has fallen, so that they cannot tell schedules apart: until an audit found "
        "that, this claim was judged by them.",
        "Under the script's protocol all four have one fixed step size.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
