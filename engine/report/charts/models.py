"""Drawings of what models say, and of embedding matrices."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

import altair as alt

from engine.report.charts.channels import SHARE, Arms, Axis, fit_linear, fit_log, layer_of, name_rows, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panels, Row, in_every_panel, label, number, read_numbers, trim
from engine.report.charts.strips import DotPlot, draw_dots, label_margin
from engine.report.charts.theme import INK, PAPER, SERIES, SOFT
from engine.text import format_number

INPUTS = {"e_N": "after e_N", "decoded": "its tokens", "shift": "equal shift", "e₀": "start e₀"}
"""The inputs after which the probe is asked, from the end of the descent to its start, with their words on the axis."""

PROMPTS, TOKENS, DOTS = 40, 12, 200
"""The most rows, bars and dots of a panel."""


def draw_agreement(panels: Panels, arms: Arms) -> Drawing | None:
    """The inputs after which the probe gives the same next token as after the prompt, run by run."""
    rows: list[Row] = []
    facts: list[str] = []
    deep = 0
    for panel, arm, found in panels.split("arm")[:PANELS]:
        name = panel.name if len({label(r["arm"]) for r in panel.rows}) == 1 else f"{panel.name} · {arm}"
        units = [
            (row["last position recovered"] == "yes", set(str(row["the same as after e"]).split(", ")), row)
            for row in found
        ]
        # A unit whose last token was recovered agrees for that reason alone: it stands below the others, and is pale.
        units.sort(key=lambda unit: (unit[0], -len(unit[1])))
        for place, (recovered, same, row) in enumerate(units[:PROMPTS], 1):
            base: Row = {"p": name, "k": "b" if recovered else "d", "y": place, "v": label(row["prompt"], 60)}
            rows += [base | {"x": k, "c": "the same" if one in same else "another"} for k, one in enumerate(INPUTS)]
        counts = {one: sum(one in same for _, same, _ in units) for one in INPUTS}
        for k, count in enumerate(counts.values()):
            rows.append({"p": name, "k": "t", "y": -0.3, "x": k, "v": f"{count} of {len(units)}"})
        deep = max(deep, min(len(units), PROMPTS))
        facts.append(f"{name}: after e_N {counts['e_N']} of {len(units)}")
    if not rows:
        return None
    words = "".join(f"datum.value=={k}?'{word}':" for k, word in enumerate(INPUTS.values())) + "''"
    axis = alt.Axis(values=[0, 1, 2, 3], labelExpr=words, title=None, grid=False, domain=False, ticks=False)
    x = alt.X("x:Q", scale=alt.Scale(domain=[-0.5, 3.5], nice=False, zero=False), axis=axis)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[deep + 1, -1.4], nice=False, zero=False), axis=None)
    shades = alt.Scale(domain=["the same", "another"], range=[SERIES[0], PAPER])
    fill = alt.Fill("c:N", scale=shades, legend=alt.Legend(symbolType="square", symbolStrokeColor=SOFT))
    square: dict[str, Any] = {"shape": "square", "size": 42, "stroke": SOFT, "strokeWidth": 0.6}
    counted, recovered = (
        layer_of(kind).encode(x=x, y=y, fill=fill, tooltip=tell(v="prompt", c="next token")) for kind in "db"
    )
    return Drawing(
        title="The same next token as after the prompt, run by run",
        caption="A row is a unit. A square is filled where the next token after this input is the one after the "
        "prompt. Pale rows are units whose last token was recovered, which do not count.",
        facts=facts,
        layers=[
            counted.mark_point(**square, opacity=1),
            recovered.mark_point(**square, opacity=0.35),
            layer_of("t").mark_text(fontSize=11, color=INK).encode(x=x, y=y, text="v:N"),
        ],
        rows=rows,
        packed=("x", "y", "v", "c"),
        height=8.5 * deep + 34,
    )


def draw_kept(panels: Panels, arms: Arms) -> Drawing | None:
    """How often a prompt's next token survives a shift, by how sure the model was of it."""
    rows: list[Row] = []
    facts: list[str] = []
    for panel in panels.shown:
        known = read_numbers(panel.rows[:DOTS], "probability", "kept")
        for row, chance, kept in known:
            words = f"{label(row['prompt'], 60)} → {label(row['next token'], 30)}"
            rows.append({"p": panel.name, "x": trim(chance), "y": trim(kept), "v": words})
        if known:
            mean = fmean(kept for *_, kept in known)
            facts.append(f"{panel.name}: {format_number(mean)} of the shifts over {len(known)} prompts")
    if not rows:
        return None
    dots = alt.Chart().mark_circle(size=54, opacity=0.65, color=SERIES[0])
    return Drawing(
        title="Which next tokens survive a shift",
        caption="A dot is a prompt: how sure the model was of its next token, and how many of the shifts leave it.",
        facts=facts,
        layers=[
            dots.encode(
                x=SHARE.x("probability of the next token", format=".0%", grid=False),
                y=SHARE.y("shifts that leave it", format=".0%"),
                tooltip=tell(v="prompt", y=("kept", ".0%")),
            )
        ],
        rows=rows,
        packed=("x", "y", "v"),
    )


