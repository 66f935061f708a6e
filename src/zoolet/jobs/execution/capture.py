"""In an executor's process: sends all that tasks print and log to the worker.

Descriptors 1 and 2 are a pipe to the worker, so the output of C code and subprocesses gets there,
too. Records of ``logging`` and the ends of attempts are written to the same pipe, as frames that
begin with a secret token. Output and frames therefore stay in the order in which they were written.
Invariants:

- An attempt without output writes no frame. The process detects output from two counts: the bytes
  that the worker has read, which are counted in shared memory, and the bytes in the pipe.
- If a task changes the descriptors or ``sys.stdout``, the change is undone after its attempt.

`zoolet.jobs.execution.output` is the worker's side. This module imports only the texts of records
from the job system.
"""

import array
import contextlib
import faulthandler
import json
import logging
import mmap
import os
import select
import struct
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from zoolet.jobs.records.texts import cut_middle

if sys.platform != "win32":
    import fcntl
    import termios

READ_COUNT = struct.Struct("Q")
"""The start of the shared memory: an upper bound of the bytes that the worker has read."""
END = b"E"
RECORD_PART, RECORD_END = b"P", b"R"
"""The kind of a frame, after the token: the end of an attempt, or a part or the end of a record."""
FRAME_BYTES = min(getattr(select, "PIPE_BUF", 512), 4096)
"""Length limit of a frame, in bytes. A write of up to this length to a pipe is atomic."""
RECORD_CHARACTERS = 16_000
_STDOUT, _STDERR = 1, 2
_PART_BYTES = FRAME_BYTES - 64


def token_bytes(token: str) -> bytes:
    """Return the bytes at the beginning of each frame; no text contains these bytes."""
    return b"\0zoolet-" + token.encode() + b":"


class Capture:
    """Sends the output of this process to the worker.

    Args:
        descriptor: the write end of the pipe.
        shared: the descriptor of the shared memory's file.
        token: the token by which the worker recognizes frames.
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
        """Flush the buffers, and return whether there was output since the last end of an attempt.

        If there was output, a frame marks its end in the pipe.
        """
        if self._is_silent():
            return False
        self._restore()
        fcntl.ioctl(self._descriptor, termios.FIONREAD, self._in_pipe)
        # The order matters: bytes that the worker reads between the two reads count twice. In the
        # other order, they would not count at all.
        seen_bytes = self._in_pipe[0] + READ_COUNT.unpack_from(self._shared)[0]
        if seen_bytes == self._seen_bytes:
            return False
        self._seen_bytes = seen_bytes + self._write(END)
        return True

    def send(self, record: dict[str, Any]) -> None:
        """Send a log record."""
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
                # A subprocess has made the pipe non-blocking for all its users.
                select.select([], [self._descriptor], [])

    def _is_silent(self) -> bool:
        """Flush the buffers; return whether the task wrote nothing and replaced no stream.

        Each small job calls this method, so it must be fast. Its two system calls also detect
        whether the task has closed or replaced a descriptor.
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
        """Undo the changes of a task to descriptors and streams."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            # The task may have closed the stream, or replaced it by any object.
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
    """Return a function that flushes the stdout buffer of C code, if this Python has ctypes."""
    try:
        import ctypes  # noqa: PLC0415 -- a Python without libffi has no ctypes

        library = ctypes.CDLL(None)
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        stdout = ctypes.c_void_p.in_dll(library, name)
        line_buffered = 1
        library.setvbuf(stdout, None, line_buffered, ctypes.c_size_t(0))
        flush = library.fflush
    except (ImportError, OSError, ValueError, AttributeError):
        return lambda: None
    return lambda: flush(stdout)


class _Sender(logging.Handler):
    """Sends log records to the worker."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = "\n".join(_texts(record))
            sent: dict[str, object] = {
                "name": str(record.name)[:200],
                "level": record.levelno,
                "text": cut_middle(text, RECORD_CHARACTERS),
                "created_s": record.created,
            }
            job = getattr(record, "zoolet_job", None)
            self._capture.send(sent if job is None else sent | {"job": job})
        except Exception:  # noqa: BLE001 -- a wrong logging call must not fail the task
            self.handleError(record)


def _texts(record: logging.LogRecord) -> Iterator[str]:
    yield record.getMessage()
    if record.exc_info:
        yield "".join(traceback.format_exception(*record.exc_info)).rstrip()
    if record.stack_info:
        yield record.stack_info
