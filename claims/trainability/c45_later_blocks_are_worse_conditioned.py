"""C45: later blocks are worse conditioned than the first ones."""

import engine as lm

CLAIM = lm.Claim(
    id="C45",
    section="Representation Repetitions",
    sentence="The later transformer blocks are worse conditioned than the first ones.",
    question="Are a model's later blocks conditioned worse than its first?",
    quote="the later transformer blocks are poorly conditioned relative to the earlier blocks",
    estimand="natural logarithm of the condition number (99th over 1st percentile of the singular values) of a block's "
    "own Jacobian, the last position's output by its input, at activations of prompts: last block minus first, paired "
    "by prompt",
    document="concluded from the iterations of whole and half stacks, without figures",
    procedure=lm.BlockConditioning(),
    criteria=(
        lm.Above(
            "log condition, last − first",
            0,
            least=0.7,
            least_because="a factor of two in the condition number (e^0.7 = 2.01); the document gives no figure",
            because="worse conditioned is a larger condition number",
        ),
    ),
    subjects=(lm.SMOLLM2, lm.GEMMA3, *lm.FAMILY, *lm.GPT2_SIZES, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=24),
    only_at_full_effort=lm.COSTLY_FAMILY,
    notes=(
        "Each block is differentiated alone, at the activations that the blocks before it give, without final norm.",
        "The last block stands for the later ones; those between are shown and decide nothing.",
        "The 1st percentile leaves out the few directions that a norm removes.",
        "C30 asks for what the document saw, the iterations.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
