"""C49: a transformer is far more amenable to the clamped walk than fully connected nets."""

import engine as lm

DEEP, SENTENCE, TOKEN = "12 blocks", "sentence net", "token net"
MORE, LEAST = "the document finds transformers far more amenable", "half as much again; the document gives no figure"

CLAIM = lm.Claim(
    id="C49",
    section="Clamped Gradient Walk Representations",
    sentence="The clamped walk moves the input of a transformer farther, for what its output moves, than that of fully "
    "connected nets.",
    question="Does the clamped walk work better on a transformer than on fully connected nets?",
    quote="the transformer architecture is much more amenable to this gradient clamping optimization than the fully "
    "connected model",
    estimand="r = ‖e − e_N‖₁ / ‖ΔO‖₁ of twelve blocks over that of each net, and the same of r over that of a random "
    "step of equal length, at a tenth of ‖e‖₁, one descent step after each shift; geometric means over prompts",
    document="r of 10 and more for a transformer, generally not above 3 for nets",
    procedure=lm.ClampedGain(
        walks=(
            (DEEP, lm.ClampedWalk(stack=lm.Stack(blocks=12))),
            (SENTENCE, lm.ClampedWalk(stack=lm.SentenceNet(tokens=5), first_tokens=5)),
            (TOKEN, lm.ClampedWalk(stack=lm.TokenNet())),
        ),
        ratios=((DEEP, SENTENCE), (DEEP, TOKEN)),
    ),
    criteria=tuple(
        lm.Above(f"{what}, {DEEP} / {net}", 1, least=1.5, least_because=LEAST, because=MORE)
        for what in ("r", "gain")
        for net in (SENTENCE, TOKEN)
    ),
    subjects=lm.TRAINED,
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=(
        "r compares distances in two spaces whose scales differ from stack to stack; over a random step's r the scale "
        "falls out. Both are asked for, since the document compares r.",
        "The walks are those of C24 and C25, whose figures on smollm2-135m had been seen before this was declared.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
