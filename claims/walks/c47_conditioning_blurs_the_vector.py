"""C47: attention's poor conditioning is why the last right-singular vector is less orthogonal to the gradient."""

import engine as lm

A_POWER = "a power of ten, the smaller of the document's two steps"

CLAIM = lm.Claim(
    id="C47",
    section="Orthogonal Walk Representations",
    sentence="The gradient's last right-singular vector is the less orthogonal to it the deeper the stack because "
    "self-attention's gradient is poorly conditioned, and not because the gradient is larger.",
    question="Does poorly conditioned attention make the orthogonal vector inaccurate?",
    quote="This is an issue of poor conditioning inherent in the transformer's self-attention module leading to "
    "numerical errors in the SVD computation",
    estimand="|g·v| / (‖g‖‖v‖), which does not grow with g, the worst token of a prompt: paired differences of its "
    "log₁₀ between stacks at the start",
    document="conditioning is named as the cause of products that grow from 1e-8 to 1e-3 and 1e-2",
    procedure=lm.Orthogonality(),
    criteria=(
        lm.Above(
            "log₁₀ relative, 1 block − net",
            0,
            least=1,
            least_because=A_POWER,
            because="attention is named as the cause, and the net has none",
        ),
        lm.Above(
            "log₁₀ relative, 12 blocks − 1 block",
            0,
            least=1,
            least_because=A_POWER,
            because="more attention conditions worse",
        ),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=(
        "Until an audit this was part of C22, as whose criterion it was measured: it had been seen on smollm2-135m and "
        "gemma3-270m before the smallest effect was declared.",
        "A product of zero is taken for the least normal float32, so that it has a logarithm.",
    ),
    pilot_seen=True,
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
