"""What holds for every page of kept figures: it fits its window, is linked from the report, refuses other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.commands.report import main
from engine.report import write_report
from engine.report.render import BESIDE
from engine.tests.browser import DESK, PHONE, Visitor, find_grave, unfold
from engine.tests.kept_figures import make_bench, make_beside, make_calibration, make_cell
from engine.tests.report_samples import make_records

pytest_plugins = ["engine.tests.browser"]

MAKERS: dict[str, Callable[[], dict[str, Any]]] = {"bench": make_bench, "calibration": make_calibration}
NAN = float("nan")


def keep(figures: object, folder: Path, command: str) -> Path:
    file = folder / f"{command}.json"
    file.write_text(figures if isinstance(figures, str) else json.dumps(figures), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("command", "figures"),
    [
        *(pytest.param(name, text, id=f"{name}, {text}") for name in MAKERS for text in ("no json", "{}", "[]")),
        pytest.param("bench", make_bench(engine_s=NAN), id="bench, NaN"),
        pytest.param("bench", make_bench(floor_s=0), id="bench, zero"),
        pytest.param("bench", make_calibration(), id="bench, the other's figures"),
        pytest.param("calibration", make_calibration(make_cell(false=NAN)), id="calibration, NaN"),
        pytest.param("calibration", make_calibration(make_cell(edge=float("inf"))), id="calibration, infinite"),
        pytest.param("calibration", make_calibration(make_cell(covered=1.01)), id="calibration, more than all"),
        pytest.param("calibration", make_calibration(make_cell(decided=0.03)), id="calibration, false but undecided"),
        pytest.param("calibration", make_calibration(make_cell(units=36.5)), id="calibration, units beyond n"),
        pytest.param("calibration", make_calibration(make_cell(), make_cell()), id="calibration, a cell twice"),
        pytest.param("calibration", make_calibration(make_beside(1)), id="calibration, none at the edge"),
    ],
)
def test_a_file_that_holds_no_such_figures_is_refused_in_one_line(
    command: str, figures: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(keep(figures, tmp_path, command))]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{command}: got {tmp_path}")
    assert f"expected a {command}.json file; make one with" in line
    assert not (tmp_path / f"{command}.html").exists()


@pytest.mark.parametrize("command", MAKERS)
def test_a_file_that_is_missing_is_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path / "none.json")]) == 4
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", MAKERS)
def test_the_page_is_written_beside_its_figures_and_linked_from_the_report_there(command: str, tmp_path: Path) -> None:
    def find_links() -> set[str]:
        index = write_report(make_records()[:1], tmp_path, rendered_at="2026-02-14").read_text(encoding="utf-8")
        return {name for name in BESIDE if f'<a href="{name}">' in index}

    assert find_links() == set()
    assert main([command, str(keep(MAKERS[command](), tmp_path, command))]) == 0
    assert find_links() == {f"{command}.html"}


@pytest.mark.parametrize("command", MAKERS)
def test_the_page_is_written_to_another_folder_when_asked(command: str, tmp_path: Path) -> None:
    assert main([command, str(keep(MAKERS[command](), tmp_path, command)), "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{command}.html"]


@pytest.mark.parametrize("command", MAKERS)
def test_the_page_holds_no_script_and_may_load_nothing(command: str, tmp_path: Path) -> None:
    main([command, str(keep(MAKERS[command](), tmp_path, command))])
    page = (tmp_path / f"{command}.html").read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "<script" not in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("command", MAKERS)
def test_the_page_fits_its_window_and_axe_finds_nothing_serious(
    visit: Visitor, tmp_path: Path, command: str, window: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    main([command, str(keep(MAKERS[command](), tmp_path, command))])
    page = visit(tmp_path / f"{command}.html", window=window, scheme=scheme)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_grave(page) == []
