"""Write the project of the distribution ``zoolet``, which only has dependencies.

Usage: ``python -m release.metapackage DIRECTORY``. All values come from the pyproject.toml of
``zoolet-core``, so each is defined once. Reason: docs/decisions/0075-two-distributions.md.
"""

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from release.version import ROOT, read_version

PLAIN_EXTRAS = ("server", "shell")
"""The extras of zoolet-core that a plain ``pip install zoolet`` includes."""

PUBLIC_EXTRAS = (
    "archive",
    "jobs",
    "kerberos",
    "opentelemetry",
    "parquet",
    "pkcs12",
    "postgresql",
    "root",
    "testing",
    "web",
)
"""The extras of zoolet-core that zoolet has too."""

_SAME_KEYS = ("description", "license", "requires-python", "authors", "keywords", "classifiers")
_LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def write_project(directory: Path) -> None:
    """Write pyproject.toml, README.md and LICENSE; the directory is created or replaced."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "pyproject.toml").write_text(pyproject(project, read_version()))
    home = project["urls"]["Homepage"]
    readme = _LINK.sub(rf"]({home}/blob/main/\1)", (ROOT / "README.md").read_text())
    (directory / "README.md").write_text(readme)
    shutil.copy(ROOT / "LICENSE", directory)


def pyproject(core: dict[str, Any], version: str) -> str:
    """Return the text of pyproject.toml.

    Args:
        core: the table ``project`` of zoolet-core.
        version: the version of both distributions.
    """
    lines = [
        "[build-system]",
        'requires = ["setuptools>=77"]',
        'build-backend = "setuptools.build_meta"',
        "",
        "[project]",
        'name = "zoolet"',
        f"version = {_toml(version)}",
        'readme = "README.md"',
        'license-files = ["LICENSE"]',
        *(f"{key} = {_toml(core[key])}" for key in _SAME_KEYS),
        f"dependencies = {_toml([_needs(PLAIN_EXTRAS, version)])}",
        "",
        "[project.urls]",
        *(f"{name} = {_toml(url)}" for name, url in core["urls"].items()),
        "",
        "[project.optional-dependencies]",
        *(f"{extra} = {_toml([_needs((extra,), version)])}" for extra in PUBLIC_EXTRAS),
        "",
        "[tool.setuptools]",
        "packages = []",
        "",
    ]
    return "\n".join(lines)


def _needs(extras: tuple[str, ...], version: str) -> str:
    return f"zoolet-core[{','.join(extras)}]=={version}"


def _toml(value: Any) -> str:
    """Return a text, or a list of texts or of tables of texts, in TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    return json.dumps(value)


if __name__ == "__main__":
    write_project(Path(sys.argv[1]))
