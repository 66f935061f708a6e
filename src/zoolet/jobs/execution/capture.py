"""In an executor's process: what tasks print and log goes to the worker, up to the last line.

Descriptors 1 and 2 are a pipe to the worker, so that what C code and subprocesses print is there
too. Records of ``logging`` and the end of an attempt stand in the same pipe, as frames that begin
with a token nobody else knows. So their order is that in which they were written. What holds:

- An attempt that printed nothing costs no frame. Whether it did is known from how many bytes the
  worker has read, which stands in memory that both share, and how many are in the pipe.
- What a task does to the descriptors or to ``sys.stdout`` ends with its attempt.

`zoolet.jobs.execution.output` is the worker's side. Imports nothing of the job system but the
texts of records.
"""

import array
import contextlib
import ctypes
import faulthandler
import fcntl
import json
import logging
import mmap
import os
import select
import struct
import sys
import termios
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from zoolet.jobs.records.texts import cut_middle

READ_COUNT = struct.Struct("Q")
"""What the shared memory begins with: how many bytes of the pipe the worker has read, at most."""
END = b"E"
RECORD_PART, RECORD_END = b"P", b"R"
"""What a frame is, after the token: the end of an attempt, or a part of a record."""
FRAME_BYTES = min(select.PIPE_BUF, 4096)
"""Longest frame: what is written at once up to this length is in the pipe in one piece."""
RECORD_CHARACTERS = 16_000
_STDOUT, _STDERR = 1, 2
_PART_BYTES = FRAME_BYTES - 64


def token_bytes(token: str) -> bytes:
    """Return what a frame begins with: bytes that no text has."""
    return b"\0zoolet-" + token.encode() + b":"


class Capture:
    """The output of this process, as the worker gets it.

    Args:
        descriptor: the pipe's end to write to.
        shared: the file of the shared memory.
        token: what the worker knows frames by.
    """

    def __init__(self, descriptor: int, shared: int, token: str) -> None:
        self._descriptor = descriptor
        self._shared = mmap.mmap(shared, mmap.PAGESIZE, prot=mmap.PROT_READ)
        os.close(shared)
        self._token = token_bytes(token)
        self._in_pipe = array.array("i", [0])
        self._seen_bytes = 0
        self._record_number = 0
        self._flush_c = _c_stdout()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._restore()
        faulthandler.enable()

    def log(self, level: int) -> None:
        """Send the records of ``logging``, and warnings, to the worker."""
        logging.basicConfig(level=level, handlers=[_Sender(self)], force=True)
        logging.captureWarnings(capture=True)

    def end_attempt(self) -> bool:
        """Write what is buffered; say whether there was any output since the last end.

        If there was, its end is marked in the pipe.
        """
        if self._is_silent():
            return False
        self._restore()
        fcntl.ioctl(self._descriptor, termios.FIONREAD, self._in_pipe)
        # In this order: what the worker reads in between counts twice, and not never.
        seen_bytes = self._in_pipe[0] + READ_COUNT.unpack_from(self._shared)[0]
        if seen_bytes == self._seen_bytes:
            return False
        self._seen_bytes = seen_bytes + self._write(END)
        return True

    def send(self, record: dict[str, Any]) -> None:
        """Send a record of the log."""
        self._record_number += 1
        text = json.dumps(record).encode()
        number = b"%d:" % self._record_number
        parts = [text[at : at + _PART_BYTES] for at in range(0, len(text), _PART_BYTES)]
        for part in parts[:-1]:
            self._write(RECORD_PART + number + part)
        self._write(RECORD_END + number + parts[-1])

    def _write(self, frame: bytes) -> int:
        whole = self._token + frame + b"\n"
        while True:
            try:
                return os.write(self._descriptor, whole)
            except BlockingIOError:
                # A subprocess has made the pipe so for all.
                select.select([], [self._descriptor], [])

    def _is_silent(self) -> bool:
        """Write what is buffered; say whether nothing was written, and all is as it was before.

        This is on the way of every small job. The two calls of the system show also whether the
        task has closed or replaced a descriptor.
        """
        stdout, stderr = self._streams
        in_pipe = self._in_pipe
        try:
            self._flush_c()
            stdout.flush()
            stderr.flush()
            fcntl.ioctl(_STDERR, termios.FIONREAD, in_pipe)
            in_pipe_bytes = in_pipe[0]
            fcntl.ioctl(_STDOUT, termios.FIONREAD, in_pipe)
        except (ValueError, OSError):
            return False
        return (
            in_pipe_bytes == in_pipe[0]
            and in_pipe_bytes + READ_COUNT.unpack_from(self._shared)[0] == self._seen_bytes
            and sys.stdout is stdout
            and sys.stderr is stderr
        )

    def _restore(self) -> None:
        """Undo what a task did to descriptors and streams."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            # The task may have closed it, or put anything in its place.
            with contextlib.suppress(Exception):
                stream.flush()
        os.dup2(self._descriptor, _STDOUT)
        os.dup2(self._descriptor, _STDERR)
        if any(stream.closed for stream in self._streams):
            self._streams = (_open(_STDOUT), _open(_STDERR))
        sys.stdout, sys.stderr = self._streams


def _open(descriptor: int) -> TextIO:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _c_stdout() -> Any:
    """Return a function that writes what C code has left in the buffer of its stdout."""
    try:
        library = ctypes.CDLL(None)
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        stdout = ctypes.c_void_p.in_dll(library, name)
        line_buffered = 1
        library.setvbuf(stdout, None, line_buffered, ctypes.c_size_t(0))
        flush = library.fflush
    except (OSError, ValueError, AttributeError):
        return lambda: None
    return lambda: flush(stdout)


class _Sender(logging.Handler):
    """Sends records to the worker."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = "\n".join(_texts(record))
            self._capture.send(
                {
                    "name": str(record.name)[:200],
                    "level": record.levelno,
                    "text": cut_middle(text, RECORD_CHARACTERS),
                    "created_s": record.created,
                }
            )
        except Exception:  # noqa: BLE001 -- a wrong call of the log must not fail the task
            self.handleError(record)


def _texts(record: logging.LogRecord) -> Iterator[str]:
    yield record.getMessage()
    if record.exc_info:
        yield "".join(traceback.format_exception(*record.exc_info)).rstrip()
    if record.stack_info:
        yield record.stack_info
