"""C42: training costs a block its ability to give its input tokens back."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
SNAPSHOTS = (30, 100, 300)
STEPS = (0, 30, 100, 300, 1000, 3000, 6400)


def _name(step: int) -> str:
    return "initialization" if step == 0 else f"step {step:,}"


def _at(step: int | None) -> lm.Sample:
    return lm.Sample(stack=BLOCK, iterations=1000, read_at="N", snapshots=SNAPSHOTS, checkpoint=step)


CLAIM = lm.Claim(
    id="C42",
    section="Approximate Token Mapping",
    sentence="One block of a model at initialization gives its input tokens back; after training it does not.",
    question="Does training cost a block its ability to give its input tokens back?",
    quote="we can recover these tokens from untrained but not trained language model transformer blocks",
    estimand="recovery at N = 1000 at initialization minus at the end of training, paired by prompt and start, in "
    "clusters of training seeds",
    document="shown by examples of one model, trained and untrained",
    procedure=lm.Inversions(
        samples=(*((_name(step), _at(step)) for step in STEPS), ("end", _at(None))),
        estimates=(
            lm.Difference(
                name="initialization − end", more=("initialization", lm.Recovery()), less=("end", lm.Recovery())
            ),
            *(
                lm.Mean(name=f"recovery, {name}", of=name, reading=lm.Recovery())
                for name in (*(_name(step) for step in STEPS), "end")
            ),
        ),
    ),
    criteria=(
        lm.AtLeast("initialization − end", 0.5, because="one gives the tokens back and the other does not, as in C33"),
    ),
    subjects=lm.FAMILY,
    protocols=(lm.PAGE, lm.CONTROLLED),
    units=lm.Units(smoke=0, wave=36),
    only_at_full_effort=lm.FAMILY,
    notes=(
        "C33 compares a trained model with random weights of the same configuration; this follows one model along its "
        "training, at every checkpoint.",
        "Each size stands for three models that differ by the seed of their training.",
        "Pilots on two smaller runs were seen before: recovery fell from 1 to 0.11 and rose again to 0.97.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
