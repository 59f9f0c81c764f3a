"""C56: most inputs whose output is near the prompt's are unintelligible."""

import engine as lm

BLOCK = lm.Stack(blocks=1)
RUNS = tuple(
    (f"{start}, {factor:g} × η", lm.Sample(stack=BLOCK, blend=blend, step_factor=factor, keep_end=True))
    for start, blend in (("noise", (1.0, 0.0)), ("noise + e", (1.0, 1.0)))
    for factor in (0.25, 0.5, 1.0, 2.0)
)
NAMES = tuple(name for name, _ in RUNS)
INSIDE = (lm.InsideBound(),)

CLAIM = lm.Claim(
    id="C56",
    section="Implications",
    sentence="Most inputs whose output lies within the shift bound of the prompt's decode neither to the prompt nor to "
    "words.",
    question="Do most inputs with nearly the same output read as gibberish?",
    quote="most nearby points correspond to inputs that are not even approximately sentences but are instead "
    "completely unintelligible",
    estimand="share of the inputs at which descents from two starts at four step sizes each come within the bound that "
    "decode to neither; to the prompt and to words that are not the prompt beside it",
    document="most nearby points are said to correspond to unintelligible text",
    procedure=lm.Inversions(
        samples=RUNS,
        estimates=(
            lm.PooledMean(name="neither", over=NAMES, reading=lm.DecodesTo("neither"), among=INSIDE),
            lm.PooledMean(name="prompt", over=NAMES, reading=lm.DecodesTo("prompt"), among=INSIDE),
            lm.PooledMean(name="words", over=NAMES, reading=lm.DecodesTo("words"), among=INSIDE),
        ),
    ),
    criteria=(lm.AtLeast("neither", 0.5, because="most is at least half"),),
    subjects=(*lm.TRAINED, lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=12, full=36),
    only_at_full_effort=(lm.SMOLLM2_UNTRAINED, lm.GEMMA3_UNTRAINED, lm.GPT2_UNTRAINED),
    notes=(
        "The inputs are those that descents find, a sample of the nearby ones and no volume: other starts find others.",
        "A run ends within twenty iterations of its hit, so that outputs lie at about one distance, the bound.",
        "Words are decoded tokens that wordfreq knows as English words, with punctuation; they need not be a sentence.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
