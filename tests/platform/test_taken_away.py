"""Server, shell, jobs, fixtures and data tools, each time without something that they might need.

All processes are real, and all of them lack the thing (see ``runs.py``).
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.platform.runs import TIMEOUT_S, Case, environment_of, run_without

IDENTITY = ("HOME", "USER", "LOGNAME", "USERNAME", "LNAME")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

MACOS = (
    "fdatasync", "posix_fallocate", "memfd_create", "sched", "unlimited descriptors", "full sync",
    "epoll", "pidfd", "queue of sockets", "proc", "linux",
)  # fmt: skip

CASES = {
    "nothing": Case(),
    "fdatasync": Case(["fdatasync"]),
    "posix_fallocate": Case(["posix_fallocate"]),
    "what musl lacks": Case(["posix_fallocate: EOPNOTSUPP", "large stacks"]),
    "a hard limit": Case(["unlimited descriptors"], noted="soft limit 10240"),
    "a complete fsync": Case(["full sync"], noted="full sync"),
    "a complete fsync, and F_FULLFSYNC": Case(["full sync: ENOTSUP"], noted="full sync"),
    "what macOS lacks": Case(MACOS, noted="full sync"),
    "epoll and pidfd": Case(["epoll", "pidfd", "uvloop"]),
    "proc": Case(["proc"]),
    "uvloop": Case(["uvloop"]),
    "a compiler and all other programs": Case((), {"PATH": "/missing"}),
    "ctypes": Case(["ctypes"]),
    "HOME and a passwd entry": Case(["passwd entry"], dict.fromkeys(IDENTITY)),
    "a writable root": Case(["writable root"], {"TMPDIR": None, "PYTHONDONTWRITEBYTECODE": None}),
    "256 descriptors": Case(["few descriptors"]),
    "calls that no process needs": Case(
        ["memfd_create: ENOSYS", "link: EPERM", "holes", "sched", "queue of sockets"]
    ),
    "UTF-8": Case((), ASCII),
    "docstrings and assertions": Case((), {"PYTHONOPTIMIZE": "2"}),
    "tolerance for warnings": Case((), {"PYTHONWARNINGS": "error"}),
    "tolerance for mistakes": Case((), {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}),
}


@pytest.mark.parametrize("name", CASES)
def test_everything_works_without(name: str, tmp_path: Path) -> None:
    run_without(CASES[name], tmp_path)


def test_an_option_that_forbids_utf8_starts_a_command_only_once_again(tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "zoolet", "--version"],
        env=environment_of(Case((), ASCII), tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    told = (tmp_path / "processes.log").read_text(encoding="utf-8").splitlines()
    assert len(told) == 2, told
