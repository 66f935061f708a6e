"""The files that a server creates have the permissions of the table in docs/access.md."""

import fnmatch
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rawclient import RawClient
from zoolet.testing import ReservedPort

PAGE = Path(__file__).parents[3] / "docs" / "access.md"
ROW = re.compile(r"^\| ([^|]+) \| ([0-7]{3}) \| [^|]+ \|$", re.MULTILINE)
DIRECTORIES = {"dataDir": "data", "dataLogDir": "logs"}


def table() -> dict[str, int]:
    """Return the mode for each pattern of names."""
    text = PAGE.read_text().split("## Files\n")[1].split("\n## ")[0]
    return {
        name: int(mode, 8)
        for names, mode in ROW.findall(text)
        for name in re.findall(r"`([^`]+)`", names)
    }


def mode_of(name: str, modes: dict[str, int]) -> int | None:
    """Return the mode that the table has for a file."""
    for pattern, mode in modes.items():
        if fnmatch.fnmatch(name, DIRECTORIES.get(pattern, pattern)):
            return mode
    return None


def created(directory: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the mode of each file and directory."""
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        for folder in ("data/", "logs/"):
            name = name.removeprefix(folder)
        yield name, path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_files_of_a_server(tmp_path: Path, umask: int) -> None:
    modes = table()
    assert len(modes) >= 9
    zoolet = [sys.executable, "-m", "zoolet"]
    home = tmp_path / "home"

    def run(*arguments: object) -> None:
        subprocess.run(
            [*zoolet, *map(str, arguments)],
            check=True,
            umask=umask,
            timeout=60,
            capture_output=True,
            env={name: text for name, text in os.environ.items() if not name.startswith("ZOO")},
        )

    run("init", home)
    with (home / "zoo.cfg").open("a") as config:
        config.write(
            f"\ndataLogDir={home}/logs\nsnapCount=2\nadmin.enableServer=false\naudit.enable=true\n"
            "zoolet.audit.maxFileKiB=1\nzoolet.audit.onFailure=stop\nclientPort=0\n"
        )
    port = free_port(home / "zoo.cfg")
    run("server", "start", home / "zoo.cfg")
    try:
        with RawClient(port) as client:
            client.connect()
            for number in range(30):
                assert client.create(f"/a{number}").err == 0
        found = dict(created(home))
    finally:
        run("server", "stop", home / "zoo.cfg")
    found |= dict(created(home))
    wanted = {name: mode_of(name, modes) for name in found}
    assert None not in wanted.values(), wanted
    assert found == {
        name: mode if name.startswith("zookeeper_audit.log") else (mode or 0) & ~umask
        for name, mode in wanted.items()
    }
    kinds = {
        pattern for pattern in modes if fnmatch.filter(found, DIRECTORIES.get(pattern, pattern))
    }
    assert set(modes) - kinds <= {"--log-file FILE"}


def free_port(config: Path) -> int:
    """Write a port into the zoo.cfg, and return it."""
    reserved = ReservedPort()
    config.write_text(config.read_text().replace("clientPort=0", f"clientPort={reserved.number}"))
    return reserved.number
