"""No name decides where something is written: what is stored stays in the folder that the user named."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.files import write_whole
from engine.ledger import Ledger
from engine.records import Record, read_records
from engine.report import write_report
from engine.report.compare import compare_runs
from engine.report.compare_page import write_comparison
from engine.report.export import export_items
from engine.report.history import gather_run, keep_run
from engine.report.site import FOLDERS, GENERATOR, PAGES
from engine.session.finish import finish_report
from engine.sheets import write_export
from engine.tests.planted import INVERSION, make_inversion, make_measurement, make_run
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.report_samples import make_records
from engine.tests.report_worlds import make_hostile_records

ENGINE = Path(__file__).resolve().parents[2]

NAMES = {
    "a parent": "../../escape",
    "an absolute path": "{outside}/escape",
    "a home": "~/escape",
    "another system's path": "..\\..\\escape",
    "a drive": "C:escape",
    "a link": "link/escape",
    "nothing": "",
    "a dot": ".",
    "a zero byte": "escape\0.json",
    "a line break": "escape\nescape",
    "a long one": "x" * 5000,
}


@pytest.fixture(name="home")
def provide_home(tmp_path: Path) -> Path:
    """A folder to write into, with a link in it that leads out."""
    for name in ("home", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "home"


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def plant(name: str, home: Path) -> str:
    return name.format(outside=home.parent / "outside")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_measurement_of_any_name_is_stored_under_its_digest_alone(name: str, home: Path) -> None:
    name = plant(name, home)
    arm = replace(INVERSION, settings=replace(INVERSION.settings, subject=f"local:{name}", source=name))
    measurement = make_measurement(arm, make_inversion([make_run(replace(INVERSION.units[0], prompt=name))]))
    ledger = Ledger(home)
    ledger.put(measurement)
    assert ledger.get(arm) == measurement
    digest = measurement.digest
    assert list_files(home.parent) == {f"home/measurements/{digest[:2]}/{digest}.json"}
    with ledger.lock_arm(arm):
        assert list_files(home.parent) - {f"home/measurements/{digest[:2]}/{digest}.json"} <= {
            f"home/locks/{digest}.lock"
        }


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_measurement_cannot_say_where_it_is_stored(name: str, home: Path) -> None:
    sound = make_measurement(INVERSION, make_inversion([make_run(INVERSION.units[0])]))
    ledger = Ledger(home)
    ledger.put(replace(sound, digest=plant(name, home)))
    assert list_files(home.parent) == {f"home/measurements/{sound.digest[:2]}/{sound.digest}.json"}
    assert ledger.get(INVERSION) is None  # its name is another's, so that it is set aside
    assert list_files(home.parent) == {f"home/aside/{sound.digest}.0.other-arm.json"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_report_of_any_names_is_written_to_its_own_files_alone(name: str, home: Path) -> None:
    records = [replace(r, tables=()) for r in make_hostile_records(plant(name, home), [])]
    told: list[str] = []
    assert finish_report(records, home, tell=told.append)
    write_comparison(compare_runs(gather_run(records), gather_run(records)), home)
    write_export(export_items(records), home / "items.csv")
    (kept,) = (home / "runs").iterdir()
    claims = {path.stem for path in (home / "claims").iterdir()}
    assert len(claims) == 1
    assert list_files(home.parent) == {
        *(f"home/{page}" for page in PAGES),
        *(f"home/claims/{claim}.html" for claim in claims),
        *(f"home/data/{name}.csv" for name in ("estimates", *claims)),
        "home/assets/badge.svg",
        "home/records.jsonl",
        "home/runs.html",
        "home/items.csv",
        f"home/runs/{kept.name}",
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_link_where_the_site_has_a_folder_is_not_followed(folder: str, tmp_path: Path) -> None:
    outside, report = tmp_path / "outside", tmp_path / "report"
    outside.mkdir()
    report.mkdir()
    (outside / "C99.html").write_text(f"{GENERATOR} somebody else's")
    (report / folder).symlink_to(outside)
    write_report(make_records()[:2], report, rendered_at="today")
    assert [path.name for path in outside.iterdir()] == ["C99.html"]
    assert not (report / folder).is_symlink()


def write_index(records: list[Record], folder: Path) -> Path:
    return write_report(records, folder, rendered_at="today")


def write_all_records(records: list[Record], folder: Path) -> Path:
    write_report(records, folder, rendered_at="today")
    return folder / "records.jsonl"


def write_changes(records: list[Record], folder: Path) -> Path:
    return write_comparison(compare_runs(gather_run(records), gather_run(records)), folder)


def write_items(records: list[Record], folder: Path) -> Path:
    write_export(export_items(records), folder / "items.csv")
    return folder / "items.csv"


WRITERS = {"index": write_index, "records": write_all_records, "comparison": write_changes, "export": write_items}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_in_a_reports_folder_is_replaced_and_not_followed(
    write: Callable[[list[Record], Path], Path], tmp_path: Path
) -> None:
    records = make_records()[:2]
    place = write(records, tmp_path / "scratch").name
    victim, folder = tmp_path / "victim", tmp_path / "report"
    victim.write_text("untouched")
    folder.mkdir()
    (folder / place).symlink_to(victim)
    written = write(records, folder)
    assert victim.read_text() == "untouched"
    assert not written.is_symlink()
    assert written.stat().st_size > len("untouched")


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_where_a_file_is_begun_is_not_followed(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "7")  # as if the name had been foretold
    victim = tmp_path / "victim"
    if there:
        victim.write_text("untouched")
    (tmp_path / "index.html.7.unfinished").symlink_to(victim)
    with pytest.raises(LedgerError, match=r"index\.html: File exists"):
        write_whole(tmp_path / "index.html", b"a page")
    assert not (tmp_path / "index.html").exists()
    assert (victim.read_text() if there else victim.exists()) == ("untouched" if there else False)


def test_links_in_a_folder_of_runs_are_read_as_runs_and_never_written(tmp_path: Path) -> None:
    records, victim = make_records()[:2], tmp_path / "victim.jsonl"
    name = keep_run(records, tmp_path / "scratch").name
    victim.write_text("untouched")
    (tmp_path / "report" / "runs").mkdir(parents=True)
    (tmp_path / "report" / "runs" / name).symlink_to(victim)
    kept = keep_run(records, tmp_path / "report")
    assert kept.name == f"{name.removesuffix('.jsonl')}_2.jsonl"
    assert victim.read_text() == "untouched"
    assert read_records(kept) == records


@pytest.mark.parametrize("place", ["measurement", "lock"])
def test_a_link_in_a_ledger_is_replaced_or_refused_and_never_written_through(place: str, tmp_path: Path) -> None:
    sound = make_measurement(INVERSION, make_inversion([make_run(INVERSION.units[0])]))
    ledger, victim, digest = Ledger(tmp_path / "ledger"), tmp_path / "victim", sound.digest
    victim.write_text("untouched")
    if place == "lock":
        (tmp_path / "ledger" / "locks" / f"{digest}.lock").symlink_to(victim)
        with pytest.raises(LedgerError, match=r"^ledger: got .*\.lock: .*symbolic link"):
            ledger.try_lock(INVERSION)
    else:
        link = tmp_path / "ledger" / "measurements" / digest[:2] / f"{digest}.json"
        link.parent.mkdir()
        link.symlink_to(victim)
        assert ledger.get(INVERSION) is None  # set aside: the link, not what it leads to
        link.symlink_to(victim)
        ledger.put(sound)
        assert not link.is_symlink()
        assert ledger.get(INVERSION) == sound
    assert victim.read_text() == "untouched"


@pytest.mark.parametrize("name", ["../../escape", "/escape", "~/escape"])
def test_a_claim_of_any_id_writes_nothing_beside_its_ledger_and_report(name: str, pytester: pytest.Pytester) -> None:
    inner = pytester.mkdir("inner")
    write_claim(inner, "supported", id=name)
    before = list_files(pytester.path)
    assert run_session(pytester, "-p", "no:cacheprovider", "inner").ret == 0
    (record,) = read_session(pytester)
    assert record.claim == name
    new = {Path(path).parts[0] for path in list_files(pytester.path) - before if "__pycache__" not in path}
    assert new == {"reports"}


def list_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


ARCHIVES = {"zipfile", "tarfile", "zipimport", "gzip", "bz2", "lzma"}
PICKLES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}


def test_the_engine_opens_no_archive_and_pickles_only_what_its_own_processes_say() -> None:
    """Packages' data are read where pip has put them. ruff's S rules watch over eval, exec and torch.load."""
    found = {
        (str(path.relative_to(ENGINE)), name)
        for path in ENGINE.rglob("*.py")
        if "tests" not in path.parts
        for name in {*list_imports(ast.parse(path.read_text(encoding="utf-8")))} & (ARCHIVES | PICKLES)
    }
    # The text to train on is compressed. It is read up to a limit, and its digest is pinned.
    assert found == {("running/executors/pool.py", "pickle"), ("models/training_text.py", "gzip")}
