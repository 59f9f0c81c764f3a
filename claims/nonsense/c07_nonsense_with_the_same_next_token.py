"""C07: inputs found by descent read as nonsense and give the prompt's next token."""

import engine as lm

HEAD = lm.Stack(blocks=1, head=True)
FOUND = lm.Sample(stack=HEAD, iterations=300, read_at="N", snapshots=(30, 100), probe=HEAD)
UNRECOVERED = (lm.Complement(lm.LastRecovered()),)

CLAIM = lm.Claim(
    id="C07",
    section="Language models translate nonsense into sense",
    sentence="Inputs that descent finds through one block and the head read as nonsense, and yet give the same next "
    "token as the prompt.",
    question="Do nonsense inputs found by descent give the same next token as the prompt?",
    quote="one can find many completely nonsensical inputs that also yield an identical output",
    estimand="share of units with the prompt's next token (largest logit of the last position), among those whose last "
    "token was not recovered; minus the share after the start and after a random shift of equal length; exact rate",
    document="two examples with the prompt's next token",
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
            lm.Difference(
                name="agreement − that of an equal shift",
                more=("found", lm.SameNextToken()),
                less=("found", lm.SameNextToken("shifted")),
                among=UNRECOVERED,
            ),
            lm.Rate(name="exact rate", of="found", reading=lm.Exact()),
            lm.Rate(name="agreement, all units", of="found", reading=lm.SameNextToken()),
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
        lm.Above(
            "agreement − that of an equal shift",
            0,
            least=0.1,
            least_because="less than one prompt in ten is no finding",
            because="nearness alone must not explain it",
        ),
        lm.AtMost("exact rate", 0.5, because="the found inputs read as nonsense"),
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED),
    protocols=(lm.PAGE, lm.SCRIPT, lm.CONTROLLED),
    units=lm.Units(smoke=0, standard=0),
    notes=(
        "Few units keep an unrecovered last token, so that twelve prompts would not decide: it runs at full effort.",
        "An untrained block's next token is mostly its last input token: agreement then only says that the last "
        "position was recovered, so such units do not count.",
        "The author's script compares the last vocabulary column at each position, which is a position and no token.",
        "Nonsense that steers a model is known from adversarial suffixes (arXiv 2307.15043).",
    ),
    beyond=lm.SeeAlso(
        claim="A03",
        words="This measures what descent on all positions at once finds; the ladder adds, without the head, what "
        "else can be found from the same activations.",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
