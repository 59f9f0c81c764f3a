"""The calibration's page and Markdown say what the figures say, and nothing in a file of figures can act."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.commands.report import main
from engine.report import write_report
from engine.report.render import BESIDE
from engine.studies.calibration.charts import draw_decided, draw_false
from engine.studies.calibration.page import render_calibration, tabulate_calibration
from engine.studies.calibration.results import Calibration, read_calibration
from engine.tests.browser import DESK, PHONE, Visitor, find_violations, unfold
from engine.tests.kept_figures import make_bench, make_beside, make_calibration, make_cell
from engine.tests.report_samples import make_records

pytest_plugins = ["engine.tests.browser"]

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "reports" / "reference" / "calibration.json"
UNDECIDED = {"false": 0, "false_high": 0.002, "decided": 0, "covered": 1}
ALL_MISSED = {"false": 1, "false_high": 1, "decided": 1, "covered": 0}


def read(*cells: dict[str, Any], **changes: Any) -> Calibration:
    return Calibration.model_validate(make_calibration(*cells, **changes))


def find_rows(calibration: Calibration) -> list[str]:
    return [line for line in tabulate_calibration(calibration).splitlines() if line.startswith("| ")][2:]


def test_the_sentence_gives_the_worst_figure_of_each_sort() -> None:
    cells = [
        make_cell(false=0.045, decided=0.045, false_high=0.055),
        make_cell(n=60, false=0.04, claims=500, false_high=0.061, covered=0.942),
        make_beside(1, false=0.0125, false_high=0.02),
        make_cell(n=6, units=6, covered=0.5),
    ]
    sentence = read(*cells).sentence
    assert "4.5 % did where it was most (upper ends of 95 % intervals up to 6.1 %)" in sentence
    assert "Beside the edge at most 1.25 % got a wrong one" in sentence
    # Coverage is not asked of six units.
    assert "at least 94.2 % of intervals held the truth" in sentence


def test_where_every_bar_is_met_the_page_says_that_none_is_missed() -> None:
    page = render_calibration(read())
    assert "No bar is missed in any of 3 settings." in page
    assert "✗" not in page.partition("<main>")[2].replace("a ✗ one", "")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        pytest.param(
            make_cell(false=0.0505, decided=0.0505, false_high=0.061),
            "n = 36, at the edge: 5.1% false verdicts, up to 6.1%",
            id="too many false",
        ),
        pytest.param(
            make_cell(claims=100, false_high=0.098),
            "n = 36, at the edge: 4.0% false verdicts, up to 9.8%",
            id="too few claims to be sure",
        ),
        pytest.param(make_beside(-1, covered=0.92), "n = 36, outside: 92.0% covered", id="not covered"),
    ],
)
def test_a_missed_bar_is_named_with_its_setting(cell: dict[str, Any], words: str) -> None:
    calibration = read(make_cell(edge=0.9), cell)
    for text in (render_calibration(calibration), tabulate_calibration(calibration)):
        assert f"share, edge 0.5{'</dt><dd>' if '</dt>' in text else ': '}{words}" in text
        assert "1 of 2 settings miss a bar." in text
    assert ["✗" in row for row in find_rows(calibration)] == [False, True]


def test_a_row_of_markdown_holds_the_worst_at_the_edge_and_what_is_decided_beside_it() -> None:
    cells = make_calibration()["cells"]
    cells += [make_cell(n=12, units=11, false=0.049, decided=0.049, false_high=0.0595, covered=0.941)]
    (row,) = find_rows(read(*cells))
    assert row == "| share, edge 0.5 | 4.9 % (5.95 %), n = 12 ✓ | 94.1 % | 62.5 %, 75 % | 24, 30.5, 21.5 |"


def test_scenarios_are_named_by_edge_censoring_and_clusters() -> None:
    apart = [{}, {"edge": 0.9}, {"censored": 0.3}, {"alike": 0.1}]
    names = [row.split(" | ")[0] for row in find_rows(read(*(make_cell(**one) for one in apart)))]
    assert names == [
        "| share, edge 0.5",
        "| share, edge 0.9",
        "| share, edge 0.5, 30 % censored",
        "| share, edge 0.5, clusters alike by 0.1",
    ]


def test_what_was_not_simulated_is_a_dash() -> None:
    (row,) = find_rows(read(make_cell(n=6, units=6)))
    assert row == "| share, edge 0.5 | 4 % (4.95 %), n = 6 ✓ | — | —, — | —, 6, — |"


@pytest.mark.parametrize("extreme", [UNDECIDED, ALL_MISSED], ids=["none decided", "all false and none covered"])
def test_extremes_are_drawn_and_told(extreme: dict[str, Any]) -> None:
    cells = [make_cell(position=position, n=n, units=n, **extreme) for n in (1, 36) for position in (0, 1, -1)]
    calibration = read(*cells)
    page = render_calibration(calibration)
    assert page.count("<svg") == 2
    assert ("None." in page) == (extreme is UNDECIDED)
    share = "100 %" if extreme is ALL_MISSED else "0 %"
    assert f"{share}, {share}" in find_rows(calibration)[0]


def test_the_charts_name_every_figure_that_they_draw() -> None:
    scenarios = read(make_cell(n=12, units=12), *make_calibration()["cells"]).scenarios
    false, decided = draw_false(scenarios, scenarios, "a"), draw_decided(scenarios, "b")
    assert "edge 0.5: 12 units 4 % up to 4.95 %, 36 units 4 % up to 4.95 %" in false.alt
    assert "edge 0.5, inside: 36 units 75 %" in decided.alt
    assert "edge 0.5, outside: 36 units 62.5 %" in decided.alt


def test_each_estimand_has_its_own_panels() -> None:
    page = render_calibration(read(make_cell(), make_cell(edge=0.9), make_cell(estimand="median")))
    assert re.findall(r'<figure class="chart" id="([^"]+)"', page) == ["false-0", "false-1", "decided-0", "decided-1"]


def test_text_of_the_file_is_shown_and_does_not_act() -> None:
    hostile = "<script>alert(1)</script>\u202e|`x`"
    calibration = read(make_cell(estimand=hostile, covered=0.5), measured_on=hostile, commit=hostile)
    for text in (render_calibration(calibration), tabulate_calibration(calibration)):
        assert "<script" not in text
        assert "\u202e" not in text
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in find_rows(calibration)} == {6}


def test_equal_figures_give_equal_pages() -> None:
    assert render_calibration(read()) == render_calibration(read())


@pytest.mark.skipif(not KEPT.exists(), reason="needs reports/reference/calibration.json: lm-claims calibrate")
def test_the_documented_table_is_that_of_the_kept_figures() -> None:
    document = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- calibration table: .*? -->\n(.*?)<!-- end of calibration table -->", document, re.DOTALL)
    assert table is not None
    assert table.group(1).strip() == tabulate_calibration(read_calibration(KEPT))


NAN = float("nan")


def keep(folder: Path, figures: object = None) -> Path:
    file = folder / "calibration.json"
    text = figures if isinstance(figures, str) else json.dumps(make_calibration() if figures is None else figures)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param("no json", id="no json"),
        pytest.param("{}", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param(make_bench(), id="the benchmarks' figures"),
        pytest.param(make_calibration(make_cell(false=NAN)), id="NaN"),
        pytest.param(make_calibration(make_cell(edge=float("inf"))), id="infinite"),
        pytest.param(make_calibration(make_cell(covered=1.01)), id="more than all"),
        pytest.param(make_calibration(make_cell(decided=0.03)), id="false but undecided"),
        pytest.param(make_calibration(make_cell(units=36.5)), id="units beyond n"),
        pytest.param(make_calibration(make_cell(), make_cell()), id="a cell twice"),
        pytest.param(make_calibration(make_beside(1)), id="none at the edge"),
    ],
)
def test_a_file_that_holds_no_such_figures_is_refused_in_one_line(
    figures: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibration", str(keep(tmp_path, figures))]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"calibration: got {tmp_path}")
    assert "expected a calibration.json file; make one with" in line
    assert not (tmp_path / "calibration.html").exists()


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibration", str(tmp_path / "none.json")]) == 4
    assert "No such file or directory" in capsys.readouterr().err


def test_the_page_is_written_beside_its_figures_and_linked_from_the_report_there(tmp_path: Path) -> None:
    def find_links() -> set[str]:
        index = write_report(make_records()[:1], tmp_path, rendered_at="2026-02-14").read_text(encoding="utf-8")
        return {name for name in BESIDE if f'<a href="{name}">' in index}

    assert find_links() == set()
    assert main(["calibration", str(keep(tmp_path))]) == 0
    assert find_links() == {"calibration.html"}


def test_the_page_is_written_to_another_folder_when_asked(tmp_path: Path) -> None:
    assert main(["calibration", str(keep(tmp_path)), "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["calibration.html"]


def test_the_page_holds_no_script_and_may_load_nothing() -> None:
    page = render_calibration(read())
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "<script" not in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_fits_its_window_and_axe_finds_nothing_serious(
    visit: Visitor, tmp_path: Path, window: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    main(["calibration", str(keep(tmp_path))])
    page = visit(tmp_path / "calibration.html", window=window, scheme=scheme)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []
