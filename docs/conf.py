"""How the site is built: `make docs`, which turns the pages of this folder into build/docs."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes

from em_impute.cli.main import main
from em_impute.job import job_schema

HERE = Path(__file__).parent
PYPROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))

project = "em_impute"
author = "The em_impute maintainers"
version = release = PYPROJECT["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_*"]
html_theme = "furo"
html_title = f"em_impute {release}"
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The pages' contents name sections; of each page they are made anew for every other one.
toc_object_entries = False
suppress_warnings = ["myst.strikethrough"]
myst_heading_anchors = 4
# Types stand in the docstrings, in the field's words.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True  # of Prefect's blocks
napoleon_use_param = napoleon_use_rtype = False
# A name between single quotes is code, as elsewhere in Python.
default_role = "literal"

# --- Pages that are made -------------------------------------------------------------------------


def maker(name: str) -> Any:
    """The function of that name, of the file of that name beside this one."""
    return runpy.run_path(str(HERE / f"{name}.py"))[name]


def make_pages() -> None:
    """Write what is made of commands, schema and messages, if it is not there as it should be."""
    troubleshooting = (HERE / "troubleshooting.md").read_text(encoding="utf-8")
    pages = {
        "keys": maker("keys_page")(job_schema()),
        "commands": maker("commands_page")(main, "em-impute"),
        **maker("error_pages")(troubleshooting),
    }
    (HERE / "errors").mkdir(exist_ok=True)
    for gone in {path.stem for path in HERE.glob("errors/*.md")} - {Path(p).name for p in pages}:
        (HERE / "errors" / f"{gone}.md").unlink()
    for name, text in pages.items():
        path = HERE / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- What Sphinx calls --------------------------------------------------------------------------


def _plain_names(
    _app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Leave ``mean_`` what it is in a text; to Sphinx an underscore at the end makes a link."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example and not line.lstrip().startswith(".. "):
            lines[i] = re.sub(r"(``.*?``)|(?<=\w)_(?![\w{])", lambda m: m[1] or "\\_", line)


def _classes(_app: object, tree: nodes.document, page: str) -> None:
    """Name what `site.css` is about: tables of two columns, messages as headings."""
    for table in tree.findall(nodes.table):
        if len(list(table.findall(nodes.colspec))) == 2:
            table["classes"].append("pairs")
    if page.startswith("errors/"):
        for section in tree.findall(nodes.section):
            section["classes"].append("message")


def _found_one_by_one(app: Any, _tree: nodes.document) -> None:
    """Who searches for a message gets its own page, not the one on which all of them are."""
    if app.env.docname in ("troubleshooting", "errors"):
        app.env.metadata[app.env.docname]["nosearch"] = True


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", _plain_names)
    app.connect("doctree-read", _found_one_by_one)
    app.connect("doctree-resolved", _classes)


make_pages()
