"""Drawings of what models say and of embedding matrices."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

import altair as alt

from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panel, Panels, Row, finite, label, number, trim
from engine.report.charts.scales import SHARE, Scale, fit_linear, fit_log
from engine.report.charts.strips import DotPlot, draw_strips, label_margin, layer_of
from engine.report.charts.theme import INK, PAPER, SERIES, SOFT, Arms
from engine.text import format_number

INPUTS = ("e_N", "decoded", "shift", "e₀")
"""What the probe is asked after, from the end of the descent to its start."""

PROMPTS, TOKENS, DOTS = 40, 12, 200
"""The most rows, bars and dots of a panel."""


def draw_agreement(panels: Panels, arms: Arms) -> Drawing | None:
    """After which inputs the probe says what it says after the prompt, run by run."""
    rows: list[Row] = []
    facts: list[str] = []
    kept: list[Panel] = []
    deep = 0
    for panel, arm, found in panels.split("arm"):
        name = panel.name if len({label(r["arm"]) for r in panel.rows}) == 1 else f"{panel.name} · {arm}"
        if len(kept) == PANELS:
            break
        kept.append(Panel(name=name, columns=panel.columns, rows=()))
        said = [(r, set(str(r["the same as after e"]).split(", "))) for r in found]
        # Units whose last token came back say the same for that reason alone: they stand below the others.
        said.sort(key=lambda pair: (pair[0]["last position recovered"] == "yes", -len(pair[1])))
        for place, (row, same) in enumerate(said[:PROMPTS], 1):
            back = row["last position recovered"] == "yes"
            base: Row = {"p": name, "k": "b" if back else "d", "y": place, "v": label(row["prompt"], 60)}
            rows += [base | {"x": k, "c": "the same" if w in same else "another"} for k, w in enumerate(INPUTS)]
        for k, word in enumerate(INPUTS):
            count = sum(word in same for _, same in said)
            rows.append({"p": name, "k": "t", "y": -0.3, "x": k, "v": f"{count} of {len(said)}"})
        deep = max(deep, min(len(said), PROMPTS))
        facts.append(f"{name}: after e_N {sum('e_N' in same for _, same in said)} of {len(said)}")
    if not rows:
        return None
    return Drawing(
        title="The same next token as after the prompt, run by run",
        caption="A row is a unit: filled where the next token after this input is the prompt’s own; pale rows below "
        "are units whose last token was recovered, which do not count.",
        facts=facts,
        panels=Panels(shown=tuple(kept), left=panels.left),
        layers=_agreement_layers(deep),
        rows=rows,
        packed=("x", "y", "v", "c"),
        height=8.5 * deep + 34,
    )


def _agreement_layers(deep: int) -> list[alt.Chart]:
    words = ("after e_N", "its tokens", "equal shift", "start e₀")
    named = "".join(f"datum.value=={k}?'{word}':" for k, word in enumerate(words)) + "''"
    axis = alt.Axis(values=[0, 1, 2, 3], labelExpr=named, title=None, grid=False, domain=False, ticks=False)
    x = alt.X("x:Q", scale=alt.Scale(domain=[-0.5, 3.5], nice=False, zero=False), axis=axis)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[deep + 1, -1.4], nice=False, zero=False), axis=None)
    shades = alt.Scale(domain=["the same", "another"], range=[SERIES[0], PAPER])
    fill = alt.Fill("c:N", scale=shades, legend=alt.Legend(symbolType="square", symbolStrokeColor=SOFT))
    tips = [alt.Tooltip("v:N", title="prompt"), alt.Tooltip("c:N", title="next token")]
    marks: dict[str, Any] = {"shape": "square", "size": 42, "stroke": SOFT, "strokeWidth": 0.6}
    return [
        layer_of("d").mark_point(**marks, opacity=1).encode(x=x, y=y, fill=fill, tooltip=tips),
        layer_of("b").mark_point(**marks, opacity=0.35).encode(x=x, y=y, fill=fill, tooltip=tips),
        layer_of("t").mark_text(fontSize=11, color=INK).encode(x=x, y=y, text="v:N"),
    ]


def draw_kept(panels: Panels, arms: Arms) -> Drawing | None:
    """How often a prompt's next token survives a shift, by how sure the model was of it."""
    rows: list[Row] = []
    facts: list[str] = []
    for panel in panels.shown:
        found = [(row, finite(row["probability"]), finite(row["kept"])) for row in panel.rows[:DOTS]]
        known = [(row, chance, kept) for row, chance, kept in found if chance is not None and kept is not None]
        for row, chance, kept in known:
            words = f"{label(row['prompt'], 60)} → {label(row['next token'], 30)}"
            rows.append({"p": panel.name, "k": "d", "x": trim(chance), "y": trim(kept), "v": words})
        if known:
            mean = fmean(kept for *_, kept in known)
            facts.append(f"{panel.name}: {format_number(mean)} of the shifts over {len(known)} prompts")
    if not rows:
        return None
    x = alt.X("x:Q", scale=SHARE.scale(), axis=SHARE.axis("probability of the next token", format=".0%", grid=False))
    y = alt.Y("y:Q", scale=SHARE.scale(), axis=SHARE.axis("shifts that leave it", format=".0%"))
    tips = [alt.Tooltip("v:N", title="prompt"), alt.Tooltip("y:Q", title="kept", format=".0%")]
    return Drawing(
        title="Which next tokens survive a shift",
        caption="A dot is a prompt: how sure the model was of its next token, and how many of the shifts leave it.",
        facts=facts,
        panels=panels.keep(rows),
        layers=[layer_of("d").mark_circle(size=54, opacity=0.65, color=SERIES[0]).encode(x=x, y=y, tooltip=tips)],
        rows=rows,
        packed=("x", "y", "v"),
    )


