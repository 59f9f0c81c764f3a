"""C32: the document's prompt is continued with its colour."""

from engine import DIRECT, GPT2_SIZES, GPT2_XL, SMOLLM2, AtLeast, Claim, NextTokenIs, Units, Verdict

CLAIM = Claim(
    id="C32",
    section="Language models translate nonsense into sense",
    sentence="A trained model's likeliest next token after 'The sky is' is ' blue'.",
    estimand="whether the token of the largest logit after the last one of the prompt is ' blue': 1 or 0",
    document="blue",
    procedure=NextTokenIs(prompt="The sky is", word=" blue"),
    criteria=(AtLeast("next token is blue", 1, because="the document names the word"),),
    subjects=(SMOLLM2, *GPT2_SIZES, GPT2_XL),
    protocols=(DIRECT,),
    units=Units(smoke=1, standard=1, full=1),
    notes=(
        "One prompt, the document's own, and nothing drawn: the answer is exact, and a user's --prompt does not apply.",
        "The document does not say which size of GPT-2, nor how the next word was chosen; here it is the likeliest.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
