"""The notebook in docs: it runs, and what is stored of its outputs is what it gives."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).resolve().parents[3] / "docs" / "notebook.ipynb"


def read() -> Any:
    return nbformat.read(FILE, as_version=4)  # pyright: ignore[reportUnknownMemberType]


def tell(notebook: Any) -> list[str]:
    """What the code cells show at a prompt, in order, but for what they read in the reference run."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and not cell.source.startswith("run")]
    outputs = [output for cell in code for output in cell.outputs]
    return [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]


def test_the_stored_notebook_is_valid_python_without_errors_and_shows_every_result() -> None:
    notebook = read()
    nbformat.validate(notebook)  # pyright: ignore[reportUnknownMemberType]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        last = ast.parse(cell.source).body[-1]
        kinds = {output.output_type for output in cell.outputs}
        assert kinds <= {"execute_result", "stream"}
        assert isinstance(last, ast.Expr) == ("execute_result" in kinds), cell.source
    assert "_repr_html_" not in " ".join(cell.source for cell in code)
    assert sum("text/html" in output.get("data", {}) for cell in code for output in cell.outputs) >= 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # jupyter's own
def test_the_notebook_runs_and_gives_what_is_stored() -> None:
    stored, notebook = tell(read()), read()
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(FILE.parent)}}).execute()
    assert tell(notebook) == stored