def draw_likeliest(panels: Panels, arms: Arms) -> Drawing | None:
    """The likeliest next tokens with their probabilities."""
    rows: list[Row] = []
    facts: list[str] = []
    deep, most = 0, 0.0
    for panel in panels.shown:
        found = [
            (label(r["token"], 24), chance) for r in panel.rows if (chance := finite(r["probability"])) is not None
        ]
        deep = max(deep, len(found[:TOKENS]))
        most = max((most, *(chance for _, chance in found[:TOKENS])))
        for place, (token, chance) in enumerate(found[:TOKENS], 1):
            rows.append({"p": panel.name, "k": "d", "y": place, "x": trim(chance), "v": token})
        facts += [f"{panel.name}: {token} {format_number(chance)}" for token, chance in found[:1]]
    if not rows:
        return None
    across = Scale(
        low=0, high=min(1.0, most * 1.35) or 1.0, ticks=tuple(k / 10 for k in range(11) if k / 10 <= most * 1.35)
    )
    x = alt.X("x:Q", scale=across.scale(), axis=across.axis("probability", format=".0%", grid=False))
    y = alt.Y("y:O", axis=alt.Axis(title="rank", domain=False), sort=list(range(1, deep + 1)))
    layers = [
        layer_of("d").mark_bar(color=SERIES[0], opacity=0.55, height={"band": 0.62}).encode(x=x, y=y),
        layer_of("d").mark_text(align="left", dx=6, fontSize=12, color=INK).encode(x=x, y=y, text="v:N"),
    ]
    return Drawing(
        title="The likeliest next tokens",
        caption="Bars are the model’s probabilities of its likeliest next tokens.",
        facts=facts,
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "v"),
        height=24 * deep,
    )


