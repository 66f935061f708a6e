"""A command of a user: it gets bytes on its standard input, and its output is returned.

A watcher (`zoolet.jobs.execution.watcher`) starts the command and ends it with all descendants.
Invariants:

- `Command.run` returns when the command and all of its descendants have ended. It ends them after
  the time limit, or if another thread calls `Command.stop`. If the worker is killed, the watcher
  ends them.
- Only the first `OUTPUT_BYTES` of the output are kept. The rest is read, so no command blocks.
- The command can leave its input unread, and the input is never kept in a pipe.

This module imports other modules of its package.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from zoolet.jobs.execution.child_process import KILL_LIMIT_S, signal_name, start_watcher

OUTPUT_BYTES = 16 * 1024
"""The most bytes of the output of a command that are kept."""

_READ_BYTES = 64 * 1024
_PROGRAM = """
import os, signal, sys
os.dup2(int(sys.argv[1]), 0)
os.close(int(sys.argv[1]))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(f"{sys.argv[2]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)
"""
"""The program that becomes the command. The watcher gives it the descriptor of the input."""


class Ended(NamedTuple):
    """A command that has ended.

    Attributes:
        error: why it did not succeed; None if its exit status is 0.
        output: the first `OUTPUT_BYTES` of its standard output and standard error.
        left_out_bytes: how much output was left out.
    """

    error: str | None
    output: bytes
    left_out_bytes: int


class Command:
    """A program with its arguments, which several threads can run at the same time.

    Args:
        arguments: the program and its arguments.
        timeout_s: the time limit of a run, in seconds.
    """

    def __init__(self, arguments: Sequence[str], timeout_s: float) -> None:
        self._arguments = list(arguments)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._is_stopped = False

    def run(self, data: bytes, environment: Mapping[str, str]) -> Ended:
        """Run the command with ``data`` as its standard input; its errors are in the result."""
        try:
            return self._run(data, environment)
        except (OSError, ValueError) as error:
            return Ended(f"it cannot be started: {error}", b"", 0)

    def stop(self) -> None:
        """End all runs, and let later ones end at once."""
        with self._lock:
            self._is_stopped = True
            for link in self._links:
                _end(link)

    def _run(self, data: bytes, environment: Mapping[str, str]) -> Ended:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            source = theirs.enter_context(tempfile.TemporaryFile())
            source.write(data)
            source.seek(0)
            output, output_write = os.pipe()
            ours.callback(os.close, output)
            theirs.callback(os.close, output_write)
            os.set_blocking(output, False)
            link, their_link = socket.socketpair()
            ours.enter_context(link)
            theirs.enter_context(their_link)
            with self._lock:
                if self._is_stopped:
                    return Ended("the worker stops", b"", 0)
                self._links.add(link)
            ours.callback(self._forget, link)
            program = [sys.executable, "-S", "-P", "-c", _PROGRAM, str(source.fileno())]
            watcher = start_watcher(
                their_link.fileno(),
                [source.fileno()],
                [*program, *self._arguments],
                output_write,
                environment,
            )
            theirs.close()
            return _Running(watcher, link, output).wait(self._timeout_s)

    def _forget(self, link: socket.socket) -> None:
        with self._lock:
            self._links.discard(link)


def _end(link: socket.socket) -> None:
    """Let the watcher end the command."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_WR)


class _Running:
    """A command that runs."""

    def __init__(self, watcher: "subprocess.Popen[bytes]", link: socket.socket, fd: int) -> None:
        self._watcher = watcher
        self._link = link
        self._fd = fd
        self._output = bytearray()
        self._left_out_bytes = 0
        self._told = b""

    def wait(self, timeout_s: float) -> Ended:
        """Return when the command has ended; this takes `KILL_LIMIT_S` longer at most."""
        is_late = not self._read_until(time.monotonic() + timeout_s)
        if is_late:
            _end(self._link)
            if not self._read_until(time.monotonic() + KILL_LIMIT_S):
                self._watcher.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._watcher.wait(KILL_LIMIT_S)
        self._read_output()
        error = f"it did not end within {timeout_s:g} s" if is_late else self._error()
        return Ended(error, bytes(self._output), self._left_out_bytes)

    def _read_until(self, deadline: float) -> bool:
        """Read until the watcher has ended; return False if the time has come before."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._link, select.POLLIN)
        while (left_s := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left_s * 1000 + 1):
                if descriptor == self._fd:
                    if not self._read_output():
                        poll.unregister(self._fd)
                elif not self._read_link():
                    return True
        return False

    def _read_output(self) -> bool:
        """Read the available output; return False at its end."""
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            kept = data[: max(0, OUTPUT_BYTES - len(self._output))]
            self._output += kept
            self._left_out_bytes += len(data) - len(kept)
            if len(data) < _READ_BYTES:
                return True

    def _read_link(self) -> bool:
        try:
            data = self._link.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        self._told += data
        return bool(data)

    def _error(self) -> str | None:
        """Return why the command did not succeed, by the messages of the watcher."""
        for line in self._told.decode(errors="replace").splitlines():
            kind, _, value = line.partition(" ")
            if kind == "ended":
                status = os.waitstatus_to_exitcode(int(value))
                if status < 0:
                    return f"it was ended by {signal_name(-status)}"
                return f"its exit status is {status}" if status else None
            if kind == "failed":
                return f"it cannot be started: {value.partition(' ')[2]}"
        return "its watcher was killed"
