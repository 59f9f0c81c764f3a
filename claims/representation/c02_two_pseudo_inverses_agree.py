"""C02: the pseudo-inverse as a ridge limit and from the SVD is one matrix, and gives minimum-norm solutions."""

import engine as lm

CLAIM = lm.Claim(
    id="C02",
    section="Sentence Representation with Language Models",
    sentence="W⁺ is the same from the singular value decomposition and as the limit of ridge solutions, its solution "
    "has the least norm, and W has full rank.",
    question="Is the embedding matrix of full rank, and do its two pseudo-inverses agree?",
    quote="The pseudo-inverse may be conveniently calculated from the singular value decomposition",
    estimand="relative Frobenius difference of the two over cond·ε of the same matrix, of the embedding matrix and the "
    "worst of four random ones; rank over d_model; norm of W⁺e over that of other solutions",
    document="states both definitions as equal and calls W usually full-rank",
    procedure=lm.CompareInverses(),
    criteria=(
        lm.AtMost("difference / tolerance, W", 1, because="both definitions name one matrix, up to rounding"),
        lm.AtMost("difference / tolerance, random", 1, because="and not of this W alone"),
        lm.AtLeast("rank / d_model", 1, because="the document calls the embedding matrix full-rank"),
        lm.AtLeast("random ranks found", 1, because="a rank that is known must be found, deficient ones too"),
        lm.AtMost("norm / other solutions", 1 + 1e-12, because="the least norm, up to rounding in float64"),
    ),
    subjects=(*lm.TRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    notes=(
        "The limit is taken numerically: ridge solutions at falling α are extrapolated to α = 0 in float64, without "
        "the singular vectors that it is compared with.",
        "ε is float32's, the precision in which W is stored and the document inverts it: cond·ε is how far W⁺ moves "
        "when W's entries are rounded to it. Until an audit, the tolerance was 10·cond²·ε, which a difference of 69 % "
        "of a random matrix would have passed.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
