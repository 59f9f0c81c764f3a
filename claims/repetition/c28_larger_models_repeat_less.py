"""C28: the larger the model, the less its recovered inputs repeat themselves."""

import engine as lm


def _at(blocks: int, subject: str | None = None) -> lm.Sample:
    return lm.Sample(stack=lm.Stack(blocks=blocks), iterations=300, read_at="N", snapshots=(100,), subject=subject)


LESS = lm.Repetition("end", beyond_start=True)

CLAIM = lm.Claim(
    id="C28",
    section="Representation Repetitions",
    sentence="Inputs recovered from gpt2-xl repeat themselves less than those recovered from gpt2.",
    question="Do inputs recovered from gpt2-xl repeat themselves less than those from gpt2?",
    quote="simply increasing the model's size does seem to reduce the amount of repetition",
    estimand="share of repeated tokens in the five decoded rows beyond that of the run's own start, base minus xl, "
    "paired by prompt and start, at 1 and at 12 blocks; xl at 24, 40 and 48 blocks is shown",
    document="five examples of gpt2-xl with much less repetition",
    procedure=lm.Inversions(
        samples=(
            ("base, 1 block", _at(1, "gpt2")),
            ("xl, 1 block", _at(1)),
            ("base, 12 blocks", _at(12, "gpt2")),
            ("xl, 12 blocks", _at(12)),
            ("xl, 24 blocks", _at(24)),
            ("xl, 40 blocks", _at(40)),
            ("xl, 48 blocks", _at(48)),
        ),
        estimates=(
            lm.Difference(name="base − xl at 1 block", more=("base, 1 block", LESS), less=("xl, 1 block", LESS)),
            lm.Difference(name="base − xl at 12 blocks", more=("base, 12 blocks", LESS), less=("xl, 12 blocks", LESS)),
            lm.Mean(name="xl at 24 blocks", of="xl, 24 blocks", reading=LESS),
            lm.Mean(name="xl at 40 blocks", of="xl, 40 blocks", reading=LESS),
            lm.Mean(name="xl at 48 blocks", of="xl, 48 blocks", reading=LESS),
        ),
    ),
    criteria=(
        lm.Above(
            "base − xl at 1 block",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because="the document says that there is much less",
        ),
        lm.Above(
            "base − xl at 12 blocks",
            0,
            least=0.1,
            least_because="less than one token in ten is no finding",
            because="the same is said of twelve blocks",
        ),
    ),
    subjects=(lm.GPT2_XL,),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    needs_subjects=("gpt2",),
    notes=("Both models' starts decode to repetitions of their own, so each run's own start is taken off.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
