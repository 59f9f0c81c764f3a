"""The claims of the invented session in report_samples."""

from __future__ import annotations

from typing import Any

CLAIMS: dict[str, dict[str, Any]] = {
    "C01": {
        "section": "Sentence representation",
        "statement": "The largest coefficient of W⁺e names the token that e belongs to, for any sentence.",
        "estimand": "share of vocabulary tokens whose embedding decodes to themselves",
        "document": "claims exact recovery, gives no count",
        "notes": ("A token can only lose to one whose row has the larger leverage.",),
        "pilot_seen": True,
    },
    "C03": {
        "section": "Sentence representation",
        "statement": "A wide net over a five-token sentence is inverted exactly within a few dozen steps.",
        "estimand": "share of prompts recovered exactly by step 100",
        "document": "exact at 40 to 60 steps, one sentence shown",
        "notes": (),
        "pilot_seen": True,
    },
    "C06": {
        "section": "Nonsense",
        "statement": "One untrained block with head reaches the bound in 100 steps, yet finds another text.",
        "estimand": "share of runs below the bound by step 100; share of exact recoveries at step 100",
        "document": "one prompt shown",
        "notes": ("The document does not say whether this block was trained, so both are run.",),
        "pilot_seen": False,
    },
    "C11": {
        "section": "Less trainable as trained",
        "statement": "One block with head: trained takes about a hundred times the iterations of untrained.",
        "estimand": "ratio of median iterations to reach the bound, trained over untrained",
        "document": "about 100×",
        "notes": ("The shift is wider than the spread of untrained embeddings: see controlled.",),
        "pilot_seen": True,
    },
    "C16": {
        "section": "Less trainable as trained",
        "statement": "Removing the head cuts the iterations to the bound more than a hundredfold.",
        "estimand": "ratio of median iterations to reach the bound, with head over without",
        "document": "more than 100×",
        "notes": (),
        "pilot_seen": True,
    },
    "C25": {
        "section": "Walks",
        "statement": "Fully connected nets do not pass a ratio of three without much tuning.",
        "estimand": "input distance over output distance, relative to a random step of equal size",
        "document": "at most 3",
        "notes": (),
        "pilot_seen": False,
    },
    "C28": {
        "section": "Repetition",
        "statement": "The larger the model, the less its recovered inputs repeat themselves.",
        "estimand": "share of repeated tokens, base minus xl, paired by prompt",
        "document": "four sentences shown",
        "notes": (),
        "pilot_seen": False,
    },
}
