"""The distribution ``zoolet`` has the values of ``zoolet-core``, and more dependencies."""

import tomllib
from pathlib import Path

from release.metapackage import PLAIN_EXTRAS, PUBLIC_EXTRAS, write_project
from release.version import ROOT, read_version

DEVELOPERS_EXTRAS = {"dev", "examples"}


def test_the_project_of_zoolet(tmp_path: Path) -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    write_project(tmp_path / "made")
    written = tomllib.loads((tmp_path / "made" / "pyproject.toml").read_text())
    project = written["project"]
    version = read_version()
    assert project["name"] == "zoolet"
    assert project["version"] == version
    assert project["dependencies"] == [f"zoolet-core[server,shell]=={version}"]
    assert project["optional-dependencies"] == {
        extra: [f"zoolet-core[{extra}]=={version}"] for extra in PUBLIC_EXTRAS
    }
    for key in ("description", "license", "requires-python", "authors", "classifiers", "urls"):
        assert project[key] == core[key]
    assert written["tool"]["setuptools"]["packages"] == []
    assert (tmp_path / "made" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_each_extra_of_the_core_is_public_or_plain_or_for_developers() -> None:
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {*PLAIN_EXTRAS, *PUBLIC_EXTRAS, *DEVELOPERS_EXTRAS}
    assert set(core["optional-dependencies"]) == named


def test_links_of_the_readme_are_absolute(tmp_path: Path) -> None:
    write_project(tmp_path / "made")
    assert "](docs/" not in (tmp_path / "made" / "README.md").read_text()


def test_a_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    write_project(tmp_path / "made")
    assert not (tmp_path / "made" / "old").exists()
