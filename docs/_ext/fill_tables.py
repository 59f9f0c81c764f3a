"""Fill the tables that README.md and the pages of docs hold with what their commands print: `make tables`.

A table stands between two comments, `<!-- NAME: lm-claims … -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TABLE = re.compile(
    r"(?P<begin><!-- (?P<name>[\w ]+): lm-claims (?P<words>.+) -->\n+).*?(?P<end>\n+<!-- end of (?P=name) -->)",
    re.DOTALL,
)


def fill(match: re.Match[str]) -> str:
    """The table with what its command prints now."""
    command = [sys.executable, "-m", "engine", *shlex.split(match["words"])]
    ran = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return match["begin"] + ran.stdout.strip() + match["end"]


def main() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        old = page.read_text(encoding="utf-8")
        new = TABLE.sub(fill, old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"filled {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
