"""The worker's side of an executor's process: its start, its pipes, its end.

The worker starts a watcher (`zoolet.jobs.execution.watcher`), which starts the process
(`zoolet.jobs.execution.executor_program`) and ends it with all descendants. Invariants:

- No call of this module blocks for longer than `KILL_LIMIT_S`, even if the process hangs. Writes to
  the process wait in a buffer. Reads return the available bytes.
- Descriptors 1 and 2 of the process are one pipe. The worker reads its other end, `output_fd`.
- If the start fails, no descriptor stays open.

This module sends no requests to a server. It passes jobs to the process without reading them.
"""

import contextlib
import inspect
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from zoolet.jobs.execution import watcher
from zoolet.jobs.execution.attempts import GO, SKIP, Setup
from zoolet.jobs.execution.messages import Message, MessageError, MessageReader
from zoolet.jobs.execution.output import READ_BYTES, ReadCount

log = logging.getLogger(__name__)

KILL_LIMIT_S = watcher.KILL_LIMIT_S + 1.0
"""Time limit of `ChildProcess.kill`, in seconds."""
_REAP_LIMIT_S = 1.0
_READ_BYTES = 256 * 1024
_LINK_BYTES = 4096
_WATCHER = inspect.getsource(watcher).encode()
"""The source of the watcher's program. It is read at import, because several executors start at the
same time: reading sources is not thread-safe, and fails if no descriptors are left."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from zoolet.jobs.execution.executor_program import main; main(sys.argv[2:])"
)
"""The program of the process. It gets the worker's `sys.path`, so it finds the same modules."""


def signal_name(number: int) -> str:
    """Return a signal's name; "signal 40" for one without a name, like real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class ChildProcess:
    """An executor's process, its watcher, and the worker's ends of the pipes.

    Attributes:
        told_fd: the descriptor from which the messages of the process are read.
        output_fd: the descriptor from which the output is read that the process and its
            subprocesses write to descriptors 1 and 2.
        read_count: tells the process how many bytes of the output the worker has read.
        link_fd: the descriptor from which the watcher's messages are read.
        is_ready: whether the process has reported that it takes work.
        pid: the id of the process; None until the watcher reports it.
        read_bytes: the number of bytes that the last call of `read` has read.

    Raises:
        OSError: the watcher cannot be started.
    """

    def __init__(self, setup: Setup) -> None:
        self.is_ready = False
        self.failure: OSError | None = None
        """The error if the watcher could not start the process; else None."""
        self.pid: int | None = None
        self.read_bytes = 0
        self._status: int | None = None
        self._link_is_open = True
        self._is_killed = False
        self._messages = MessageReader()
        self._has_strange_messages = False
        self._reports = _Lines()
        self._to_write = bytearray(setup.encode() + b"\n")
        self.read_count = ReadCount()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            ours.callback(self.read_count.close)
            theirs.callback(self.read_count.close_descriptor)
            work_read, self._work_fd = os.pipe()
            theirs.callback(os.close, work_read)
            ours.callback(self.close_work)
            self.told_fd, told_write = _pipe(ours, theirs)
            self._turns_read, self._turns_write = _pipe(ours, ours)
            self.output_fd, output_write = _pipe(ours, theirs)
            self._link, their_link = socket.socketpair()
            ours.enter_context(self._link)
            theirs.enter_context(their_link)
            self.link_fd = self._link.fileno()
            # Both ends of the pipe of turns are non-blocking, in the process as well.
            for descriptor in (self._work_fd, self.told_fd, self._turns_read, self.output_fd):
                os.set_blocking(descriptor, False)
            self._link.setblocking(False)
            output = (output_write, self.read_count.descriptor)
            passed = (work_read, told_write, self._turns_read, *output)
            arguments = [json.dumps(setup.import_paths), *map(str, passed)]
            self._popen = start_watcher(
                their_link.fileno(),
                passed,
                [sys.executable, "-P", "-c", _PROGRAM, *arguments],
                output_write,
            )
            self._opened = ours.pop_all()
        self.flush()

    # --- Messages to the process

    @property
    def has_unwritten(self) -> bool:
        """Whether work waits for room in the pipe: call `flush` when `work_fd` has room."""
        return bool(self._to_write) and self._work_fd >= 0

    @property
    def work_fd(self) -> int:
        """The descriptor that work is written to; -1 after `close_work`."""
        return self._work_fd

    def write(self, line: bytes) -> None:
        """Send a line, as soon as the pipe has room for it."""
        self._to_write += line
        self.flush()

    def flush(self) -> None:
        """Send waiting bytes while the pipe has room; the end of the process is not an error."""
        try:
            while self._to_write:
                del self._to_write[: os.write(self._work_fd, self._to_write)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._to_write.clear()

    def give_turns(self, count: int) -> None:
        """Permit the process to attempt the next ``count`` jobs.

        The write cannot block: a pipe holds at least 4,096 bytes, and fewer jobs are sent.
        """
        os.write(self._turns_write, GO * count)

    def take_turns_back(self) -> int:
        """Let the process skip all sent jobs that are not begun; return the number of jobs."""
        try:
            count = len(os.read(self._turns_read, _READ_BYTES))
        except BlockingIOError:
            return 0
        os.write(self._turns_write, SKIP * count)
        return count

    def close_work(self) -> None:
        """Close the pipe of work: the process finds no more work, leaves its loop and exits."""
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1
            self._to_write.clear()

    # --- Messages from the process and its watcher

    def read(self) -> Iterator[Message] | None:
        """Return the messages that have arrived; None at the end of the pipe.

        The iterator raises:
            MessageError: the pipe contains other bytes than messages. No more messages are read.
        """
        data = _read(self.told_fd)
        self.read_bytes = len(data or b"")
        return None if data == b"" else self._messages_in(data or b"")

    def rest(self) -> Iterator[Message]:
        """Yield the messages that remain after the end of the process; raise as `read` does."""
        while data := _read(self.told_fd):
            yield from self._messages_in(data)

    def _messages_in(self, data: bytes) -> Iterator[Message]:
        if self._has_strange_messages:
            return
        try:
            yield from self._messages.feed(data)
        except MessageError as error:
            self.ignore_messages()
            yield from error.before
            raise

    def ignore_messages(self) -> None:
        """Read no more messages: other code than the executor's has written to their pipe.

        Later messages could be forged, too, and could concern other jobs.
        """
        self._has_strange_messages = True

    def read_output(self) -> bytes:
        """Return the available output of descriptors 1 and 2; b"" if there is none."""
        return _read(self.output_fd, READ_BYTES) or b""

    @property
    def watcher_pid(self) -> int:
        """The pid of the watcher, whose descendants are the process and its descendants."""
        return self._popen.pid

    def read_link(self) -> None:
        """Process the available messages of the watcher."""
        try:
            data = self._link.recv(_LINK_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self._link_is_open = bool(data)
        for line in self._reports.add(data):
            kind, _, value = line.decode(errors="replace").partition(" ")
            if kind == "started":
                self.pid = int(value)
            elif kind == "ended":
                self._status = int(value)
            else:
                number, _, text = value.partition(" ")
                self.failure = OSError(int(number), text)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, or its watcher has ended."""
        return self._status is not None or not self._link_is_open

    @property
    def how_it_ended(self) -> str:
        """The signal that ended the process, or its exit status; valid only after `kill`."""
        if self._status is None:
            return "its watcher was killed" if not self._link_is_open else "it cannot be killed"
        code = os.waitstatus_to_exitcode(self._status)
        return signal_name(-code) if code < 0 else f"exit status {code}"

    # --- Its end

    def kill(self) -> None:
        """Kill the process and all its descendants; return when they have ended."""
        if self._is_killed:
            return
        self._is_killed = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)
        self._wait_for_link()
        if self._status is None:
            self._kill_without_watcher()
        self._reap(_REAP_LIMIT_S)

    def _wait_for_link(self) -> None:
        """Wait until the watcher has ended."""
        until = time.monotonic() + KILL_LIMIT_S
        poll = select.poll()
        poll.register(self.link_fd, select.POLLIN)
        while self._link_is_open and (left_s := until - time.monotonic()) > 0:
            if poll.poll(left_s * 1000):
                self.read_link()

    def _kill_without_watcher(self) -> None:
        """Kill a process whose watcher was killed or hangs."""
        self._popen.kill()
        if self.pid is not None:
            # PermissionError: on macOS, the group has only zombies; on other systems, the process
            # belongs to another user.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self, limit_s: float) -> None:
        try:
            self._popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            # Popen keeps a list of such processes, and reaps them later.
            log.warning("process %d has not ended after SIGKILL; it is ignored", self._popen.pid)

    def close(self) -> None:
        """Kill the process, and close the pipes to it."""
        try:
            self.kill()
        finally:
            self._opened.close()


