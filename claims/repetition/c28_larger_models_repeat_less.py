"""C28: the larger the model, the less its recovered inputs repeat themselves."""

import engine as lm

XL, FAMILY = lm.GPT2_XL, lm.LARGEST


def _at(stack: lm.Stack, on: lm.Scope, subject: str | None = None) -> lm.Sample:
    return lm.Sample(stack=stack, iterations=300, read_at="N", snapshots=(100,), subject=subject, on=on)


def _less(estimate: str, on: lm.Scope, because: str) -> lm.Criterion:
    reason = "less than one token in ten is no finding"
    return lm.Above(estimate, 0, least=0.1, least_because=reason, because=because, on=on)


LESS = lm.Repetition("end", beyond_start=True)

CLAIM = lm.Claim(
    id="C28",
    section="Representation Repetitions",
    sentence="Inputs recovered from a larger model repeat themselves less than those recovered from a smaller one.",
    question="Do inputs recovered from a larger model repeat themselves less?",
    quote="simply increasing the model's size does seem to reduce the amount of repetition",
    estimand="share of repeated tokens in the five decoded rows beyond that of the run's own start, base minus xl, "
    "paired by prompt and start, at 1 and at 12 blocks; xl at 24, 40 and 48 blocks is shown. Of the models that the "
    "suite trains, the smallest minus the largest, at 1 block and at all",
    document="five examples of gpt2-xl with much less repetition",
    procedure=lm.Inversions(
        samples=(
            ("base, 1 block", _at(lm.Stack(blocks=1), XL, "gpt2")),
            ("xl, 1 block", _at(lm.Stack(blocks=1), XL)),
            ("base, 12 blocks", _at(lm.Stack(blocks=12), XL, "gpt2")),
            ("xl, 12 blocks", _at(lm.Stack(blocks=12), XL)),
            ("xl, 24 blocks", _at(lm.Stack(blocks=24), XL)),
            ("xl, 40 blocks", _at(lm.Stack(blocks=40), XL)),
            ("xl, 48 blocks", _at(lm.Stack(blocks=48), XL)),
            ("smallest, 1 block", _at(lm.Stack(blocks=1), FAMILY, lm.FAMILY[0])),
            ("largest, 1 block", _at(lm.Stack(blocks=1), FAMILY)),
            ("smallest, all blocks", _at(lm.Stack(blocks="all"), FAMILY, lm.FAMILY[0])),
            ("largest, all blocks", _at(lm.Stack(blocks="all"), FAMILY)),
        ),
        estimates=(
            lm.Difference(name="base − xl at 1 block", more=("base, 1 block", LESS), less=("xl, 1 block", LESS)),
            lm.Difference(name="base − xl at 12 blocks", more=("base, 12 blocks", LESS), less=("xl, 12 blocks", LESS)),
            lm.Mean(name="xl at 24 blocks", of="xl, 24 blocks", reading=LESS),
            lm.Mean(name="xl at 40 blocks", of="xl, 40 blocks", reading=LESS),
            lm.Mean(name="xl at 48 blocks", of="xl, 48 blocks", reading=LESS),
            lm.Difference(
                name="smallest − largest at 1 block",
                more=("smallest, 1 block", LESS),
                less=("largest, 1 block", LESS),
            ),
            lm.Difference(
                name="smallest − largest at all blocks",
                more=("smallest, all blocks", LESS),
                less=("largest, all blocks", LESS),
            ),
        ),
    ),
    criteria=(
        _less("base − xl at 1 block", XL, "the document says that there is much less"),
        _less("base − xl at 12 blocks", XL, "the same is said of twelve blocks"),
        _less("smallest − largest at 1 block", FAMILY, "the document says it of larger models"),
        _less("smallest − largest at all blocks", FAMILY, "the same is said of many blocks"),
    ),
    subjects=(lm.GPT2_XL, lm.LARGEST),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.LARGEST,),
    needs_subjects=("gpt2",),
    needed_on=lm.GPT2_XL,
    notes=(
        "Both models' starts decode to repetitions of their own, so each run's own start is taken off.",
        "Amended before anything was measured, for models that the suite trains on equal text: gpt2 and gpt2-xl differ "
        "in more than their size.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
