"""The installed package has every file of ``src/zoolet`` that is not source code."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "zoolet"
BUILT_FROM = {".py", ".c", ".h", ".so"}


def test_no_file_is_left_out_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["zoolet"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in BUILT_FROM and path.parent.name != "__pycache__"
    }
    assert PACKAGE / "web" / "templates" / "jobs" / "list.html" in files
    assert files - packed == set()
