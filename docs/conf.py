"""The settings of Sphinx for the documentation site; ``make docs`` builds it.

The source folder is the root of the project, so a link between two pages is the same on the site
and where the repository is read. The API reference is made from the pure Python sources that
PYTHONPATH names, because compiled functions have no signatures.
"""

from typing import Any

from sphinx.application import Sphinx

from zoolet import __version__

project = "zoolet"
project_copyright = "The zoolet maintainers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [
    ".*",
    "benchmarks",
    "build",
    "dist",
    "packaging",
    "release",
    "src",
    "tests",
    "var",
]
templates_path = ["_templates"]

myst_heading_anchors = 4

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"

html_theme = "furo"
html_title = f"zoolet {release}"
html_additional_pages = {"index": "index.html"}
html_copy_source = False


def skip_fields_of_tuples(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what a NamedTuple generates; the docstring of the class lists the fields."""
    del app, what, name, options
    return True if skip or type(value).__name__ == "_tuplegetter" else None


def name_generated_default(
    app: Sphinx,
    what: str,
    name: str,
    value: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Write ``...`` where a dataclass makes a default: autodoc cannot parse ``<factory>``."""
    del app, what, name, value, options
    if signature is None or "<factory>" not in signature:
        return None
    return signature.replace("<factory>", "..."), returned


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("autodoc-process-signature", name_generated_default)
    app.connect("autodoc-skip-member", skip_fields_of_tuples)
