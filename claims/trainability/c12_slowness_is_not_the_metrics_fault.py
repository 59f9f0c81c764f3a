"""C12: descent on the Euclidean distance is as slow."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
FULL_ONLY = lm.Units(smoke=0, standard=0)

CLAIM = lm.Claim(
    id="C12",
    section="Language models become less trainable as they are trained",
    sentence="Descent on the Euclidean instead of the L¹ distance does not mend the slowness through a trained block "
    "and head.",
    question="Does switching to the Euclidean distance leave a trained block as hard to invert?",
    quote="This very slow minimization of the output loss also occurs when the gradient is calculated on is a "
    "different metric",
    estimand="ratio of the median iterations to the bound (judged in L¹), descending on L² over descending on L¹, each "
    "tuned; recovery at N = 1000 descending on L²",
    document="also occurs with another metric, and leaves the lack of invertibility as it is, without figures",
    procedure=lm.Inversions(
        samples=(
            ("L²", lm.Sample(stack=HEAD, metric="l2")),
            ("L¹", lm.Sample(stack=HEAD)),
            ("L², to N", lm.Sample(stack=HEAD, metric="l2", iterations=1000, read_at="N", units=FULL_ONLY)),
        ),
        estimates=(
            lm.HitRatio(name="ratio", slow="L²", fast="L¹"),
            lm.Mean(name="recovery, L²", of="L², to N", reading=lm.Recovery()),
        ),
    ),
    criteria=(
        lm.AtLeast("ratio", 1 / 3, because="a mend would be a saving of more than a factor of three"),
        lm.AtMost("recovery, L²", 0.2, because="no change in invertibility: at most one token in five comes back"),
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=("Later pages of the same site report that L², cosine and combined losses fail for GPT-2 too.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
