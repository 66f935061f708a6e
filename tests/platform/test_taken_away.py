"""Server, shell, jobs, fixtures and data tools, each time without something that they might need.

All processes are real, and all of them lack the thing (see ``runs.py``).
"""

from pathlib import Path

import pytest

from tests.platform.runs import Case, run_without

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
    "posix_fallocate fails as with ZFS": Case(["posix_fallocate: EINVAL"]),
    "a hard limit": Case(["unlimited descriptors"], noted="soft limit 10240"),
    "a complete fsync": Case(["full sync"], noted="full sync"),
    "a complete fsync, and F_FULLFSYNC": Case(["full sync: ENOTSUP"], noted="full sync"),
    "what macOS lacks": Case(MACOS, noted="full sync"),
    "epoll": Case(["epoll", "uvloop"]),
    "pidfd": Case(["pidfd", "uvloop"]),
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
