"""The lock files agree with pyproject.toml, and have hashes but no address of a package index."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
NAMES = sorted(path.stem for path in REQUIREMENTS.glob("*.in"))
ADVICE = "run make lock, and commit the changed files in requirements/"


def locked(name: str) -> dict[str, set[Version]]:
    """Return the versions of each package in a lock file; several if they depend on the Python."""
    versions: dict[str, set[Version]] = defaultdict(set)
    for package, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", (REQUIREMENTS / name).read_text(), re.MULTILINE
    ):
        versions[canonicalize_name(package)].add(Version(version))
    return versions


def wanted_by_project() -> Iterator[Requirement]:
    """Yield the dependencies of zoolet, of the extra dev, and of the build."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    texts = [*settings["build-system"]["requires"], *project["dependencies"]]
    extras = project["optional-dependencies"]
    left, seen = ["dev"], set()
    while left:
        extra = left.pop()
        seen.add(extra)
        for text in extras[extra]:
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                left += requirement.extras - seen
            else:
                texts.append(text)
    yield from map(Requirement, texts)


def wanted_by_file(name: str) -> Iterator[Requirement]:
    """Yield the requirements of a file ``requirements/NAME.in``."""
    for line in (REQUIREMENTS / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield Requirement(line)


@pytest.mark.parametrize("name", NAMES)
def test_the_lock_has_a_version_of_each_requirement(name: str) -> None:
    wanted = [*wanted_by_file(f"{name}.in"), *(wanted_by_project() if name == "dev" else ())]
    versions = locked(f"{name}.txt")
    wrong = [
        str(requirement)
        for requirement in wanted
        if not (found := versions.get(canonicalize_name(requirement.name)))
        or not all(requirement.specifier.contains(version) for version in found)
    ]
    assert wrong == [], ADVICE


@pytest.mark.parametrize("name", NAMES)
def test_each_package_has_hashes_and_no_address(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[\w.-]+==)", re.sub(r"#.*", "", text), flags=re.MULTILINE)[1:]
    assert len(entries) == sum(len(versions) for versions in locked(f"{name}.txt").values())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "--index" not in text
    assert "--find-links" not in text
