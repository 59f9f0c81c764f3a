"""C05: a shift of a twentieth, in every coordinate of the embeddings, typically leaves the next token as it was."""

from engine import DIRECT, GPT2_SIZES, GPT2_XL, SMOLLM2, AtLeast, Claim, ShiftAgreement, Units, Verdict

CLAIM = Claim(
    id="C05",
    section="Sentence Representation with Language Models",
    sentence="Shifting a prompt's embeddings by N(0, (1/20)²) typically does not change a trained model's next token.",
    estimand="share of eight random shifts of each prompt after which the whole model's likeliest next token is the "
    "same",
    document="typically no change",
    procedure=ShiftAgreement(sigma=0.05, draws=8),
    criteria=(AtLeast("agreement", 0.5, because="typically is at least every other time"),),
    subjects=(SMOLLM2, *GPT2_SIZES, GPT2_XL),
    protocols=(DIRECT,),
    units=Units(),
    notes=(
        "The same shift is a different share of each model's embeddings: what it does depends on their scale.",
        "A prompt whose next token is nearly a tie flips easily; the table has every prompt's probability.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
