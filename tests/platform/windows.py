"""Runs Python code as on Windows, as far as Linux can: without POSIX modules, calls and signals.

Usage: python windows.py CODE [ARGUMENT...]. Modules of Python and of other projects load before
``sys.platform`` is changed, because they would look for Windows's own modules. So this shows what
zoolet needs, and not whether other projects work on Windows.
"""

import importlib
import importlib.abc
import importlib.machinery
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from types import ModuleType

MISSING_MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty", "uvloop"})
OTHERS = """
asyncio click ctypes getpass h11 kazoo.client kazoo.recipe.lock kazoo.security logging
multiprocessing.util platform prometheus_client prompt_toolkit pytest rich.console
rich.live rich.progress rich.table shutil sqlalchemy sqlite3 ssl subprocess tempfile
unittest urllib.request uuid
"""
KEPT_SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
MISSING_CALLS = """
chown fchmod fchown fdatasync fork forkpty getgid getpgid getuid geteuid killpg lchown
lockf memfd_create mkfifo pidfd_open posix_fallocate posix_spawn pread pwrite
register_at_fork sched_getaffinity sched_yield set_blocking setsid statvfs sysconf uname
wait waitid O_CLOEXEC O_DIRECTORY O_DSYNC O_SYNC O_NONBLOCK SEEK_DATA SEEK_HOLE
"""


class WithoutModules(importlib.abc.MetaPathFinder):
    """Finds no POSIX modules."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname in MISSING_MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def become_windows() -> None:
    """Remove what Windows lacks."""
    for name in OTHERS.split():
        importlib.import_module(name)
    for name in MISSING_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, WithoutModules())
    for name in MISSING_CALLS.split():
        if hasattr(os, name):
            delattr(os, name)
    for name in dir(signal):
        if name.startswith("SIG") and name.isupper() and name not in KEPT_SIGNALS:
            delattr(signal, name)
    for name in ("poll", "epoll", "PIPE_BUF"):
        delattr(importlib.import_module("select"), name)
    del socket.TCP_INFO
    # asyncio and kazoo wait with select, as they can on Windows.
    for name in ("EpollSelector", "PollSelector"):
        delattr(selectors, name)
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[assignment, misc]
    sys.platform = "win32"


if __name__ == "__main__":
    code, sys.argv = sys.argv[1], sys.argv[1:]
    become_windows()
    exec(compile(code, "<windows>", "exec"), {"__name__": "__main__"})