class _Lines:
    """Joins parts to lines, in linear time."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes."""
        *lines, last = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts = []
        if last:
            self._parts.append(last)
        return lines


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Return the read and the write end of a new pipe; ``reader`` and ``writer`` close them."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _read(descriptor: int, limit_bytes: int = _READ_BYTES) -> bytes | None:
    """Return the bytes that can be read now: b"" at the end, None if there are none yet."""
    try:
        return os.read(descriptor, limit_bytes)
    except BlockingIOError:
        return None


def start_watcher(
    link: int,
    passed: Sequence[int],
    command: Sequence[str],
    output: int,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a watcher, which starts the process; see `zoolet.jobs.execution.watcher`.

    Args:
        link: the watcher's end of the link.
        passed: descriptors that only the process gets.
        command: the path of a program, and its arguments.
        output: the descriptor 1 and 2 of the process.
        environment: the environment of the process; None for that of this process.

    The watcher reads its program from its standard input. It therefore works if zoolet is in a zip
    file, and `ps` shows no source text. The options -S and -P keep site-packages and the working
    directory out of the watcher's `sys.path`.
    """
    if not sys.executable:
        raise OSError("sys.executable is empty, so no process can be started")
    popen = subprocess.Popen(
        [sys.executable, "-S", "-P", "-", str(link), ",".join(map(str, passed)), *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        pass_fds=(link, *passed),
        start_new_session=True,
        env=environment,
    )
    # This write ends: the watcher reads its program, or it ends, which closes the pipe.
    assert popen.stdin is not None  # noqa: S101 -- it is a pipe
    with contextlib.suppress(BrokenPipeError), popen.stdin:
        popen.stdin.write(_WATCHER)
    return popen
