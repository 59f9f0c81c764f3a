"""C10: through twelve untrained blocks, other texts give the prompt's next token."""

import engine as lm

DEEP = lm.Stack(blocks=12, head=True)
FOUND = lm.Sample(stack=DEEP, iterations=2000, read_at="N", step=0.001, snapshots=(100, 1000), probe=DEEP)
UNRECOVERED = (lm.Complement(lm.LastRecovered()),)

CLAIM = lm.Claim(
    id="C10",
    section="Language models translate nonsense into sense",
    sentence="Through twelve untrained blocks and the head, 2000 iterations find entirely different text with the same "
    "next token.",
    question="Through twelve untrained blocks, does quite different text give the same next token?",
    quote="we can recover inputs that yield the same output token as our original prompt but are completely different",
    estimand="share of units with the prompt's next token, among those whose last token was not recovered, and minus "
    "the share after the start; recovery",
    document="two examples with none or one of the prompt's tokens (N = 2000, η = 0.001)",
    procedure=lm.Inversions(
        samples=(("found", FOUND),),
        estimates=(
            lm.Rate(
                name="agreement (last token not recovered)", of="found", reading=lm.SameNextToken(), among=UNRECOVERED
            ),
            lm.Difference(
                name="agreement − that of the start",
                more=("found", lm.SameNextToken()),
                less=("found", lm.SameNextToken("start")),
                among=UNRECOVERED,
            ),
            lm.Mean(name="recovery", of="found", reading=lm.Recovery()),
        ),
    ),
    criteria=(
        lm.AtLeast("agreement (last token not recovered)", 0.5, because="the document says that they give the same"),
        lm.Above(
            "agreement − that of the start",
            0,
            least=0.1,
            least_because="less than one prompt in ten is no finding",
            because="the descent must have brought it about",
        ),
        lm.AtMost("recovery", 0.2, because="the found texts are entirely different"),
    ),
    subjects=(lm.GPT2_UNTRAINED,),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=("η = 0.001 is the page's own and fixed under its protocol; tuned under the controlled one.",),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures whether joint descent ends in other text; the ladder adds, on a trained model without "
        "head, what other methods find behind twelve blocks.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
