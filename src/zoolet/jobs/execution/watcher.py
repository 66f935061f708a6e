"""The watcher of one executor's process: it starts the process, and ends it with all descendants.

A worker runs this file as a separate program (`zoolet.jobs.execution.child_process`), because the
worker itself may be killed and cannot clean up then. A pair of sockets, the link, connects the
worker and the watcher. Invariants:

- If the worker closes the link, it has ended, or it requests the end of the process. The watcher
  then kills the process, its process group, and on Linux every other descendant.
- If the process ends, the watcher kills its remaining descendants in the same way.
- If the watcher is killed, Linux kills the process. On other systems, the worker kills it.
- The watcher has its own session, and ignores the signals that end programs. A signal to the
  worker's process group or to all processes of a systemd unit therefore does not end the watcher;
  only SIGKILL does.

The watcher writes lines to the link: ``started PID``, then ``ended STATUS`` (as `os.waitpid`
returns it). If the process cannot be started, it writes ``failed ERRNO MESSAGE``.

This module imports nothing of zoolet, and only modules that load in a few milliseconds.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

KILL_LIMIT_S = 5.0
"""Time limit, in seconds, of the wait for the end of killed processes. A process that waits for a
broken disk or network drive cannot be killed."""

_LOOK_AGAIN_MS = 20
_SUBREAPER, _PARENT_DEATH_SIGNAL = 36, 1
"""Options of prctl(2), from linux/prctl.h."""
_KEPT_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that the process ignores from its first instruction, until it sets its own handlers."""
_IGNORED = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)
_NOT_EXECUTED = 127

Prctl = Callable[[int, int], object]


def _prctl() -> Prctl:
    """Return Linux's prctl; on other systems or without ctypes, a function that does nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes  # noqa: PLC0415 -- a Python without libffi has no ctypes

            function: Prctl = ctypes.CDLL(None).prctl
            return function
    return lambda *_: None


def _start(command: Sequence[str], link: int, prctl: Prctl) -> int:
    """Start the process in a new session, and return its pid."""
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
    """Yield the pids of this process's children; none if the system has no /proc."""
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
    """Reap all children that have ended.

    Returns the status of the child ``pid``, None if it has not ended, and whether there are more
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
        """Reap children that have ended, and return whether there are more children."""
        status, has_more = reap(self.pid)
        if status is not None:
            self.status = status
        return has_more

    def watch(self, link: int) -> None:
        """Wait until the process ends, or the worker closes the link.

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
        """Kill the process and its descendants; wait for their end, at most `KILL_LIMIT_S`."""
        until = time.monotonic() + KILL_LIMIT_S
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        # PermissionError: on macOS, the group has only zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        while self.reap() and time.monotonic() < until:
            # Each round kills one generation of the descendants that left the process group.
            for child in _children() if self.status is not None else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            if poll.poll(_LOOK_AGAIN_MS):
                os.read(self._wakes, 512)


def main(arguments: Sequence[str]) -> None:
    """Start a process, wait for its end or a request of the worker, and kill its descendants.

    Args:
        arguments: the descriptor of the link, the descriptors that only the process gets
            (separated by commas), and the command.
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
