"""C52: input gradients cannot be passed accurately through a trained block and its head."""

import engine as lm

CLAIM = lm.Claim(
    id="C52",
    section="Language models become less trainable as they are trained",
    sentence="Input gradients cannot be passed accurately through a trained block and head.",
    question="Are the gradients that reach a trained model's input inaccurate?",
    quote="the trained GPT-2 model cannot accurately pass gradients from the output to the input",
    estimand="‖g₃₂ − g₆₄‖₂ / ‖g₆₄‖₂ of the input gradient at the start of a descent, float32 against float64; with and "
    "without head, and through twelve blocks, beside it",
    document="stated without figures",
    procedure=lm.GradientPrecision(
        stacks=(
            ("1 block and head", lm.Stack(blocks=1, head=True)),
            ("1 block", lm.Stack(blocks=1)),
            ("12 blocks", lm.Stack(blocks=12)),
            ("12 blocks and head", lm.Stack(blocks=12, head=True)),
        )
    ),
    criteria=(
        lm.AtLeast(
            "error, 1 block and head", 0.01, because="a gradient is inaccurate when a hundredth of it is rounding"
        ),
    ),
    subjects=(*lm.TRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    notes=(
        "Float64 computes with the same weights, so that precision is all that differs.",
        "The untrained models say what of it is training's.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
