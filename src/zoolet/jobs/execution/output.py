"""The worker's side of the output of tasks: reads it from an executor's process, and logs it.

The executor's thread reads the pipe as soon as there is output, so tasks do not wait. Another
thread writes the output into the log (`OutputLog`). Invariants:

- All output is assigned to the attempt that was in progress when it was written. Output between
  attempts is assigned to the executor's process.
- Memory is limited: for a line, for the output that waits for the log, and for the last lines.
- The log gets the first `LOGGED_BYTES` of each attempt's output, and then the number of bytes that
  are left out.

`zoolet.jobs.execution.capture` is the executor's side. This module imports `zoolet.console` and
other modules of its package.
"""

import contextlib
import json
import logging
import mmap
import os
import queue
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from zoolet.console.texts import escaped
from zoolet.jobs.execution.capture import (
    END,
    FRAME_BYTES,
    READ_COUNT,
    RECORD_END,
    RECORD_PART,
    token_bytes,
)
from zoolet.jobs.execution.logs import Label, record_of
from zoolet.jobs.records.texts import cut_end, cut_middle

log = logging.getLogger(__name__)

LOGGED_BYTES = 1024 * 1024
"""Limit of an attempt's output in the log, in bytes."""
KEPT_CHARACTERS = 2048
KEPT_LINES = 20
"""Limits of the last lines of an attempt's output, which are stored with the job."""
_LEAST_ROOM = 200
LINE_CHARACTERS = 4096
"""Length limit of a line in the log."""
WAITING_BYTES = 4 * 1024 * 1024
"""Limit, in bytes, of the output that waits for the log; further output is left out."""
CLOSE_S = 2.0
READ_BYTES = 256 * 1024
"""Limit of one read from the pipe, in bytes."""
_REST_READS = 64
"""Limit of reads after the end of a process: its subprocesses may still write to the pipe."""
_TAIL_BYTES = 4 * KEPT_CHARACTERS
_RECORD_BYTES = 256 * 1024


class LogRecord(NamedTuple):
    """A log record of an executor's process; ``created_s`` is None for the current time.

    ``job`` is the name of the job that logged it, if the process makes several attempts at a time.
    """

    name: str
    level: int
    text: str
    created_s: float | None
    job: str | None = None


class _End:
    """The end of an attempt."""


Item = bytes | LogRecord | _End


