"""A06: training does not bring the activations of other tokens closer."""

import engine as lm

STEPS: tuple[tuple[str, int | None], ...] = (
    ("initialization", 0),
    ("step 100", 100),
    ("step 1,000", 1000),
    ("step 6,400", 6400),
    ("end", None),
)
DEPTHS = (("1 block", lm.Stack(blocks=1)), ("all blocks", lm.Stack(blocks="all")))
SEARCHES = tuple(
    (f"{depth}: {name}", lm.Search(stack=stack, only="margins", margins=12, checkpoint=step))
    for depth, stack in DEPTHS
    for name, step in STEPS
)

CLAIM = lm.Claim(
    id="A06",
    section="Recovery from activations",
    sentence="Training does not bring the activations of the nearest wrong token closer, behind one block or all.",
    question="Does output tell the right token from all others as well after training as before?",
    estimand="distance of the nearest wrong token's activations over the size of the activations, at the end of "
    "training over that at initialization: the geometric mean over positions of prompts, paired, clustered by the "
    "training's seed; the same distance at three steps between them beside it",
    document="not in the document",
    procedure=lm.Searches(
        samples=SEARCHES,
        estimates=(
            *(
                lm.MarginRatio(
                    name=f"end / initialization, {depth}", more=f"{depth}: end", less=f"{depth}: initialization"
                )
                for depth, _ in DEPTHS
            ),
            *(lm.Margin(name=f"relative margin, {name}", of=name) for name, _ in SEARCHES),
        ),
    ),
    criteria=tuple(
        lm.AtLeast(
            f"end / initialization, {depth}",
            0.5,
            because="the article calls margins stable; half leaves room for the spread of positions and seeds, and "
            "halves the noise that recovery bears",
        )
        for depth, _ in DEPTHS
    ),
    subjects=lm.FAMILY,
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=12, full=24),
    only_at_full_effort=lm.COSTLY_FAMILY,
    notes=(
        "No claim of the document. arXiv 2511.14808 reports that the margins of a small GPT-2 stay stable in training.",
        "At one position of each prompt, behind its own tokens, every token of the vocabulary goes through the blocks; "
        "the margin is the L² distance to the nearest other one, over the length of the prompt's own activations.",
        "A relative margin says nothing of float noise, which the tables show. Where activations have a few large "
        "numbers, these make the length, and the relative margin is small.",
        "Only a model with checkpoints can be asked: the suite trains these, with three seeds, which share the units.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
