"""Sphinx: MyST pages, the furo theme; `make docs` treats every warning as an error."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import api_index  # beside this file
import hops
import settings_table
import sphinx.util.inspect
from sphinx.errors import SphinxError

from benchmarks.cost import table as cost_table
from benchmarks.cost.workloads import TITLES as COST_TITLES
from nexios_trio.groups.current_box import OnCurrentBox

project = "nexios-trio"
author = "The nexios-trio contributors"
copyright = "2026, The nexios-trio contributors"
version = release = importlib.metadata.version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
autosummary_generate = False  # only the tables
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# The sections of our docstrings that napoleon does not know by itself.
napoleon_custom_sections = ["Checkpoint", "Cancellation", "Concurrency"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"nexios-trio {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_js_files = ["copy.js"]
html_copy_source = False
html_show_sphinx = False

smartquotes_action = "qe"  # quotes and ellipses; no dashes, which options in texts would lose theirs to

default_role = "code"  # a name in `backticks` is code, in docstrings as on the pages

_NOTES = re.compile(r"(Checkpoint|Cancellation|Concurrency|Raises|Returns): (?=\S)")


def _show_async_on_the_class() -> None:
    """Let autodoc see that a coroutine is one behind `OnCurrentBox`, which is no function."""
    look = sphinx.util.inspect.iscoroutinefunction

    def is_coroutine_function(found: Any) -> Any:
        return look(found.__wrapped__ if isinstance(found, OnCurrentBox) else found)

    sphinx.util.inspect.iscoroutinefunction = is_coroutine_function


def _open_up(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Our docstrings put short notes on one line each, as in "Raises: ValueError". Each becomes a paragraph."""
    opened: list[str] = []
    for line in lines:
        if _NOTES.match(line):
            opened += ["", _NOTES.sub(r"**\1:** ", line)]
        elif opened and opened[-1].startswith("**") and line.startswith("    "):
            opened[-1] += " " + line.strip()
        elif opened and opened[-1].startswith("**") and line.strip():
            opened += ["", line]
        else:
            opened.append(line)
    lines[:] = opened


def _read_all(_app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Sphinx' search loses the `{index}` entries of pages that it does not read anew."""
    return sorted(env.found_docs) if added or changed or removed else []


def _insert_index(app: Any, name: str, content: list[str]) -> None:
    if name == "guides/from-nexios":
        app.env.note_dependency(str(api_index.FILE))
        content[0] = content[0].replace("{api-index}", api_index.render(api_index.load()))


def _insert_hops(app: Any, name: str, content: list[str]) -> None:
    if name in hops.PAGES:
        app.env.note_dependency(str(hops.PAGES[name]))
        way = hops.Way.load(hops.PAGES[name])
        picture = f"```{{raw}} html\n{hops.render_svg(way)}\n```"
        content[0] = content[0].replace("{hops-picture}", picture).replace("{hops-table}", hops.render_table(way))


def _insert_counts(app: Any, name: str, content: list[str]) -> None:
    if name == "guides/performance":
        app.env.note_dependency(str(cost_table.KEPT))
        shown = cost_table.show(cost_table.Table.load(cost_table.KEPT), COST_TITLES)
        content[0] = content[0].replace("{cost-table}", shown)


def _insert_other_guides(app: Any, name: str, content: list[str]) -> None:
    """List the guides that the index does not name, in alphabetical order."""
    if name == "index":
        guides = sorted(found for found in app.env.found_docs if found.startswith("guides/"))
        named = content[0].splitlines()
        others = [guide for guide in guides if guide not in named]
        content[0] = content[0].replace("{other-guides}", "\n".join(others))


def _insert_settings(app: Any, name: str, content: list[str]) -> None:
    if name == "guides/settings":
        app.env.note_dependency(settings_table.SOURCE)
        content[0] = content[0].replace("{settings-table}", settings_table.render())


def _insert_fragments(_app: Any, name: str, content: list[str]) -> None:
    """Put what `changes/` has above the released versions: what the next one will say."""
    if name == "changelog":
        draft = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next", "--date", "not released"]
        done = subprocess.run(draft, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SphinxError(f"changes/: {done.stderr}{done.stdout}")
        content[0] = content[0].replace("{next-version}", done.stdout)


def setup(app: Any) -> None:
    _show_async_on_the_class()
    app.connect("env-get-outdated", _read_all)
    app.connect("source-read", _insert_index)
    app.connect("source-read", _insert_hops)
    app.connect("source-read", _insert_counts)
    app.connect("source-read", _insert_other_guides)
    app.connect("source-read", _insert_settings)
    app.connect("source-read", _insert_fragments)
    app.connect("autodoc-process-docstring", _open_up, priority=100)  # before napoleon reads the sections
