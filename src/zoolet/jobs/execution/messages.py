"""Messages from an executor's process to its worker: lines of JSON, some followed by raw bytes.

A message with the field ``"bytes": n`` is followed by n bytes, for example a result. These bytes
are not parsed, and each byte is copied a constant number of times.

Invariant: any bytes in the pipe lead to messages or to MessageError. This module imports the job
system's errors and JSON.
"""

import json
import os
import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from zoolet.jobs.errors import JobError
from zoolet.jobs.records.json_values import JSON_LIMIT_BYTES, decode_json

_to_json: Final = json.JSONEncoder().encode

LINE_LIMIT_BYTES: Final = 1024 * 1024
"""Length limit of a line of JSON, in bytes. The longest line of an executor contains an error of
about 10 KB."""


class MessageError(JobError):
    """The bytes that were read are not a message: other code than the executor's wrote them.

    Attributes:
        before: the messages that were read before these bytes.
    """

    before: Sequence["Message"] = ()


class Message(NamedTuple):
    """A message.

    Attributes:
        fields: the JSON object of its line.
        attached: the bytes that followed the line.
    """

    fields: dict[str, Any]
    attached: bytes = b""


class MessageWriter:
    """Writes messages to a descriptor; kept messages are written with the next urgent message."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept: list[bytes] = []
        self._lock = threading.Lock()

    def keep(self, fields: dict[str, Any], attached: bytes = b"") -> None:
        """Keep a message until the next call of `write` or `flush`."""
        self.keep_text(_to_json(fields | {"bytes": len(attached)} if attached else fields))
        if attached:
            self.keep_attached(attached)

    def keep_text(self, text: str) -> None:
        """Keep a message that is a JSON object as text; the text has no newline."""
        self._kept.append(text.encode() + b"\n")

    def keep_attached(self, attached: bytes) -> None:
        """Keep the bytes that follow the message that was kept last."""
        self._kept.append(attached)

    def write(self, fields: dict[str, Any]) -> None:
        """Write all kept messages, and then this message."""
        self.keep(fields)
        self.flush()

    def write_between(self, fields: dict[str, Any]) -> None:
        """Write a message, but no kept messages. Any thread may call this method."""
        line = _to_json(fields).encode() + b"\n"
        with self._lock:
            self._write(line)

    def flush(self) -> None:
        """Write all kept messages."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        kept, self._kept = self._kept, []
        small: list[bytes] = []
        for part in kept:
            if len(part) <= _COPY_BYTES:
                small.append(part)
                continue
            self._write(b"".join(small))
            small.clear()
            self._write(part)
        self._write(b"".join(small))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written_bytes = os.write(self._descriptor, rest)
            rest = rest[written_bytes:]


_COPY_BYTES: Final = 16 * 1024


class MessageReader:
    """Joins the pieces in which messages arrive."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._fields: dict[str, Any] = {}
        self._attached: bytearray | None = None
        self._filled_bytes = 0

    def feed(self, data: bytes) -> list[Message]:
        """Process the next piece, and return the messages that are complete now.

        Raises:
            MessageError: the bytes are not a message; no more messages can be read.
        """
        found: list[Message] = []
        try:
            self._feed(data, found)
        except MessageError as error:
            error.before = found
            raise
        return found

    def _feed(self, data: bytes, found: list[Message]) -> None:
        position = 0
        while position < len(data):
            if self._attached is not None:
                position = self._attach(self._attached, data, position, found)
                continue
            end = data.find(b"\n", position)
            piece = data[position:] if end < 0 else data[position:end]
            self._line_bytes += len(piece)
            if self._line_bytes > LINE_LIMIT_BYTES:
                raise MessageError(f"a line has more than {LINE_LIMIT_BYTES} bytes")
            if end < 0:
                self._line.append(piece)
                break
            position = end + 1
            if self._line:
                piece = b"".join([*self._line, piece])
                self._line.clear()
            self._line_bytes = 0
            self._end_line(piece, found)

    def _end_line(self, line: bytes, found: list[Message]) -> None:
        try:
            fields = decode_json(line)
        except ValueError as error:
            raise MessageError(f"{line[:80]!r} is not a message: {error}") from None
        if not isinstance(fields, dict):
            raise MessageError(f"{line[:80]!r} is not a message: it is not a JSON object")
        count_bytes = fields.pop("bytes", 0)
        if not isinstance(count_bytes, int) or not 0 <= count_bytes <= JSON_LIMIT_BYTES:
            raise MessageError(f"{count_bytes!r:.80} is not a valid number of bytes")
        if count_bytes:
            self._fields = fields
            self._attached = bytearray(count_bytes)
            self._filled_bytes = 0
        else:
            found.append(Message(fields))

    def _attach(self, attached: bytearray, data: bytes, position: int, found: list[Message]) -> int:
        filled = self._filled_bytes
        count = min(len(attached) - filled, len(data) - position)
        attached[filled : filled + count] = memoryview(data)[position : position + count]
        self._filled_bytes = filled + count
        if self._filled_bytes == len(attached):
            found.append(Message(self._fields, bytes(attached)))
            self._attached = None
        return position + count