def draw_likeliest(panels: Panels, arms: Arms) -> Drawing | None:
    """The likeliest next tokens with their probabilities."""
    rows: list[Row] = []
    facts: list[str] = []
    deep, most = 0, 0.0
    for panel in panels.shown:
        found = [(label(row["token"], 24), chance) for row, chance in read_numbers(panel.rows, "probability")][:TOKENS]
        for place, (token, chance) in enumerate(found, 1):
            rows.append({"p": panel.name, "y": place, "x": trim(chance), "v": token})
        deep, most = max(deep, len(found)), max((most, *(chance for _, chance in found)))
        facts += [f"{panel.name}: {token} {format_number(chance)}" for token, chance in found[:1]]
    if not rows:
        return None
    reach = most * 1.35  # the tokens stand to the right of their bars
    across = Axis(low=0, high=min(1.0, reach) or 1.0, ticks=tuple(k / 10 for k in range(11) if k / 10 <= reach))
    x = across.x("probability", format=".0%", grid=False)
    y = alt.Y("y:O", axis=alt.Axis(title="rank", domain=False), sort=list(range(1, deep + 1)))
    return Drawing(
        title="The likeliest next tokens",
        caption="Bars are the model’s probabilities of its likeliest next tokens.",
        facts=facts,
        layers=[
            alt.Chart().mark_bar(color=SERIES[0], opacity=0.55, height={"band": 0.62}).encode(x=x, y=y),
            alt.Chart().mark_text(align="left", dx=6, fontSize=12, color=INK).encode(x=x, y=y, text="v:N"),
        ],
        rows=rows,
        packed=("x", "y", "v"),
        height=24 * deep,
    )


def draw_leverage(panels: Panels, arms: Arms) -> Drawing | None:
    """The leverage of tokens that do not decode to themselves, against that of the tokens that win."""
    read: list[tuple[str, float, float, str]] = []
    facts: list[str] = []
    for panel in panels.shown:
        known = read_numbers(panel.rows, "leverage", "leverage of the winner")
        for row, own, winner in known[:DOTS]:
            read.append((panel.name, own, winner, f"{label(row['token'], 24)} → {label(row['decoded as'], 24)}"))
        if winners := Counter(label(row["decoded as"], 24) for row, *_ in known):
            facts.append(f"{panel.name}: {len(known)} tokens, won by {len(winners)} others")
    if not read:
        return None
    axis = fit_log([value for _, own, winner, _ in read for value in (own, winner)], most=4)
    rows: list[Row] = [
        {"p": panel, "k": "d", "x": axis.place(own), "y": axis.place(winner), "v": words}
        for panel, own, winner, words in read
    ]
    ends = (trim(axis.low), trim(axis.high))
    x, y = axis.x("leverage of the token", grid=False), axis.y("leverage of the winner", grid=False)
    dots = layer_of("d").mark_circle(size=46, opacity=0.6, color=SERIES[0])
    return Drawing(
        title="Tokens that do not come back",
        caption="A dot is a token that its own embedding does not decode to. It lies above the dashed line, since a "
        "row only loses to one of larger leverage.",
        facts=facts,
        layers=[
            layer_of("r").mark_line(color=SOFT, strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y),
            dots.encode(x=x, y=y, tooltip=tell(v="token → decoded as")),
        ],
        rows=rows + [row for end in ends for row in in_every_panel(rows, k="r", x=end, y=end)],
        packed=("x", "y", "v"),
    )


def draw_inverses(panels: Panels, arms: Arms) -> Drawing | None:
    """The difference of two pseudo-inverses beside the tolerance, matrix by matrix."""
    known = [
        (panel.name, matrix, difference, tolerance)
        for panel, matrix, found in panels.split("matrix")
        for _, difference, tolerance in read_numbers(found[:1], "difference", "tolerance", read=number)
    ]
    if not known:
        return None
    axis = fit_log([value for *_, difference, tolerance in known for value in (difference, tolerance)])
    rows: list[Row] = []
    for panel, matrix, *values in known:
        for kind, value in zip("dt", values, strict=True):
            rows.append({"p": panel, "g": matrix, "k": kind, "x": axis.place(value), "v": format_number(value)})
    names = list(dict.fromkeys(matrix for _, matrix, *_ in known))
    difference, tolerance = (
        layer_of(kind).encode(
            x=axis.x("relative difference"), y=name_rows(names, font_px=11), tooltip=tell(g="matrix", v="value")
        )
        for kind in "dt"
    )
    return Drawing(
        title="Two pseudo-inverses, and how far they may differ",
        caption="A dot is the difference between the limit of the ridge solutions and the SVD, a bar the tolerance.",
        facts=[f"{p}, {m}: {format_number(d)} of {format_number(t)}" for p, m, d, t in known],
        layers=[
            tolerance.mark_tick(thickness=2.5, size=15, color=INK),
            difference.mark_circle(size=60, opacity=0.9, color=SERIES[0]),
        ],
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
    plot = DotPlot(
        title="How frequent the decoded words are",
        caption="A dot is a run, a bar the mean of its arm. The band is the middle half of the whole vocabulary’s "
        "words, the line in it their median.",
        axis="mean log₁₀ frequency as an English word",
        group=("arm",),
        column="mean log₁₀ frequency",
        fit=fit_linear,
        bar="mean",
    )
    return draw_dots(panels, arms, plot, bands)
