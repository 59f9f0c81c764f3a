"""'-' is standard output wherever a file or a page is named, and holds nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.arms.measurement import measurement_type
from engine.errors import LedgerError
from engine.files import write_whole
from engine.ledger import Ledger
from engine.records import write_records
from engine.tests.ledger.test_ledger import SAMPLE
from engine.tests.report_samples import make_records

REFERENCE = Path(__file__).resolve().parents[3] / "reports" / "reference"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert not (folder / "-").exists()
    return done


@pytest.fixture(name="folder")
def provide_folder(tmp_path: Path) -> Path:
    write_records(make_records()[:2], tmp_path / "records.jsonl")
    Ledger(tmp_path / "l").put(SAMPLE)
    return tmp_path


def is_page(content: bytes) -> bool:
    return content.startswith(b"<!DOCTYPE html>") and content.rstrip().endswith(b"</html>")


def is_table(content: bytes) -> bool:
    rows = list(csv.reader(io.StringIO(content.decode())))
    return len(rows) > 1 and len({len(row) for row in rows}) == 1


COMMANDS: dict[str, tuple[str, Callable[[bytes], bool]]] = {
    "a report": ("engine report render records.jsonl --out -", is_page),
    "a comparison": ("engine report compare records.jsonl records.jsonl --out -", is_page),
    "a calibration": (f"engine report calibration {REFERENCE}/calibration.json --out -", is_page),
    "records": ("engine report export records.jsonl --out -", is_table),
    "measurements": ("engine ledger export l --out -", is_table),
}


@pytest.mark.parametrize(("command", "is_whole"), COMMANDS.values(), ids=COMMANDS)
def test_pages_and_tables_can_be_piped(command: str, is_whole: Callable[[bytes], bool], folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert is_whole(run(folder, *command.split()).stdout)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_of_that_name_can_still_be_written(folder: Path) -> None:
    words = ["engine", "calibrate", "--claims", "1", "--workers", "1", "--out", "./-"]
    subprocess.run([sys.executable, "-m", *words], cwd=folder, check=True, capture_output=True, timeout=300)
    assert json.loads((folder / "-").read_bytes())["cells"]


def test_calibrations_figures_can_be_piped(folder: Path) -> None:
    done = run(folder, "engine", "calibrate", "--claims", "1", "--workers", "1", "--out", "-")
    assert json.loads(done.stdout)["cells"]


def test_an_inversions_measurement_can_be_piped_and_the_rest_goes_to_standard_error(folder: Path) -> None:
    from engine.models.tokenizers import missing_gpt2_vocabulary

    if missing := missing_gpt2_vocabulary():
        pytest.skip(missing)
    words = ["The sky is blue.", "--subject", "gpt2-untrained", "--iterations", "2", "--step", "0.1", "--json", "-"]
    done = run(folder, "engine", "invert", *words)
    measurement = measurement_type().validate_python(json.loads(done.stdout))
    assert measurement.arm.kind == "inversion"
    shown = done.stderr.decode()
    assert "tokens came back" in shown
    assert "and in" not in shown.partition("kept")[2].partition("again")[0]
    assert os.listdir(folder / ".ledger")


def test_a_device_stays_one_and_an_open_pipe_is_written_to() -> None:
    write_whole(Path("/dev/null"), b"nothing of it stays")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe:
        write_whole(Path(f"/dev/fd/{writing}"), b"as >(a command) is")
        os.close(writing)
        assert pipe.read() == b"as >(a command) is"
    with pytest.raises(LedgerError, match=r"^report: got /dev/nul: No such file or directory, expected a folder"):
        write_whole(Path("/dev/nul"), b"a slip of the pen")
    assert not os.path.lexists("/dev/nul")


def test_a_pipe_in_the_place_of_a_page_is_replaced_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "index.html")
    write_whole(tmp_path / "index.html", b"a page")
    assert (tmp_path / "index.html").read_bytes() == b"a page"
