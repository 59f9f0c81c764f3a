"""C32: the document's prompt is continued with its colour."""

import engine as lm

CLAIM = lm.Claim(
    id="C32",
    section="Language models translate nonsense into sense",
    sentence="A trained model's likeliest next token after 'The sky is' is ' blue'.",
    question="Does a trained model continue 'The sky is' with 'blue'?",
    quote="Feeding this input into a trained GPT-2, we get the very reasonable",
    estimand="whether the token of the largest logit after the last one of the prompt is ' blue': 1 or 0",
    document="blue",
    procedure=lm.NextTokenIs(prompt="The sky is", word=" blue"),
    criteria=(lm.AtLeast("next token is blue", 1, because="the document names the word", on="trained GPT-2"),),
    subjects=(*lm.TRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=1, standard=1, full=1),
    notes=(
        "The document's figure is for GPT-2, so that no other model can decide it. What the others say is shown.",
        "One prompt, the document's own, and nothing drawn: the answer is exact, and a user's --prompt does not apply.",
        "The document does not say which size of GPT-2, nor how the next word was chosen; here it is the likeliest.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
