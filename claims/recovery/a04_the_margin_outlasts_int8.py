"""A04: activations rounded to eight bits still determine the prompt."""

from engine import (
    DIRECT,
    GPT2_SIZES,
    GPT2_UNTRAINED,
    GPT2_XL,
    SMOLLM2,
    Above,
    Claim,
    MarginOverNoise,
    Recover,
    RecoveryRate,
    Search,
    Stack,
    Units,
    Verdict,
)

SEARCHES = (
    ("1 block", Search(stack=Stack(blocks=1), observed="int8", margins=16)),
    (
        "12 blocks",
        Search(
            stack=Stack(blocks=12),
            observed="int8",
            margins=8,
            units=Units(smoke=0, standard=0, full=16, wave=16),
        ),
    ),
)

CLAIM = Claim(
    id="A04",
    section="Recovery from activations",
    sentence="Where activations are rounded to eight bits, the nearest wrong token still lies beyond their noise.",
    estimand="distance of the nearest other token of the whole vocabulary over the distance up to which activations "
    "count as equal (the geometric mean over positions); the exact rate beside it",
    document="the document calls int8 no reason for what fails",
    procedure=Recover(
        samples=SEARCHES,
        estimates=(
            *(MarginOverNoise(name=f"margin / noise, {name}", of=name) for name, _ in SEARCHES),
            *(RecoveryRate(name=f"rate, {name}", of=name) for name, _ in SEARCHES),
        ),
    ),
    criteria=tuple(
        Above(f"margin / noise, {name}", 1, because="what lies farther than the noise is told apart")
        for name, _ in SEARCHES
    ),
    subjects=(SMOLLM2, GPT2_UNTRAINED, *GPT2_SIZES, GPT2_XL),
    protocols=(DIRECT,),
    units=Units(smoke=0, standard=0, full=16, wave=16),
    notes=(
        "The activations are rounded, not the model: each position's numbers become 8-bit integers times a scale, the "
        "largest over 127. The model that candidates go through keeps its precision.",
        "The noise is that of equal inputs, of which one is rounded.",
    ),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
