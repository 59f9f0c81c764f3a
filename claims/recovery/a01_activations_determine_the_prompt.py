"""A01: activations determine the prompt, at every depth, and it can be found."""

import engine as lm

FULL = lm.Units(smoke=0, standard=0, full=16, wave=16)
SEARCHES = (
    ("1 block", lm.Search(stack=lm.Stack(blocks=1), margins=8)),
    ("4 blocks", lm.Search(stack=lm.Stack(blocks=4), units=FULL)),
    ("12 blocks", lm.Search(stack=lm.Stack(blocks=12), units=FULL, margins=4)),
    ("all blocks", lm.Search(stack=lm.Stack(blocks="all"), units=FULL, margins=4)),
    ("1 block, long prompts", lm.Search(stack=lm.Stack(blocks=1), units=FULL, long=True)),
)

CLAIM = lm.Claim(
    id="A01",
    section="Recovery from activations",
    sentence="The activations behind any number of blocks determine the prompt, and it can be found from them alone.",
    question="Can the exact prompt be found from the output of any number of blocks?",
    estimand="rate at which prompts come back token for token, one token and no other of those checked matching at "
    "each position; the share of those tried, and a few positions held against the whole vocabulary beside it",
    document="the document concludes the opposite of trained models, from descent on all embeddings at once",
    procedure=lm.Searches(
        samples=SEARCHES,
        estimates=(
            *(lm.Recovered(name=f"recovered, {name}", of=name) for name, _ in SEARCHES),
            *(lm.RecoveryRate(name=f"rate, {name}", of=name) for name, _ in SEARCHES),
            *(lm.Distinguishable(name=f"told apart, {name}", of=name) for name, search in SEARCHES if search.margins),
            *(lm.CheckSpeedup(name=f"fewer checks than blind, {name}", of=name) for name, _ in SEARCHES),
        ),
    ),
    criteria=tuple(
        lm.AtLeast(f"rate, {name}", 0.8, because="the bar of C03, where the document calls a net inverted")
        for name, _ in SEARCHES
    ),
    subjects=(*lm.TRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=1, standard=16, full=16, wave=16),
    only_at_full_effort=(lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED),
    notes=(
        "No claim of the document, but the question that its conclusion leaves open: is the information missing, or "
        "the method? Hidden states identify the prompt almost surely (arXiv 2510.15511).",
        "The method reads activations at every position and nothing else of the prompt. Each token is sought behind "
        "those found before it; candidates are taken once a forward pass gives the activations again.",
        "Equal activations are those within float noise, which is measured on random tokens in several batch layouts.",
        "A pilot of the method behind one and thirty blocks of smollm2-135m was looked at before this was written.",
        "Amended: all of sixteen prompts was an exhaustive count of a sample; the document's claims are judged by the "
        "interval of a rate, and so is this one. All of eight is [0.68, 1] and decides nothing, so that the deepest "
        "stack and the long prompts have sixteen, too. The bar was set when every prompt tried was "
        "known to come back.",
        "A stack deeper than the model is the whole model. No head and no final norm, as in the document's inversions.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
