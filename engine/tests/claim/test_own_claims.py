"""CONTRIBUTING's example works as it stands, in a folder of a user's own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from engine.tests.planted_claims import read_session, run_session
from engine.tests.tiny_models import make_gpt2, save

GUIDE = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def read_example() -> str:
    """The first Python block under 'Add a claim'."""
    found = re.search(r"^## Add a claim$.*?^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_the_example_is_short_documented_and_takes_every_name_from_engine() -> None:
    code = read_example()
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(code.splitlines()) < 30
    assert ast.get_docstring(tree)
    assert [ast.unparse(node) for node in imports] == ["import engine as lm"]


def test_the_example_gives_a_verdict_on_a_users_own_model(pytester: pytest.Pytester) -> None:
    # Wide enough for its 258 tokens, so that every unit's own embedding decodes to it and counts.
    model = save(pytester.path / "model", make_gpt2(n_embd=16, n_positions=64))
    (pytester.path / "test_own1.py").write_text(read_example(), encoding="utf-8")
    result = run_session(pytester, "test_own1.py", "--effort", "smoke", "--subject", f"local:{model}")
    assert result.ret == 0, result.outlines
    (record,) = read_session(pytester)
    (criterion,) = record.criteria
    assert record.outcome in {"passed", "finding", "inconclusive"}
    assert (record.claim, record.subject, record.protocol) == ("OWN1", f"local:{model}", "controlled")
    assert (criterion.n, record.command.split()[:2]) == (2, ["pytest", "test_own1.py"])
    assert (pytester.path / "reports" / "latest" / "index.html").is_file()


def test_the_example_can_be_planned_on_the_subject_that_it_names(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_own1.py").write_text(read_example(), encoding="utf-8")
    result = run_session(pytester, "--plan")
    assert result.ret == 0, result.outlines
    # One arm tunes each of the two stacks, and one measures it at standard effort's units, wave by wave.
    result.stdout.fnmatch_lines(["round one: 2 arms; later rounds: 8; stored: 0"])
