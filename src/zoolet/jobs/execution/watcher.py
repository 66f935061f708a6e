"""The watcher of one executor's process: it starts the process, and ends it with all descendants.

A worker runs this file as a program of its own (`zoolet.jobs.execution.child_process`), because
the process that cleans up must not be the one that may be killed. A link, one end of a pair of
sockets, joins the two. What holds:

- If the link is at its end, the worker has ended in some way, or asks for the end of the process.
  The watcher then kills the process, its process group, and on Linux every other descendant.
- If the process ends, the watcher kills in the same way what the process has left behind.
- If the watcher is killed, Linux kills the process. Elsewhere the worker does.
- The watcher has a session of its own, and ignores the signals that end programs. So a signal to
  the worker's process group or to all processes of a systemd unit does not end it. Only SIGKILL
  does.

It writes lines to the link: ``started PID``, then ``ended STATUS`` (as `os.waitpid` returns it).
If the process cannot be started, it writes ``failed ERRNO MESSAGE``.

Imports nothing of zoolet, and only modules that an interpreter loads in a few milliseconds.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

KILL_LIMIT_S = 5.0
"""How long the watcher waits for the end of processes that it has killed. A process that waits for
a broken disk or network drive cannot be killed."""

_LOOK_AGAIN_MS = 20
_SUBREAPER, _PARENT_DEATH_SIGNAL = 36, 1
"""Options of prctl(2), from linux/prctl.h."""
_KEPT_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The process ignores these from its first instruction, until it sets its own handlers."""
_IGNORED = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)
_NOT_EXECUTED = 127

Prctl = Callable[[int, int], object]


def _prctl() -> Prctl:
    """Return Linux's prctl; elsewhere, or without ctypes, a function that does nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes  # noqa: PLC0415 -- a Python without libffi has none

            function: Prctl = ctypes.CDLL(None).prctl
            return function
    return lambda *_: None


def _start(command: Sequence[str], link: int, prctl: Prctl) -> int:
    """Start the process in a session of its own, and return its pid."""
    watcher = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != watcher:
            os._exit(_NOT_EXECUTED)
        os.setsid()
        for signum in _IGNORED:
            signal.signal(signum, signal.SIG_DFL)
        os.execv(command[0], list(command))  # noqa: S606
    except OSError as error:
        _say(link, f"failed {error.errno} {error.strerror}: {command[0]}")
    finally:
        os._exit(_NOT_EXECUTED)


def _say(link: int, line: str) -> None:
    with contextlib.suppress(OSError):  # The worker has ended.
        os.write(link, f"{line}\n".encode())


def _children() -> Iterator[int]:
    """Yield the pids of this process's children, as far as the system shows them."""
    parent = str(os.getpid())
    with contextlib.suppress(OSError):
        # pathlib is slow to import.
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdecimal():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:  # noqa: PTH123
                    # The program's name is in parentheses, and may contain any character.
                    if stat.read().rpartition(")")[2].split()[1] == parent:
                        yield int(name)


def reap(pid: int) -> tuple[int | None, bool]:
    """Take the statuses of all children that have ended.

    Returns the status of the child ``pid`` if it is one of them, and whether there are more
    children.
    """
    found: int | None = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found, False
        if ended == 0:
            return found, True
        if ended == pid:
            found = status


class _Watched:
    """The process, from its start until it and its descendants have ended."""

    def __init__(self, pid: int, wakes: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._wakes = wakes

    def reap(self) -> bool:
        """Take the statuses of children that have ended; return whether there are more children."""
        status, has_more = reap(self.pid)
        if status is not None:
            self.status = status
        return has_more

    def watch(self, link: int) -> None:
        """Wait until the process ends, or the link.

        This wait has no timeout: SIGCHLD ends it if the process ends, and the kernel closes the
        link if the worker ends.
        """
        poll = select.poll()
        poll.register(link, select.POLLIN)
        poll.register(self._wakes, select.POLLIN)
        while self.status is None:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakes in ready:
                os.read(self._wakes, 512)
            self.reap()
            if link in ready:
                return

    def kill(self) -> None:
        """End the process and its descendants."""
        until = time.monotonic() + KILL_LIMIT_S
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        # PermissionError: on macOS, a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        while self.reap() and time.monotonic() < until:
            # Descendants that left the group, one generation in each round.
            for child in _children() if self.status is not None else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            if poll.poll(_LOOK_AGAIN_MS):
                os.read(self._wakes, 512)


def main(arguments: Sequence[str]) -> None:
    """Watch over a process.

    Args:
        arguments: descriptor of the link, descriptors that only the process gets (separated by
            commas), and the command.
    """
    link, passed_on = int(arguments[0]), [int(one) for one in arguments[1].split(",")]
    os.set_inheritable(link, False)
    for signum in (*_KEPT_IGNORED, *_IGNORED):
        signal.signal(signum, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    prctl = _prctl()
    prctl(_SUBREAPER, 1)
    try:
        watched = _Watched(_start(arguments[2:], link, prctl), wakes)
    except OSError as error:
        _say(link, f"failed {error.errno} {error.strerror}")
        return
    for descriptor in passed_on:
        os.close(descriptor)
    _say(link, f"started {watched.pid}")
    watched.watch(link)
    watched.kill()
    if watched.status is not None:
        _say(link, f"ended {watched.status}")


if __name__ == "__main__":
    main(sys.argv[1:])
