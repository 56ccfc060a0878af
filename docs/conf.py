"""The site: `sphinx-build -W --keep-going docs build/docs`. parts.py fills in what comes from the code."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench

project = "bench"
release = bench.__version__
html_title = f"bench {release}"
html_theme = "furo"
html_math_renderer = "mathml"
extensions = ["myst_parser", "sphinx.ext.autodoc", "parts", "mathml"]

source_suffix = {".md": "markdown", ".ipynb": "markdown"}  # parts.py makes Markdown of a notebook
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "__new__, __init__"}
default_role = "literal"  # our docstrings quote names with single backticks

html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
