"""C22: the last right-singular vector is orthogonal to the gradient, worse the deeper the stack, unless in float64."""

import engine as lm

A_POWER = "a power of ten, the smaller of the document's two steps"

CLAIM = lm.Claim(
    id="C22",
    section="Orthogonal Walk Representations",
    sentence="In float32 the gradient's last right-singular vector is less orthogonal to it for one block than for "
    "a per-token net, and least for the deep model; float64 mends it.",
    question="Does depth make the orthogonal vector less accurate, and double precision mend it?",
    quote="for transformer-based models the perp_vector is usually not very accurately perpendicular to the gradient "
    "vector",
    estimand="|g·v|, the worst token of a prompt: paired differences of its log₁₀ between stacks at the start; the "
    "largest |g·v| / (‖g‖‖v‖) in float64 over stacks and steps",
    document="products of about 1e-8 for the net, 1e-3 for one block, 1e-2 for the deep model, and 1e-17 in float64",
    procedure=lm.Orthogonality(),
    criteria=(
        lm.Above(
            "log₁₀ |g·v|, 1 block − net",
            0,
            least=1,
            least_because=A_POWER,
            because="worse for one block than for the net",
        ),
        lm.Above(
            "log₁₀ |g·v|, 12 blocks − 1 block", 0, least=1, least_because=A_POWER, because="worst for the deep model"
        ),
        lm.AtMost("worst relative, float64", 1e-13, because="float64 mends it"),
        lm.Within(
            "product, net", 1e-9, 1e-7, because="within a factor of 10 of the document's 1e-8", on="trained GPT-2"
        ),
        lm.Within(
            "product, 1 block", 1e-4, 1e-2, because="within a factor of 10 of the document's 1e-3", on="trained GPT-2"
        ),
        lm.Within(
            "product, 12 blocks", 1e-3, 1e-1, because="within a factor of 10 of the document's 1e-2", on="trained GPT-2"
        ),
        lm.Within(
            "product, 12 blocks, float64",
            1e-18,
            1e-16,
            because="within a factor of 10 of the document's 1e-17",
            on="trained GPT-2",
        ),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    figures=(
        ("product, net", 1e-8),
        ("product, 1 block", 1e-3),
        ("product, 12 blocks", 1e-2),
        ("product, 12 blocks, float64", 1e-17),
    ),
    notes=(
        "The size of |g·v| grows with that of g, which differs by orders of magnitude between stacks. Whether "
        "conditioning is the reason is a claim of its own (C47), judged by the relative product.",
        "A product of zero is taken for the least normal float32, so that it has a logarithm.",
        "Orthogonality to the gradient of the sum leaves every other output direction free: the walk can fail without "
        "any conditioning problem.",
        "A trained model of twelve blocks or more is cut to twelve; a smaller one is taken whole.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
