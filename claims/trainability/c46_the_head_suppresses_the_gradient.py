"""C46: most of the gradient by the logits does not pass the head."""

import engine as lm

CLAIM = lm.Claim(
    id="C46",
    section="Language models become less trainable as they are trained",
    sentence="The language-model head suppresses most of the gradient: at least 95 % of its norm lies where nothing in "
    "front of the head can follow it.",
    question="Does the output head suppress most of the gradient?",
    quote="removing the language modeling head reduces the number of iterations required",
    estimand="‖G − PG‖ / ‖G‖ in the Frobenius norm, G the gradient of the next-token cross-entropy on a prompt's own "
    "tokens by the whole model's logits, P the projector onto the columns of the head; mean over prompts",
    document="the head is found to be what descent is slow through; the share is not the document's",
    procedure=lm.HeadSuppression(),
    criteria=(
        lm.AtLeast("share outside", 0.95, because="the lower end of the 95 to 99 % that arXiv 2603.10145 reports"),
    ),
    subjects=(lm.SMOLLM2, lm.GEMMA3, *lm.FAMILY, *lm.GPT2_SIZES, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=24),
    only_at_full_effort=lm.COSTLY_FAMILY,
    notes=(
        "The strongest published form of the head as a bottleneck, arXiv 2603.10145 (GPT-2, Llama 3, Qwen 3, Pythia). "
        "The figure is not the document's, which has iterations alone (C16, C53).",
        "The squares of the shares outside and inside add up to 1: with 95 % outside, 31 % of the norm is still "
        "inside. Who counts as suppressed what the share inside lacks of 1 reads the stricter number; it is shown.",
        "A gradient that is lost is none that descent needs, as no change in front of the head could follow it; an "
        "independent 71M training log found more of the norm to survive, and a loss no better.",
        "Shown beside it: how much of the length that could arrive in front of the head does (sensitivity), and the "
        "same for the document's own loss, the L¹ distance of logits, at a start of normal noise with the "
        "embeddings' spread.",
        "The gradient is taken by what the head's matrix gives, in front of a soft cap.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
