"""A04: activations rounded to eight bits still determine the prompt."""

import engine as lm

SEARCHES = (
    ("1 block", lm.Search(stack=lm.Stack(blocks=1), observed="8 bits", margins=16)),
    (
        "12 blocks",
        lm.Search(
            stack=lm.Stack(blocks=12),
            observed="8 bits",
            margins=16,
            units=lm.Units(smoke=0, standard=0, full=16, wave=16),
        ),
    ),
)

CLAIM = lm.Claim(
    id="A04",
    section="Recovery from activations",
    sentence="Where activations are rounded to eight bits, the nearest wrong token still lies beyond their noise.",
    question="Does output rounded to eight bits still tell the right token from all others?",
    estimand="share of the positions tried at which no other token of the whole vocabulary lies within the noise of "
    "equal inputs; how far the nearest other lies over that noise (the geometric mean) and the exact rate beside it",
    document="the document calls int8 no reason for what fails",
    procedure=lm.Searches(
        samples=SEARCHES,
        estimates=(
            *(lm.Distinguishable(name=f"told apart, {name}", of=name) for name, _ in SEARCHES),
            *(lm.MarginOverNoise(name=f"margin / noise, {name}", of=name) for name, _ in SEARCHES),
            *(lm.RecoveryRate(name=f"rate, {name}", of=name) for name, _ in SEARCHES),
        ),
    ),
    criteria=tuple(
        lm.AtLeast(f"told apart, {name}", 0.8, because="the bar of the other recoveries, A01 and A02")
        for name, _ in SEARCHES
    ),
    subjects=(*lm.TRAINED, lm.GPT2_UNTRAINED, lm.GPT2_XL),
    protocols=(lm.DIRECT,),
    units=lm.Units(smoke=0, standard=0, full=16, wave=16),
    notes=(
        "The activations are rounded, not the model: each position's numbers become 8-bit integers times a scale, the "
        "largest over 127. The model that candidates go through keeps its precision.",
        "Distances are the largest difference in steps of the rounding: equal inputs lie half a step apart at most, "
        "and their float noise.",
        "Amended: all positions of a sample was an exhaustive count of it; now the interval of the rate is judged, and "
        "there are sixteen positions behind twelve blocks, since all of eight is [0.68, 1] and decides nothing. The "
        "bar was set when all positions tried were known to be told apart.",
        "Amended after eight positions behind twelve blocks of smollm2-135m had been seen by another measure: by the "
        "relative L² distance, in which the rounding of a few large numbers drowns all others, thousands of tokens lay "
        "within the noise of two first positions, and a geometric mean, the criterion then, did not show it. The row "
        "would have read inconclusive, 1.8 [0.56, 4.5].",
    ),
)


def test_claim(verdict: lm.Verdict) -> None:
    assert verdict.supported, verdict.sentence
