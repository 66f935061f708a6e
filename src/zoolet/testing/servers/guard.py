"""Ends the server processes of a test process after the test process ends, also by kill -9.

The environment of each server process contains a mark. A small process, the guard, has one end of a
pipe, and the test process has the other end. When the test process ends, the pipe is closed, and
the guard kills all processes with the mark. The guard runs this file as a program, and must start
in a few ms. Therefore this module must not import other modules of zoolet.
"""

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from pathlib import Path

_NAME = "ZOOLET_TEST_GUARD"
_ROUNDS = 20
_ROUND_S = 0.1


class _Guard:
    """The guard of this process.

    Attributes:
        mark: the value of the environment variable ``_NAME`` in guarded processes.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16)
        guards_end, self._own_end = os.pipe()
        try:
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", __file__, self.mark],
                {name: value for name, value in os.environ.items() if name != _NAME},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, guards_end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,  # a Ctrl-C at the terminal does not end the guard
            )
        finally:
            os.close(guards_end)


_lock = threading.Lock()
_guards: list[_Guard] = []


def guarded_environment() -> dict[str, str]:
    """Return an environment for a process that the guard must kill after this process ends.

    Child processes inherit the environment. The guard needs Linux, where a process can read the
    environment of other processes. On other systems no process is guarded.
    """
    if sys.platform != "linux":
        return dict(os.environ)
    with _lock:
        if not _guards:
            _guards.append(_Guard())
        return {**os.environ, _NAME: _guards[0].mark}


def _kill_marked(mark: str) -> None:
    wanted = f"{_NAME}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        # The process may belong to another user, or may have ended.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def _watch(mark: str) -> None:
    """Wait until the other end of the pipe is closed, then kill the marked processes.

    A process that was just starting may have its environment only a little later, so the kill is
    repeated.
    """
    while os.read(0, 1):
        pass
    for _ in range(_ROUNDS):
        _kill_marked(mark)
        time.sleep(_ROUND_S)


if __name__ == "__main__":
    _watch(sys.argv[1])
