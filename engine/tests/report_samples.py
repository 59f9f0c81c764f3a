"""Records of an invented session: every verdict and outcome once, with plausible numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from engine.records import CriterionRecord, Provenance, Record, RecordedVerdict, Registration, Table
from engine.tests.report_sample_claims import CLAIMS

INF = math.inf

PROVENANCE = Provenance(
    commit="3f9ac1d27be04558a1c6e2d90b7745fe81a0c332",
    dirty=True,
    versions={"torch": "2.13.0", "transformers": "5.23.0", "lm-claims": "0.1.0"},
    device="cpu",
    machine="x86_64, 2 cores, 8 GB",
    threads=2,
    dtype="float32",
    measured_at="2026-02-14T09:31:07Z",
)

REGISTERED = Registration(status="registered", date="2026-01-15T08:00:00+00:00", commit="51" * 20)
AMENDED = Registration(
    status="amended",
    date=REGISTERED.date,
    commit=REGISTERED.commit,
    why="criteria changed after 2026-01-15 (commit 515151515151), and not registered again",
)
EXPLORATORY = Registration(status="exploratory", why="with the user's own prompts")


def make_criterion(text: str, estimate: tuple[str, Any, Any, Any], ruling: str, **changes: Any) -> CriterionRecord:
    """A criterion 'name > bound' (or any text with `region`), held against (name, value, low, high)."""
    name, value, low, high = estimate
    region = changes.pop("region", (float(text.split()[-1]), INF))
    settings: dict[str, Any] = {
        "role": "only",
        "because": "",
        "n": 36,
        "counts": "prompts",
        "method": "Wilson interval",
        "sentence": "",
    } | changes
    return CriterionRecord(
        text=text,
        estimate=name,
        value=value,
        low=low,
        high=high,
        ruling=ruling,
        region_low=region[0],
        region_high=region[1],
        **settings,
    )


def make_record(claim: str, subject: str, protocol: str, outcome: str, ruling: str | None, **changes: Any) -> Record:
    """An item of the claim; what `changes` does not name is plausible."""
    settings: dict[str, Any] = {
        **CLAIMS[claim],
        "subject": subject,
        "subject_note": "trained, weights from the packaged file" if "untrained" not in subject else "random weights",
        "tier": "cpu",
        "effort": "standard",
        "sentence": "",
        "settings": {"cap N": "1000", "step η": "0.5 → 0.05", "prompts": "36 short sentences", "seeds": "1"},
        "sources": {subject: "sha256 7c1f09d2a4be6613"},
        "command": f"pytest claims -k '{claim}' --subject {subject} --protocol {protocol} --effort standard",
        "arms": ("a41f0c77d29b", "0be2713c9d54"),
        "cost_s": 41.25,
        "provenance": PROVENANCE,
        "registration": {"C06": AMENDED, "C25": EXPLORATORY}.get(claim, REGISTERED),
    } | changes
    return Record(claim=claim, protocol=protocol, outcome=outcome, ruling=ruling, **settings)


_KM = {"method": "ratio of Kaplan–Meier medians, bootstrap over pairs", "counts": "pairs"}


def _judge_head(direction: tuple[Any, ...], magnitude: tuple[Any, ...], bound: float) -> tuple[CriterionRecord, ...]:
    (value, low, high, first), (_, _, _, second) = direction, magnitude
    name = ("iterations ratio", value, low, high)
    return (
        make_criterion("iterations ratio > 1", name, first, role="direction", because="the claim’s direction", **_KM),
        make_criterion(
            f"iterations ratio > {bound:g}",
            name,
            second,
            role="magnitude",
            because="the document’s figure",
            **_KM,
        ),
    )


def make_records() -> list[Record]:
    """Sixteen items of seven claims."""
    return [*_recoveries(), *_ratios(), *_others()]


def _recoveries() -> list[Record]:
    tokens = tuple((1000 + 37 * i, f" tok{i}", f"won by {i}", 0.5 + i / 100) for i in range(12))
    share = {"region": (1.0, 1.0), "because": "the document says always", "n": 49152, "counts": "tokens"}
    return [
        make_record(
            "C01",
            "smollm2-135m",
            "direct",
            "xfailed",
            "refuted",
            sentence="Refuted: share recovered 0.99998 [0.99985, 0.99999] lies outside share recovered = 1.",
            criteria=(
                make_criterion(
                    "share recovered = 1",
                    ("share recovered", 49151 / 49152, 0.99985, 0.999994),
                    "refuted",
                    **share,
                ),
            ),
            on_record=RecordedVerdict(ruling="refuted", date="2026-01-20", reason="one token loses to larger leverage"),
            tables=(
                Table(
                    title="Tokens that decode to another",
                    columns=("id", "token", "winner", "leverage"),
                    rows=tokens,
                ),
                Table(
                    title="By kind of token",
                    columns=("kind", "n", "share"),
                    rows=(("word-initial", 31207, 1.0), ("inner", 17945, 0.999944), ("special", None, None)),
                    note="Special ids are listed apart.",
                ),
            ),
            cost_s=192.4,
        ),
        make_record(
            "C01",
            "smollm2-135m-untrained",
            "direct",
            "passed",
            "supported",
            sentence="Supported: share recovered 1 [1, 1] lies inside share recovered = 1.",
            criteria=(make_criterion("share recovered = 1", ("share recovered", 1.0, 1.0, 1.0), "supported", **share),),
        ),
        *[
            make_record(
                "C03",
                "fcnet",
                protocol,
                "passed",
                "supported",
                sentence=f"Supported: exact rate {value:.3g} [{low:.3g}, 1] lies inside exact rate ≥ 0.8.",
                criteria=(
                    make_criterion(
                        "exact rate ≥ 0.8",
                        ("exact rate", value, low, 1.0),
                        "supported",
                        because="dozens of steps",
                    ),
                ),
            )
            for protocol, value, low in (("page", 36 / 36, 0.9036), ("controlled", 35 / 36, 0.858))
        ],
        make_record(
            "C06",
            "gpt2-untrained",
            "page",
            "inconclusive",
            "inconclusive",
            sentence="Inconclusive: P(hit) 0.917 [0.782, 0.971] lies across the edge of P(hit) ≥ 0.9; "
            "about 310 prompts would decide. "
            "Exact rate 0.0278 [0.0049, 0.142] lies across the edge of exact rate ≤ 0.1.",
            criteria=(
                make_criterion(
                    "P(hit) ≥ 0.9",
                    ("P(hit)", 33 / 36, 0.7817, 0.9713),
                    "inconclusive",
                    because="it is reached",
                ),
                make_criterion(
                    "exact rate ≤ 0.1",
                    ("exact rate", 1 / 36, 0.0049, 0.1417),
                    "inconclusive",
                    region=(-INF, 0.1),
                    because="yet not the prompt",
                ),
            ),
        ),
    ]


def _ratios() -> list[Record]:
    return [
        make_record(
            "C11",
            "smollm2-135m",
            "page",
            "finding",
            "partly supported",
            sentence="Partly supported: iterations ratio 11.3 [8.42, 15.1] lies inside > 1 and outside > 30.",
            criteria=_judge_head((11.31, 8.42, 15.07, "supported"), (0, 0, 0, "refuted"), 30),
        ),
        make_record(
            "C11",
            "smollm2-135m",
            "controlled",
            "xfailed",
            "refuted",
            sentence="Refuted: iterations ratio 0.62 [0.48, 0.81] lies outside iterations ratio > 1.",
            criteria=_judge_head((0.62, 0.48, 0.81, "refuted"), (0, 0, 0, "refuted"), 30),
            on_record=RecordedVerdict(
                ruling="refuted",
                date="2026-01-20",
                reason="over equal ways it is faster",
            ),
        ),
        make_record(
            "C16",
            "smollm2-135m",
            "page",
            "passed",
            "supported",
            sentence="Supported: iterations ratio 412 [236, ∞] lies inside iterations ratio > 100.",
            criteria=_judge_head((412.0, 236.5, INF, "supported"), (0, 0, 0, "supported"), 100),
            on_record=RecordedVerdict(ruling="supported", date="2026-01-20", reason="reference run"),
        ),
        make_record(
            "C16",
            "smollm2-135m",
            "controlled",
            "drift",
            "refuted",
            sentence="Refuted: iterations ratio 0.94 [0.87, 0.98] lies outside iterations ratio > 1.",
            criteria=_judge_head((0.941, 0.873, 0.982, "refuted"), (0, 0, 0, "refuted"), 100),
            on_record=RecordedVerdict(ruling="partly supported", date="2026-01-20", reason="twelve, not a hundred"),
        ),
        make_record(
            "C16",
            "gpt2",
            "page",
            "not run",
            "not run at this effort",
            sentence="Not run at this effort: iterations ratio (asked: iterations ratio > 100).",
            criteria=_judge_head(
                (None, None, None, "not run at this effort"), (0, 0, 0, "not run at this effort"), 100
            ),
            tier="gpu",
            arms=(),
            cost_s=0.0,
        ),
    ]


def _others() -> list[Record]:
    needs = "needs a GPU with 8 GB; run pytest claims -m gpu on a machine that has one"
    base = make_record(
        "C25",
        "mlp",
        "controlled",
        "xfailed",
        "refuted",
        sentence="Refuted: walk ratio 41.7 [29.3, 58.8] lies outside walk ratio ≤ 3.",
        criteria=(
            make_criterion(
                "walk ratio ≤ 3",
                ("walk ratio", 41.7, 29.3, 58.8),
                "refuted",
                region=(-INF, 3.0),
                n=96,
                counts="walks",
                method="median, bootstrap by prompt",
                because="the document’s figure",
            ),
        ),
        on_record=RecordedVerdict(
            ruling="refuted", date="2026-01-20", reason="the best of 24 settings passes 3 with ease"
        ),
    )
    skip = {
        "sentence": needs,
        "tier": "gpu",
        "provenance": None,
        "arms": (),
        "cost_s": 0.0,
        "settings": {},
        "sources": {},
    }
    crash = "RuntimeError: the loss became NaN in the first step\n  arm 0be2713c9d54, seed 3"
    return [
        base,
        replace(base, subject="fcnet", outcome="error", ruling=None, criteria=(), on_record=None, sentence=crash),
        make_record("C28", "gpt2-xl", "page", "skipped", None, **skip),
        make_record("C28", "gpt2-xl", "script", "skipped", None, **skip),
        make_record("C28", "gpt2-xl", "controlled", "skipped", None, **skip),
        make_record("C16", "gpt2", "controlled", "skipped", None, **skip),
    ]
