"""Sphinx: MyST pages, the furo theme; `make docs` treats every warning as an error."""

import importlib.metadata

project = "nexios-trio"
author = "The nexios-trio contributors"
copyright = "2026, The nexios-trio contributors"
version = release = importlib.metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# The sections of our docstrings that napoleon does not know by itself.
napoleon_custom_sections = ["Checkpoint", "Cancellation", "Concurrency", "Source"]
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"nexios-trio {release}"
html_copy_source = False
html_show_sphinx = False
