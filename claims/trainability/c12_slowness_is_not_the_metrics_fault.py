"""C12: descent on the Euclidean distance is as slow."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)

CLAIM = lm.Claim(
    id="C12",
    section="Language models become less trainable as they are trained",
    sentence="Descent on the Euclidean instead of the L¹ distance does not mend the slowness through a trained block "
    "and head.",
    estimand="ratio of the median iterations to the bound (judged in L¹), descending on L² over descending on L¹, each "
    "tuned",
    document="also occurs with another metric, without figures",
    procedure=lm.Inversions(
        samples=(("L²", lm.Sample(stack=HEAD, metric="l2")), ("L¹", lm.Sample(stack=HEAD))),
        estimates=(lm.HitRatio(name="ratio", slow="L²", fast="L¹"),),
    ),
    criteria=(lm.AtLeast("ratio", 1 / 3, because="a mend would be a saving of more than a factor of three"),),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=("Later pages of the same site report that L², cosine and combined losses fail for GPT-2 too.",),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
