"""C54: orthogonal walks end in text that has nothing to do with the prompt."""

import engine as lm

CLAIM = lm.Claim(
    id="C54",
    section="Orthogonal Walk Representations",
    sentence="A few dozen steps of the orthogonal walk turn the prompt into repeated gibberish for the per-token net, "
    "and into text without likeness to it for the deep model.",
    question="Does the orthogonal walk turn the prompt into gibberish?",
    quote="we do not find inputs of semantic similarity to the desired input",
    estimand="share of tokens still decoded after 30 steps of 0.01; share of decoded tokens that repeat another, end "
    "minus start",
    document="examples: repeated gibberish for the net after dozens of steps, no semantic similarity for GPT-2",
    procedure=lm.OrthogonalDrift(),
    criteria=(
        lm.AtMost("recovery, net", 0.2, because="gibberish is at most one token in five of the prompt"),
        lm.Above(
            "repetition, end − start, net",
            0,
            least=0.1,
            least_because="less than one token in ten is no repetition that an example would show",
            because="the document's example repeats itself",
        ),
        lm.AtMost("recovery, 12 blocks, float64", 0.2, because="no likeness is at most one token in five"),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0),
    only_at_full_effort=(lm.GPT2_UNTRAINED,),
    notes=(
        "Steps have one length for every model: how far thirty of them lead depends on the scale of its embeddings.",
        "Under the scripts' protocol the walk has 15 steps of 1 in float32 and one of 0.1 in float64.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
