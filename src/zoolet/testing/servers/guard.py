"""Ends the servers of a test process that is gone, however it ended: also by kill -9.

A server of a test carries a mark in its environment. A small process, the guard, holds one end of a
pipe, of which the test process has the other. When the test process is gone the pipe is closed, and
the guard kills what carries the mark. It runs this file as a program, so that it starts in a few
ms: this module must import nothing of zoolet.
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
        mark: what the environment of a guarded process holds under ``_NAME``.
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
                setsid=True,  # a Ctrl-C at the terminal does not end it
            )
        finally:
            os.close(guards_end)


_lock = threading.Lock()
_guards: list[_Guard] = []


def guarded_environment() -> dict[str, str]:
    """Return an environment; the process that has it does not outlive this one for long.

    Its children inherit it. Only Linux shows the environment of other processes: elsewhere nothing
    is guarded.
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
        # It may be another user's, or gone by now.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def _watch(mark: str) -> None:
    """Wait until the other end of the pipe is closed, then kill.

    What was being started at that moment may show its environment only a little later.
    """
    while os.read(0, 1):
        pass
    for _ in range(_ROUNDS):
        _kill_marked(mark)
        time.sleep(_ROUND_S)


if __name__ == "__main__":
    _watch(sys.argv[1])
