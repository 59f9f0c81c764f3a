"""C14: from a start beside the target the output stays close and the text leaves the prompt."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
BESIDE = lm.Sample(stack=HEAD, iterations=1000, read_at="N", sigma=0.01, blend=(0.001, 0.999), snapshots=(100, 300))
FAR = lm.Sample(stack=HEAD, iterations=1000, read_at="N", sigma=0.01, blend=(1.0, 1.0), snapshots=(100, 300))
LONGER = lm.Sample(stack=HEAD, iterations=3000, read_at="N", sigma=0.01, blend=(1.0, 1.0), snapshots=(300, 1000))

CLAIM = lm.Claim(
    id="C14",
    section="Language models become less trainable as they are trained",
    sentence="Started at 0.001·noise + 0.999·e the output ends very close and yet the text has left the prompt; "
    "started at noise + e it ends farther at equal N, and similarly close given more.",
    question="Started next to the prompt, does descent keep the output close but lose the text?",
    quote="capable of being optimized nearly as well as that above, only that more gradient descent iterations are "
    "required",
    estimand="distance at N = 1000 over m(1/100); recovery at N; final distance of the start (1, 1) over that of "
    "(0.001, 0.999), paired, at N = 1000 and at N = 3000",
    document="one example each: close even for a very small shift, two of six tokens kept",
    procedure=lm.Inversions(
        samples=(("(0.001, 0.999)", BESIDE), ("(1, 1)", FAR), ("(1, 1), N = 3000", LONGER)),
        estimates=(
            lm.GeometricMean(
                name="distance / m(1/100)", of="(0.001, 0.999)", reading=lm.OutputDistance(in_bounds=True)
            ),
            lm.Mean(name="recovery", of="(0.001, 0.999)", reading=lm.Recovery()),
            lm.Ratio(
                name="distance, (1, 1) / (0.001, 0.999)",
                over=("(1, 1)", lm.OutputDistance()),
                under=("(0.001, 0.999)", lm.OutputDistance()),
            ),
            lm.Ratio(
                name="distance, (1, 1) at 3000 / (0.001, 0.999)",
                over=("(1, 1), N = 3000", lm.OutputDistance()),
                under=("(0.001, 0.999)", lm.OutputDistance()),
            ),
        ),
    ),
    criteria=(
        lm.Below("distance / m(1/100)", 1, because="the document says that even a very close shift's bound holds"),
        lm.AtMost("recovery", 0.5, because="the document's example has lost most of the prompt"),
        lm.Above(
            "distance, (1, 1) / (0.001, 0.999)",
            1,
            least=1.1,
            least_because="a tenth of the distance; the document gives no figure",
            because="the document says that more iterations are needed",
        ),
        lm.AtMost(
            "distance, (1, 1) at 3000 / (0.001, 0.999)",
            2,
            because="given more iterations the distance is similar, says the document: within a factor of two",
        ),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=(
        "The start lies inside the bound already, so it is read at N and never at the hit.",
        "Under the controlled protocol the bound is a share of the run's own start distance, which is small here.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
