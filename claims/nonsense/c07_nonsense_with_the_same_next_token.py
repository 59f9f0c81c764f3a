"""C07: inputs found by descent read as nonsense and give the prompt's next token."""

from engine import (
    CONTROLLED,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    PAGE,
    SCRIPT,
    SMOLLM2,
    Above,
    AtLeast,
    AtMost,
    Claim,
    Complement,
    Difference,
    Exact,
    Inversions,
    LastRecovered,
    Rate,
    SameNextToken,
    Sample,
    SeeAlso,
    Stack,
    Units,
    Verdict,
)

HEAD = Stack(blocks=1, head=True)
FOUND = Sample(stack=HEAD, iterations=300, read_at="N", snapshots=(30, 100), probe=HEAD)
UNRECOVERED = (Complement(LastRecovered()),)

CLAIM = Claim(
    id="C07",
    section="Language models translate nonsense into sense",
    sentence="Inputs that descent finds through one block and the head read as nonsense, and yet give the same next "
    "token as the prompt.",
    estimand="share of units with the prompt's next token (largest logit of the last position), among those whose last "
    "token was not recovered; minus the share after the start and after a random shift of equal length; exact rate",
    document="two examples with the prompt's next token",
    procedure=Inversions(
        samples=(("found", FOUND),),
        estimates=(
            Rate(name="agreement (last token not recovered)", of="found", reading=SameNextToken(), among=UNRECOVERED),
            Difference(
                name="agreement − that of the start",
                more=("found", SameNextToken()),
                less=("found", SameNextToken("start")),
                among=UNRECOVERED,
            ),
            Difference(
                name="agreement − that of an equal shift",
                more=("found", SameNextToken()),
                less=("found", SameNextToken("shifted")),
                among=UNRECOVERED,
            ),
            Rate(name="exact rate", of="found", reading=Exact()),
            Rate(name="agreement, all units", of="found", reading=SameNextToken()),
        ),
    ),
    criteria=(
        AtLeast("agreement (last token not recovered)", 0.5, because="the document says that they give the same"),
        Above("agreement − that of the start", 0, because="the descent must have brought it about"),
        Above("agreement − that of an equal shift", 0, because="nearness alone must not explain it"),
        AtMost("exact rate", 0.5, because="the found inputs read as nonsense"),
    ),
    subjects=(SMOLLM2, GPT2_UNTRAINED, *GPT2_SIZES),
    protocols=(PAGE, SCRIPT, CONTROLLED),
    units=Units(smoke=0, standard=0),
    notes=(
        "Few units keep an unrecovered last token, so that twelve prompts would not decide: it runs at full effort.",
        "An untrained block's next token is mostly its last input token: agreement then only says that the last "
        "position was recovered, so such units do not count.",
        "The author's script compares the last vocabulary column at each position, which is a position and no token.",
        "Nonsense that steers a model is known from adversarial suffixes (arXiv 2307.15043).",
    ),
    beyond=SeeAlso(
        claim="A03",
        words="This measures what descent on all positions at once finds; the ladder adds, without the head, what "
        "else can be found from the same activations.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
