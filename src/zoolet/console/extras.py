"""The optional packages, and the message if a command needs a package that is not installed.

The dependencies of ``zoolet-core`` are only those of the server, the client and the test fixtures.
This module imports no optional package.
"""

from importlib.util import find_spec
from typing import Final

EXTRAS: Final = {
    "cronsim": "jobs",
    "cryptography": "archive",
    "fsspec": "archive",
    "greenlet": "jobs",
    "gssapi": "kerberos",
    "jinja2": "web",
    "markupsafe": "web",
    "prompt_toolkit": "shell",
    "opentelemetry": "opentelemetry",
    "psycopg": "postgresql",
    "pyarrow": "parquet",
    "pytest": "testing",
    "rich": "shell",
    "sqlalchemy": "jobs",
    "starlette": "web",
    "tzdata": "jobs",
    "uproot": "root",
    "uvicorn": "web",
    "zstandard": "archive",
}
"""The extra that installs each optional package (pyproject.toml)."""

DISTRIBUTIONS: Final = {"opentelemetry": "opentelemetry-api"}
"""The distributions whose names are not those of their packages."""

_PLAIN: Final = "shell"
"""The extra whose packages a plain ``pip install zoolet`` installs."""


def advice(package: str) -> str:
    """Return a sentence that says how to install an optional package."""
    extra = EXTRAS[package]
    wanted = "zoolet" if extra == _PLAIN else f"'zoolet[{extra}]'"
    named = DISTRIBUTIONS.get(package, package)
    return f"the Python package {named} is not installed. Run: pip install {wanted}"


def missing(package: str) -> str | None:
    """Return the same sentence if an optional package is missing, else None."""
    return advice(package) if find_spec(package) is None else None


def explain_import(error: ImportError) -> str | None:
    """Return the sentence for an import that failed; None if the package is not optional."""
    package = (error.name or "").partition(".")[0]
    return missing(package) if package in EXTRAS else None