def draw_leverage(panels: Panels, arms: Arms) -> Drawing | None:
    """The leverage of tokens that do not come back against that of the tokens that won."""
    read: list[tuple[str, float, float, str]] = []
    facts: list[str] = []
    for panel in panels.shown:
        found = [(r, finite(r["leverage"]), finite(r["leverage of the winner"])) for r in panel.rows]
        known = [(r, a, b) for r, a, b in found if a is not None and b is not None]
        for row, a, b in known[:DOTS]:
            words = f"{label(row['token'], 24)} → {label(row['decoded as'], 24)}"
            read.append((panel.name, a, b, words))
        winners = Counter(label(r["decoded as"], 24) for r, _, _ in known)
        if winners:
            facts.append(f"{panel.name}: {len(known)} tokens, won by {len(winners)} others")
    if not read:
        return None
    scale = fit_log([v for _, a, b, _ in read for v in (a, b)], most=4)
    rows: list[Row] = [{"p": p, "k": "d", "x": scale.place(a), "y": scale.place(b), "v": v} for p, a, b, v in read]
    for name in dict.fromkeys(p for p, *_ in read):
        rows.extend({"p": name, "k": "r", "x": trim(v), "y": trim(v)} for v in (scale.low, scale.high))
    x = alt.X("x:Q", scale=scale.scale(), axis=scale.axis("leverage of the token", grid=False))
    y = alt.Y("y:Q", scale=scale.scale(), axis=scale.axis("leverage of the winner", grid=False))
    layers = [
        layer_of("r").mark_line(color=SOFT, strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y),
        layer_of("d")
        .mark_circle(size=46, opacity=0.6, color=SERIES[0])
        .encode(x=x, y=y, tooltip=alt.Tooltip("v:N", title="token → decoded as")),
    ]
    return Drawing(
        title="Tokens that do not come back",
        caption="A dot is a token that its own embedding does not decode to: it lies above the dashed line, as a row "
        "only loses to one of larger leverage.",
        facts=facts,
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "v"),
    )


def draw_inverses(panels: Panels, arms: Arms) -> Drawing | None:
    """The difference of two pseudo-inverses beside the tolerance, matrix by matrix."""
    rows: list[Row] = []
    read = [
        (panel.name, matrix, number(found[0]["difference"]), number(found[0]["tolerance"]))
        for panel, matrix, found in panels.split("matrix")
    ]
    known = [(p, m, d, t) for p, m, d, t in read if d is not None and t is not None]
    if not known:
        return None
    scale = fit_log([v for *_, d, t in known for v in (d, t)])
    for panel, matrix, d, t in known:
        base: Row = {"p": panel, "g": matrix}
        rows.append(base | {"k": "d", "x": scale.place(d), "v": format_number(d)})
        rows.append(base | {"k": "t", "x": scale.place(t), "v": format_number(t)})
    names = list(dict.fromkeys(m for _, m, *_ in known))
    x = alt.X("x:Q", scale=scale.scale(), axis=scale.axis("relative difference"))
    y = alt.Y("g:N", sort=names, title=None, axis=alt.Axis(labelColor=INK, grid=False))
    tip = [alt.Tooltip("g:N", title="matrix"), alt.Tooltip("v:N", title="value")]
    layers = [
        layer_of("t").mark_tick(thickness=2.5, size=15, color=INK).encode(x=x, y=y, tooltip=tip),
        layer_of("d").mark_circle(size=60, opacity=0.9, color=SERIES[0]).encode(x=x, y=y, tooltip=tip),
    ]
    return Drawing(
        title="Two pseudo-inverses, and how far they may differ",
        caption="A dot is the difference between the limit of the ridge solutions and the SVD, a bar the tolerance.",
        facts=[f"{p}, {m}: {format_number(d)} of {format_number(t)}" for p, m, d, t in known],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "v"),
        height=24 * len(names) + 6,
        margin=label_margin(names),
    )


def draw_frequency(panels: Panels, arms: Arms, vocabulary: Panels) -> Drawing | None:
    """How frequent, as words, the decoded tokens of every run are, beside the whole vocabulary's."""
    bands: list[Row] = [
        {"p": p.name, "lo": p.rows[0]["lower quartile"], "mid": p.rows[0]["median"], "hi": p.rows[0]["upper quartile"]}
        for p in vocabulary.shown
    ]
    strip = DotPlot(
        title="How frequent the decoded words are",
        caption="A dot is a run, a bar the mean of its arm; the band holds the middle half of the whole vocabulary’s "
        "words, with their median.",
        axis="mean log₁₀ frequency as an English word",
        group=("arm",),
        column="mean log₁₀ frequency",
        fit=fit_linear,
        middle="mean",
    )
    return draw_strips(panels, arms, strip, bands)
