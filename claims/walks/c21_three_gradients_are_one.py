"""C21: the gradient of the summed output, its product with ones, and the sum of single gradients agree."""

import engine as lm

CLAIM = lm.Claim(
    id="C21",
    section="Orthogonal Walk Representations",
    sentence="The input gradient of the summed output is the same whether the sum is differentiated, the outputs are "
    "against a vector of ones, or each output is by itself and the gradients are added.",
    question="Do all three ways to take the summed output's gradient agree?",
    quote="It may be empirically verified that Pytorch evaluates these gradients nearly equally",
    estimand="largest difference of an element from the sum's gradient, over its largest |g| and over √outputs times "
    "the unit roundoff, the worst of prompts, for the per-token net and for one block without head; median difference "
    "of an element for the net",
    document="about 1e-7 or less per element",
    procedure=lm.CompareGradients(stacks=(("net", lm.TokenNet()), ("1 block", lm.Stack(blocks=1)))),
    criteria=(
        lm.AtMost("worst / rounding, float32", 1, because="no more than adding up rounded gradients brings"),
        lm.AtMost("worst / rounding, float64", 1, because="a real difference would not shrink with the roundoff"),
        lm.AtMost("median |Δ|, net", 10**-6.5, because="the order of 1e-7, which the document has per element"),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=2, full=12),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    counts_untrained=True,
    figures=(("median |Δ|, net", 1e-7),),
    notes=(
        "√outputs times the roundoff is the typical error of such a sum; the largest of thousands of elements can "
        "exceed it. So a figure a little above 1 is rounding as well, and the criterion, registered before it was "
        "measured, is too strict by that much.",
        "It is arithmetic, so a few prompts are enough: each takes one gradient for every output.",
        "Single gradients are added in float64, as the document does.",
        "Thousands of rounded terms cannot agree to one unit in the last place: until an audit, the criterion asked "
        "for 1e-6, which is less than √outputs times the roundoff of a block.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
