"""The section "Ten minutes" of docs/jobs.md works if it is pasted, also a second time.

The blocks are read from the page. A block whose info string has a file name is that file; all
others are typed into one shell, in their order. The test changes one thing: where the page has the
port 2181, it puts a free one.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoolet.testing.servers.base import ReservedPort

PAGE = Path(__file__).parents[3] / "docs" / "jobs.md"
PORT = "2181"
TIMEOUT_S = 100
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(port: int) -> str:
    """Return the section as one shell script; what creates a file does so with a here document."""
    [section] = re.findall(
        r"^## Ten minutes.*?(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    lines = ["set -eu"]
    for language, file, content in _BLOCK.findall(section):
        assert file or language == "sh", f"no file name and no shell: {content}"
        lines.append(f"cat >{file} <<'END OF FILE'\n{content}END OF FILE" if file else content)
    return "\n".join(lines).replace(PORT, str(port))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """An empty directory; what a section that fails left running there is ended."""
    empty = tmp_path / "empty"
    empty.mkdir()
    yield empty
    for pid_file in (empty / "worker.pid", *empty.glob("data/*.pid")):
        if pid_file.exists():
            _end(int(pid_file.read_text()), empty)


def _end(pid: int, directory: Path) -> None:
    """End a process by its number, if it is still one that runs in this directory."""
    try:
        if (Path("/proc") / str(pid) / "cwd").resolve() == directory.resolve():
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def test_ten_minutes_work_when_they_are_pasted_twice(directory: Path) -> None:
    reserved = ReservedPort()
    pasted = script(reserved.number)
    bin_directory = str(Path(sys.executable).parent)
    for number in (1, 2):
        done = subprocess.run(
            ["bash", "-c", pasted],
            cwd=directory,
            env=os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        told = f"run {number}:\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, told
        assert "Traceback" not in done.stdout + done.stderr, told
        results = [line for line in done.stdout.splitlines() if "SUCCESSFUL {'late': " in line]
        assert len(results) == 12, told
        assert (directory / "data").exists()
