"""C31: greedy generation repeats itself, small models most, and beam search eases it."""

import engine as lm

CLAIM = lm.Claim(
    id="C31",
    section="Representation Repetitions",
    sentence="Models repeat themselves when they generate greedily, small ones most, and beam search eases it.",
    question="Does greedy generation repeat itself more than beam search, small models most?",
    quote="language models (particularly smaller ones) often generate repeated phrases when instructed to give an "
    "output of substantial length",
    estimand="mean over prompts of the difference in repetition (1 − distinct 4-grams / 4-grams of up to 64 new "
    "tokens): greedy less beam search with five beams; and gpt2 less gpt2-xl, both greedy",
    document="stated of language models, with references and without figures",
    procedure=lm.CompareDecoding(new_tokens=64, beams=5, smaller="gpt2", larger=lm.GPT2_XL),
    criteria=(
        lm.Above(
            "greedy − beam",
            0,
            least=0.1,
            least_because="less than one 4-gram in ten is no finding",
            because="beam search is named as a remedy",
        ),
        lm.Above(
            "base − xl",
            0,
            least=0.1,
            least_because="less than one 4-gram in ten is no finding",
            because="smaller models are said to repeat themselves more",
            on=lm.GPT2_XL,
        ),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_XL, *lm.FAMILY),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=1, standard=60, full=60),
    only_at_full_effort=lm.FAMILY,
    needs_subjects=("gpt2",),
    needed_on=lm.GPT2_XL,
    notes=(
        "Repetition is seq-rep-4 of Welleck et al. (arXiv 1908.04319), whose own remedy is the training objective.",
        "Holtzman et al. (arXiv 1904.09751): beam search itself often degenerates into repetition.",
        "The comparison of sizes is made where the subject is gpt2-xl, and needs the weights of gpt2 as well.",
        "smollm2-135m is tuned to follow instructions, and may end a continuation at once: such a prompt has no "
        "4-gram and is left out.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
