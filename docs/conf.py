"""Settings of the documentation's site: `make docs` builds it with Sphinx, MyST and furo."""

from __future__ import annotations

import sys
from importlib.metadata import version as read_version
from pathlib import Path

# The extensions of this folder's own: they write pages from the code.
sys.path.append(str(Path(__file__).resolve().parent / "_ext"))

project = "LM Claims"
version = release = read_version("lm-claims")
extensions = ["myst_parser", "sphinx.ext.autodoc", "command_line", "docstrings"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
highlight_language = "none"
# Quotes and dashes stay as they are written: many are names or options.
smartquotes = False
# Every reference has to lead somewhere.
nitpicky = True
# Names in signatures may lead nowhere: the engine's inner ones and other libraries' have no entry here.
nitpick_ignore_regex = [("py:class", r"(?!engine\.\w+$).*")]

myst_enable_extensions = ["attrs_block", "deflist"]
# Links to headings, such as machines.md#ci, as GitHub names them.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# One parameter a line where a signature is longer.
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "LM Claims"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