class OutputParser:
    """Splits the bytes of an executor's pipe into output, log records, and ends of attempts."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._rest = b""
        self._parts: dict[bytes, bytearray] = {}

    def feed(self, data: bytes) -> list[Item]:
        """Process the next bytes, and return the items that are complete now."""
        data = self._rest + data
        found: list[Item] = []
        position = 0
        while True:
            start = data.find(self._token, position)
            if start < 0:
                end = len(data) - self._begun_bytes(data)
                self._rest = data[end:]
                break
            newline = data.find(b"\n", start, start + FRAME_BYTES)
            if newline < 0 and len(data) - start < FRAME_BYTES:
                end, self._rest = start, data[start:]
                break
            if start > position:
                found.append(data[position:start])
            position = newline + 1 if newline >= 0 else start + FRAME_BYTES
            self._take_frame(data[start + len(self._token) : position - 1], found)
        if end > position:
            found.append(data[position:end])
        return found

    def _begun_bytes(self, data: bytes) -> int:
        """Return the number of bytes at the end that may be the beginning of a token."""
        start = data.rfind(self._token[:1], -len(self._token))
        return len(data) - start if start >= 0 and self._token.startswith(data[start:]) else 0

    def _take_frame(self, frame: bytes, found: list[Item]) -> None:
        kind, (number, _, part) = frame[:1], frame[1:].partition(b":")
        if kind == END:
            found.append(_End())
        elif kind == RECORD_PART:
            if len(self._parts) > 100:
                self._parts.clear()
            parts = self._parts.setdefault(number, bytearray())
            if len(parts) < _RECORD_BYTES:
                parts += part
        elif kind == RECORD_END:
            try:
                record = json.loads(bytes(self._parts.pop(number, b"")) + part)
                found.append(
                    LogRecord(
                        str(record["name"]),
                        int(record["level"]),
                        str(record["text"]),
                        float(record["created_s"]),
                        None if record.get("job") is None else str(record["job"]),
                    )
                )
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return


class OutputLog:
    """Writes output into the log of this process, in another thread."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._left_out = 0
        self._thread: threading.Thread | None = None

    def put(self, label: Label, item: LogRecord) -> None:
        """Add a record to the queue of the log; leave it out if the queue is full."""
        with self._lock:
            if self._waiting_bytes > WAITING_BYTES:
                self._left_out += 1
                return
            self._waiting_bytes += len(item.text)
            left_out, self._left_out = self._left_out, 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, daemon=True)
                self._thread.start()
        if left_out:
            text = f"{left_out} lines of output are left out: the log cannot be written fast enough"
            self._waiting.put(record_of(log.name, logging.WARNING, Label(), text))
        self._waiting.put(record_of(item.name, item.level, label, item.text, item.created_s))

    def close(self) -> None:
        """Write the waiting records, for at most `CLOSE_S` seconds."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            with self._lock:
                self._waiting_bytes -= len(record.msg)
            logger = logging.getLogger(record.name)
            # If a handler raises, this record is lost, but the thread must write the next records.
            with contextlib.suppress(Exception):
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)


@dataclass(slots=True)
class AttemptOutput:
    """The output of an attempt, or of a process between attempts.

    Attributes:
        label: the label of its lines in the log.
        logged_bytes: the number of bytes that were logged.
        left_out_bytes: the number of bytes that were not logged.
        tail: the last bytes.
        line: the beginning of a line that is not complete yet.
    """

    label: Label
    logged_bytes: int = 0
    left_out_bytes: int = 0
    tail: bytearray = field(default_factory=bytearray)
    line: bytearray = field(default_factory=bytearray)

    def add(self, item: bytes | LogRecord, output_log: OutputLog) -> None:
        """Process the next output or log record."""
        if isinstance(item, bytes):
            self._keep(item)
            self._log_lines(item, output_log)
            return
        self._end_line(output_log)
        level = logging.getLevelName(item.level)
        data = f"{level} {item.name}: {item.text}\n".encode("utf-8", "backslashreplace")
        if self.tail and not self.tail.endswith(b"\n"):
            data = b"\n" + data
        self._keep(data)
        self._log(item, len(data), output_log)

    def end(self, output_log: OutputLog) -> str:
        """Log the incomplete line and the number of bytes left out; return the last lines."""
        self._end_line(output_log)
        if self.left_out_bytes:
            text = f"{self.left_out_bytes} bytes of output are left out: the log gets the first"
            text += f" {LOGGED_BYTES} of an attempt"
            output_log.put(self.label, LogRecord(log.name, logging.WARNING, text, None))
        return self.last_lines()

    def without_middle(self) -> str:
        """Return the output; if it is too long, its beginning and its end.

        After a crash, the reason is before the stack that Python writes.
        """
        return cut_middle("\n".join(self._lines()), KEPT_CHARACTERS)

    def _lines(self) -> list[str]:
        text = bytes(self.tail).decode("utf-8", "backslashreplace")
        lines = [_as_seen(line) for line in text.split("\n")]
        if not lines[-1]:
            lines.pop()
        return lines

    def last_lines(self) -> str:
        """Return the last lines, within the limits."""
        lines = self._lines()
        return "\n".join(_fitted(lines[-KEPT_LINES:]))[-KEPT_CHARACTERS:]

    def _keep(self, data: bytes) -> None:
        self.tail += data[-_TAIL_BYTES:]
        del self.tail[:-_TAIL_BYTES]

    def _log_lines(self, data: bytes, output_log: OutputLog) -> None:
        if self.logged_bytes >= LOGGED_BYTES:
            self.left_out_bytes += len(data)
            return
        first, *others = data.split(b"\n")
        self._extend_line(first)
        for part in others:
            self._end_line(output_log)
            self._extend_line(part)

    def _extend_line(self, data: bytes) -> None:
        room = 4 * LINE_CHARACTERS - len(self.line)
        self.line += data[:room]
        self.left_out_bytes += max(0, len(data) - room)

    def _end_line(self, output_log: OutputLog) -> None:
        if not self.line:
            return
        text = _as_seen(self.line.decode("utf-8", "backslashreplace"))
        count_bytes = len(self.line) + 1
        self.line.clear()
        if text:
            text = cut_end(text, LINE_CHARACTERS)
            self._log(LogRecord(log.name, logging.INFO, text, None), count_bytes, output_log)

    def _log(self, item: LogRecord, count_bytes: int, output_log: OutputLog) -> None:
        if self.logged_bytes >= LOGGED_BYTES:
            self.left_out_bytes += count_bytes
            return
        self.logged_bytes += count_bytes
        output_log.put(self.label, item)


def _fitted(lines: list[str]) -> list[str]:
    """Return the lines; if they are too long, the longest one without its middle.

    After a crash, Python lists all extension modules in one line, and the reason is before it.
    """
    longest = max(lines, key=len, default="")
    room = KEPT_CHARACTERS - sum(len(line) + 1 for line in lines) + len(longest) + 1
    if not _LEAST_ROOM <= room < len(longest):
        return lines
    at = lines.index(longest)
    return [*lines[:at], cut_middle(longest, room), *lines[at + 1 :]]


def _as_seen(line: str) -> str:
    """Return a line as a terminal shows it: text after a carriage return replaces text before."""
    return escaped(line.rstrip().rpartition("\r")[2])


class ReadCount:
    """Memory shared with a process: an upper bound of the bytes of its output that were read.

    Attributes:
        descriptor: the descriptor of the memory's file, which the process inherits; -1 after
            `close_descriptor`.
    """

    def __init__(self) -> None:
        self.descriptor = _shared_file()
        try:
            os.truncate(self.descriptor, mmap.PAGESIZE)
            self._shared = mmap.mmap(self.descriptor, mmap.PAGESIZE)
        except BaseException:
            self.close_descriptor()
            raise

    def set(self, count_bytes: int) -> None:
        """Write the number to the shared memory."""
        READ_COUNT.pack_into(self._shared, 0, count_bytes)

    def close_descriptor(self) -> None:
        """Close the file; the memory stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Release the memory."""
        self.close_descriptor()
        self._shared.close()


def _shared_file() -> int:
    """Return a descriptor of a file without a name, in memory if the system supports it."""
    # OSError: the kernel, or a filter of system calls, does not support the call.
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("zoolet-output")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class ProcessOutput:
    """The output of one executor's process; all calls are made in one thread.

    Args:
        read: returns up to `READ_BYTES` of the available output, b"" if there is none.
        read_count: tells the process how many bytes were read.
        token: the token at the beginning of frames (see `zoolet.jobs.execution.capture`).
        output_log: writes the output into the log.
    """

    def __init__(
        self, read: Callable[[], bytes], read_count: ReadCount, token: str, output_log: OutputLog
    ) -> None:
        self._read = read
        self._read_count = read_count
        self._parser = OutputParser(token_bytes(token))
        self._log = output_log
        self._read_bytes = 0
        self._items: deque[Item] = deque()
        self._open: dict[str, AttemptOutput] = {}
        self._complete: dict[str, str] = {}
        self._between = AttemptOutput(Label())

    def started(self, process: int | None) -> None:
        """Set the id of the process; None if it is not known."""
        self._between.label = Label(process=process)

    def ready(self, *, has_output: bool) -> None:
        """Process the output that was written before the process was ready, if there was any."""
        while has_output and (self._items or self.read()):
            item = self._items.popleft() if self._items else b""
            if isinstance(item, _End):
                return
            self._put_down(item)

    def read(self) -> bool:
        """Read available output, and return whether there was any; `settle` assigns it."""
        # The number in the shared memory may be too high for a moment, but never too low.
        self._read_count.set(self._read_bytes + READ_BYTES)
        data = self._read()
        self._read_bytes += len(data)
        self._read_count.set(self._read_bytes)
        self._items += self._parser.feed(data)
        return bool(data)

    @property
    def last_lines(self) -> str:
        """The output outside of attempts, for example of a failed start, without its middle."""
        return self._between.without_middle()

    # Output that is read may belong to an attempt whose message is not read yet. The order of calls
    # is therefore: first `read`, then the methods for the messages, then `settle`.

    def attempt_began(self, name: str, label: Label) -> None:
        """Record that an attempt has begun; a second call for the attempt has no effect."""
        if name not in self._open:
            self._open[name] = AttemptOutput(label)

    def attempt_ended(self, name: str, *, has_output: bool) -> str:
        """Return the last lines of an ended attempt; if it has output, read up to its end frame."""
        if not has_output:
            self._open.pop(name, None)
            return self._complete.pop(name, "")
        while name not in self._complete and (self._items or self.read()):
            self._put_down(self._items.popleft() if self._items else b"")
        if name in self._open:
            # The frame was not found: output of the task has damaged it.
            return self._open.pop(name).end(self._log)
        return self._complete.pop(name, "")

    def settle(self) -> None:
        """Assign the output that was read to its attempts."""
        while self._items:
            self._put_down(self._items.popleft())

    def process_ended(self, name: str | None) -> str:
        """Read the remaining output, and return the last lines of the attempt in progress.

        ``name`` is the job of this attempt; None if no attempt was in progress.
        """
        for _ in range(_REST_READS):
            if not self.read():
                break
            self.settle()
        self.settle()
        last_lines = "" if name is None else self._complete.pop(name, "")
        for attempt, output in self._open.items():
            lines = output.end(self._log)
            last_lines = lines if attempt == name else last_lines
        self._open.clear()
        self._between.end(self._log)
        return last_lines

    def _put_down(self, item: Item) -> None:
        name = next(iter(self._open), None)
        if isinstance(item, _End):
            if name is not None:
                self._complete[name] = self._open.pop(name).end(self._log)
        elif name is not None:
            self._open[name].add(item, self._log)
        else:
            self._between.add(item, self._log)
