"""C05: a shift of a twentieth, in every coordinate of the embeddings, typically leaves the next token as it was."""

import engine as lm

CLAIM = lm.Claim(
    id="C05",
    section="Sentence Representation with Language Models",
    sentence="Shifting a prompt's embeddings by N(0, (1/20)²) typically does not change a trained model's next token.",
    question="Does a small random shift of the embeddings usually leave the next token unchanged?",
    quote="typically results in no change to the decoded GPT-2 output",
    estimand="share of eight random shifts of each prompt after which the whole model's likeliest next token is the "
    "same",
    document="typically no change",
    procedure=lm.ShiftAgreement(sigma=0.05, draws=8),
    criteria=(lm.AtLeast("agreement", 0.5, because="typically is at least every other time"),),
    subjects=(*lm.TRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(standard=60, full=60),
    notes=(
        "The same shift is a different share of each model's embeddings: what it does depends on their scale.",
        "A prompt whose next token is nearly a tie flips easily; the table has every prompt's probability.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
