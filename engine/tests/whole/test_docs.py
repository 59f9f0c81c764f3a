"""The documentation's site: every page has a place, and what is written from code says all that the code has."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

import engine
from engine.__main__ import COMMANDS
from engine.session.spelling import OPTIONS, Option

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


def load_extension(name: str) -> Any:
    """A module of docs/_ext, which is no package."""
    spec = spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="commands", scope="module")
def provide_commands() -> str:
    return load_extension("command_line").write_commands()


def list_toctree_entries(text: str) -> list[str]:
    """The pages that a page's toctrees name, as `page` or as `Title <page>`."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r".*<(.+)>", r"\1", line) for line in lines if line and not line.startswith(":")]


def test_every_page_but_the_first_is_in_one_toctree() -> None:
    entries = [entry for text in PAGES.values() for entry in list_toctree_entries(text)]
    assert sorted(entries) == sorted(set(PAGES) - {"index"})


def read_sources(name: str) -> str:
    """The source of a command."""
    place = ROOT / "engine" / "commands" / COMMANDS[name][0].split(".")[0]
    files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_has_every_subcommand_and_option(name: str, commands: str) -> None:
    """As the command's source declares them to argparse."""
    (section,) = (
        part for part in re.split(r"^## ", commands, flags=re.MULTILINE) if part.startswith(f"`lm-claims {name}`")
    )
    source = read_sources(name)
    assert set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source)) <= set(re.findall(r"--[a-z-]+", section))
    subcommands = re.findall(r'add_parser\(\s*"([a-z-]+)"', source)
    assert re.findall(rf"^### `lm-claims {name} (.+)`$", section, re.MULTILINE) == subcommands
    assert section.count("usage: lm-claims ") == 1 + len(subcommands)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_page_of_commands_has_every_option_of_a_session(option: Option, commands: str) -> None:
    verify, *_ = commands.split("## `lm-claims report`")
    assert re.search(rf"^  {option.short}\b", verify, re.MULTILINE)
    assert f"| `{option.short}` | `{option.long}` | " in commands


def test_no_help_knows_the_machine_that_printed_it(commands: str) -> None:
    assert str(ROOT) not in commands
    assert str(Path.home()) not in commands
    assert "\x1b" not in commands


def test_the_api_has_every_public_name_once() -> None:
    shown = re.findall(r"^\.\. auto\w+:: (\w+)$", PAGES["api"], re.MULTILINE)
    assert sorted(shown) == sorted(engine.__all__)


def test_what_a_docstring_explains_by_name_becomes_a_definition() -> None:
    text = "First `line`, |g·v|.\n\nstep, cap: of *each* run. more: a_ list.\nSource: equation 1."
    written = list(load_extension("docstrings").write_rst(text, ["step", "cap", "more"]))
    assert [line for line in written if line] == [
        r"First ``line``, \|g·v\|.",
        "``step``, ``cap``",
        "    of *each* run.",
        "``more``",
        r"    a\_ list.",
        "Source: equation 1.",
    ]


def test_the_citation_says_what_the_package_says() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name: str(cited[name]) for name in ("version", "license")} == {
        name: package[name] for name in ("version", "license")
    }
    assert cited["keywords"] == package["keywords"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the documentation's packages: make install")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """A link or an anchor that leads nowhere would be one."""
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "html")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    built = {path.stem for path in (tmp_path / "html").glob("*.html")}
    assert set(PAGES) <= built
