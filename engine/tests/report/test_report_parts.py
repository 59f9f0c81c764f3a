"""What the report is made of: numbers, made-safe text, drawings, colours."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.report.intervals import Axis, arrange_interval, fit_axis
from engine.report.templates import load_template
from engine.tests.report_samples import INF, PROVENANCE, make_criterion
from engine.text import format_duration, format_number, format_percent, write_html, write_markdown_cell

CSS = (Path(__file__).parents[2] / "report" / "style.css").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("device", "gpu", "tf32", "words"),
    [
        ("cpu", "", None, "cpu"),
        ("cuda", "NVIDIA H200", False, "cuda, NVIDIA H200"),
        ("cuda", "NVIDIA H200", True, "cuda, NVIDIA H200, TF32 allowed"),
    ],
)
def test_a_gpu_is_named_and_so_is_less_than_float32(device: str, gpu: str, tf32: bool | None, words: str) -> None:
    assert replace(PROVENANCE, device=device, gpu=gpu, tf32=tf32).named_device == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", r'a<span class="esc">\u202e</span>b'),
        ("a\nb", r'a<span class="esc">\n</span>b'),
        ("\U000e0041", r'<span class="esc">\U000e0041</span>'),
        ("\ufeff", r'<span class="esc">\ufeff</span>'),
        ("שלום", "<bdi>שלום</bdi>"),
        ("é ☃ 日本", "é ☃ 日本"),
    ],
    ids=["bidi", "line break", "tag character", "byte order mark", "right to left", "plain"],
)
def test_invisible_characters_become_visible(text: str, shown: str) -> None:
    assert write_html(text) == shown


def test_a_markdown_cell_states_the_length_of_what_it_cuts() -> None:
    assert write_markdown_cell("x" * 100_000).endswith("… (cut; 100000 characters in all)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (INF, "∞"),
        (-INF, "−∞"),
        (0.0, "0"),
        (412.0, "412"),
        (123456.7, "123457"),
        (0.97222222, "0.9722"),
        (0.1 + 0.2, "0.3"),
        (49151 / 49152, "0.99998"),
        (2.00001, "2.00001"),
        (3.2e-8, "3.2e-8"),
        (1.23456e9, "1.235e9"),
    ],
)
def test_numbers_are_rounded_for_reading_but_never_to_a_rounder_number(value: float | None, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        pytest.param(None, "—", id="none"),
        pytest.param(0.05, "5 %", id="a whole per cent"),
        pytest.param(101 / 2000, "5.05 %", id="just above a whole one"),
        pytest.param(1 / 3, "33.33 %", id="a third"),
        pytest.param(0.0, "0 %", id="nothing"),
        pytest.param(1.0, "100 %", id="all"),
        pytest.param(1e-5, "0.001 %", id="not quite nothing"),
        pytest.param(1 - 1e-5, "99.999 %", id="not quite all"),
    ],
)
def test_a_share_in_per_cent_never_passes_for_none_or_for_all(share: float | None, text: str) -> None:
    assert format_percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41.25, "41.25 s"), (192.4, "192.4 s (3.2 min)"), (9000.0, "9000 s (2.5 h)"), (INF, "∞ s")],
)
def test_durations_are_given_in_seconds_and_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("estimate", "arrows", "dots"),
    [
        ((5.0, 2.0, 9.0), 0, 1),
        ((5.0, 2.0, INF), 1, 1),
        ((INF, 2.0, INF), 1, 0),
        ((5.0, -INF, INF), 2, 1),
        ((5.0, None, None), 0, 1),
        ((None, None, None), 0, 0),
        ((math.nan, math.nan, math.nan), 0, 0),
        ((5.0, 5.0, 5.0), 0, 1),
        ((5.0, -1e308, 1e308), 2, 1),
        ((5e-324, 0.0, 5e-324), 0, 1),
    ],
    ids=lambda v: str(v) if isinstance(v, tuple) else "",
)
def test_infinite_ends_are_arrows_and_missing_values_are_not_drawn(
    estimate: tuple[float | None, float | None, float | None], arrows: int, dots: int
) -> None:
    value, low, high = estimate
    criterion = make_criterion("x > 3", ("x", value, low, high), "inconclusive")
    view = arrange_interval([criterion], fit_axis([criterion]), "inconclusive")
    picture = load_template("interval.html.j2").make_module().interval(view)  # pyright: ignore[reportAttributeAccessIssue]
    assert picture.count('class="arrow"') == arrows
    assert picture.count("<circle") == dots
    assert "nan" not in picture
    assert all(0 <= float(x) <= 100 for x in re.findall(r'(?:x|x1|x2|cx)="([-\d.e]+)%"', picture))


@pytest.mark.parametrize(
    ("numbers", "logarithmic"),
    [((1.0, 50.0), False), ((1.0, 51.0), True), ((0.0, 5000.0), False), ((-1.0, 5000.0), False)],
    ids=["just 50 times", "more than 50 times", "from zero", "negative"],
)
def test_the_axis_is_logarithmic_where_positive_values_span_more_than_fifty_times(
    numbers: tuple[float, float], logarithmic: bool
) -> None:
    low, high = numbers
    axis = fit_axis([make_criterion("x > 0", ("x", high, low, high), "supported", region=(low, INF))])
    assert axis is not None
    assert axis.logarithmic is logarithmic
    # 7 % is free on either side; half way lies the arithmetic mean, on a logarithmic axis the geometric one.
    assert (axis.place(low), axis.place(high)) == (7.0, 93.0)
    middle = math.sqrt(low * high) if logarithmic else (low + high) / 2
    assert axis.place(middle) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (Axis(low=0.0, high=1.0), "0.0 0.2 0.4 0.6 0.8 1.0"),
        (Axis(low=-3.0, high=3.0), "-3 -2 -1 0 1 2 3"),
        (Axis(low=0.99985, high=1.0), "0.99985 0.99990 0.99995 1.00000"),
        (Axis(low=1.0, high=100.0, logarithmic=True), "1 2 5 10 20 50 100"),
        (Axis(low=1.0, high=1e12, logarithmic=True), "1 100 10000 1e6 1e8 1e10 1e12"),
        (Axis(low=1e6, high=1e6 + 4), "1000000 1000002 1000004"),
        (Axis(low=0.1, high=0.1000004), "0.1 0.1000002 0.1000004"),
        (Axis(low=-4e-8, high=4e-8), "-4e-08 -2e-08 0 2e-08 4e-08"),
    ],
    ids=[
        *("share", "around zero", "near one", "two decades", "twelve decades"),
        *("beyond a million", "near a tenth", "around zero, small"),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, labels: str) -> None:
    assert " ".join(label for _, label in axis.label_ticks()) == labels


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_no_series_has_the_colour_of_a_verdict_and_each_can_be_seen(scheme: int) -> None:
    colors = dict(
        re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", CSS.split("@media (prefers-color-scheme: dark)")[scheme])
    )
    series = {colors[f"s{k}"] for k in range(1, 7)}
    verdicts = {colors[name] for name in ("supported", "partly", "refuted", "inconclusive", "depends", "alarm")}
    assert len(series) == 6
    assert not series & verdicts
    for color in series:
        darker, lighter = sorted((_luminance(color), _luminance(colors["paper"])))
        assert (lighter + 0.05) / (darker + 0.05) >= 3


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    "name",
    ["ink", "soft", "link", "supported", "partly", "refuted", "inconclusive", "unmeasured", "alarm"],
    ids=str,
)
def test_text_has_the_contrast_that_wcag_aa_asks(scheme: int, name: str) -> None:
    colors = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", CSS.split("@media (prefers-color-scheme: dark)")[scheme]))
    for ground in ("paper", "tint"):
        darker, lighter = sorted((_luminance(colors[name]), _luminance(colors[ground])))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
