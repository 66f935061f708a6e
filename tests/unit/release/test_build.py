"""What setup.py builds on a machine that cannot compile: a wheel whose tag says so."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from release.version import ROOT, read_version

FILES = (
    *("pyproject.toml", "setup.py", "compiled.txt", "start_functions.txt"),
    *("README.md", "LICENSE", "MANIFEST.in"),
)
FAILING = "#!/bin/sh\necho 'Python.h: No such file or directory' >&2\nexit 1\n"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs, without compiled modules."""
    copy = tmp_path_factory.mktemp("sources")
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    return copy


def build(sources: Path, **variables: str) -> tuple[Path, str]:
    """Return the wheel, and what the build printed."""
    shutil.rmtree(sources / "dist", ignore_errors=True)
    completed = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel"],
        cwd=sources,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout
    (wheel,) = (sources / "dist").iterdir()
    return wheel, completed.stdout


def test_without_a_compiler_the_wheel_is_for_every_platform(sources: Path) -> None:
    wheel, printed = build(sources, CC="/nowhere/cc")
    assert wheel.name == f"zoolet_core-{read_version()}-py3-none-any.whl"
    assert "zoolet: the C compiler '/nowhere/cc' is missing, so this build is pure" in printed
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert not [name for name in names if name.endswith((".so", ".c"))]
    assert {"zoolet/py.typed", "zoolet/server/service.py"} <= set(names)
    assert all(name.startswith(("zoolet/", "zoolet_core-")) for name in names)


def test_without_pythons_headers_too(sources: Path, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(FAILING)
    compiler.chmod(0o755)
    wheel, printed = build(sources, CC=str(compiler))
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "zoolet: Python's header Python.h (Debian's package python3-dev) is missing" in printed


def test_two_builds_are_equal(sources: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(sources, elsewhere, ignore=shutil.ignore_patterns("build", "dist"))
    built = [build(where, ZOOLET_PURE_PYTHON="1")[0].read_bytes() for where in (sources, elsewhere)]
    assert built[0] == built[1]
