"""Recordings of the frames between clients and an ensemble, which tests can replay.

This module contains the file format and the recorder. The recorder is a proxy between clients and a
real ensemble. A recording has one line of JSON for each frame, in the order in which the frames
passed. A line has a description for readers, and the content as base64. A recording does not
contain pings, session passwords or credentials.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from zoolet.client.connecting.servers import parse_servers
from zoolet.model.addresses import AddressError
from zoolet.model.codes import OpCode, Xid
from zoolet.testing.received_requests.frames import REPLY_HEADER, REQUEST_HEADER, find_frames
from zoolet.testing.received_requests.seen_requests import SeenRequest, name_of_error, read_request
from zoolet.testing.servers.base import ADDRESS, ReservedPort
from zoolet.testing.servers.loop_thread import LoopThread
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

_PASSWORD_AT = 28
"""The position of the password's length in a connect request."""

_ANSWERED_PASSWORD_AT = 16
"""The position of the password's length in the reply to a connect request."""

_PASSWORD_BYTES = 16

_CLOSE_S = 2.0
"""The longest time, in seconds, that a recorder waits for a server to close a connection."""
_CLOSE_PAUSE_S = 0.005
_LARGEST_FRAME_BYTES = 1 << 28


class Recorded(NamedTuple):
    """One frame, or the end of a connection.

    Attributes:
        connection: the number of the connection, from 1, in the order of the connections.
        is_request: whether the client sent the frame.
        content: the frame without its length; None if the server closed the connection.
        what: the description of the frame, for readers.
    """

    connection: int
    is_request: bool
    content: bytes | None
    what: str

    def to_json(self) -> str:
        """Return the frame as a line of a recording."""
        content = None if self.content is None else base64.b64encode(self.content).decode()
        side = "client" if self.is_request else "server"
        return json.dumps(
            {"connection": self.connection, "from": side, "what": self.what, "content": content}
        )

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line of a recording.

        Raises:
            ValueError, KeyError, TypeError: the line is invalid.
        """
        fields = json.loads(line)
        content = fields["content"]
        return cls(
            fields["connection"],
            fields["from"] == "client",
            None if content is None else base64.b64decode(content, validate=True),
            fields["what"],
        )


class RecordingError(Exception):
    """A recording cannot be made or read; the message has the reason and the remedy."""


def write_recording(path: Path, frames: Iterable[Recorded]) -> None:
    """Write a recording; create its directory if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{frame.to_json()}\n" for frame in frames)
    path.write_text(lines, encoding="utf-8", newline="\n")


def read_recording(path: Path) -> list[Recorded]:
    """Read a recording.

    Raises:
        RecordingError: the file does not exist, or a line of it is invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RecordingError(
            f"the recording {path} does not exist: make it with a Recorder, or with pytest"
            " --zookeeper-record=HOSTS"
        ) from None
    frames = []
    for number, line in enumerate(lines, 1):
        try:
            frames.append(Recorded.from_json(line))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingError(
                f"{path}:{number}: this line is not a line of a recording: {error!r}"
            ) from error
    return frames


def describe_request(content: bytes) -> str:
    """Return a description of a request, for readers."""
    _, op_code = REQUEST_HEADER.unpack_from(content)
    record = read_request(op_code, content, REQUEST_HEADER.size, len(content))
    return SeenRequest(0, op_code, 0, record).asked


class Recorder:
    """A proxy for an ensemble that records all frames; it writes the file at the end.

    Attributes:
        hosts: the address to which a client connects, instead of the ensemble's addresses.
    """

    def __init__(self, hosts: str, path: Path) -> None:
        """Record to ``path``; pass frames to the first of ``hosts`` that accepts a connection.

        ``hosts`` has the format of kazoo: a list of HOST:PORT, separated by commas. A chroot in
        ``hosts`` is ignored: the client must add it to the recorder's ``hosts``.
        """
        try:
            self._members = list(parse_servers(hosts).addresses)
        except AddressError as error:
            raise RecordingError(str(error)) from error
        self._path = path
        self._port = ReservedPort()
        self.hosts = self._port.address
        self._frames: list[Recorded] = []
        self._count = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._open: set[_Side] = set()
        self._thread: LoopThread

    def __enter__(self) -> Self:
        self._thread = LoopThread("zoolet-recorder")
        self._thread.run(self._listen())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.run(self._close())
        self._thread.close()
        if exc_type is None:
            write_recording(self._path, self._frames)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._new_side, ADDRESS, self._port.number)

    async def _close(self) -> None:
        self._listener.close()
        for task in self._connecting:
            task.cancel()
        # Read the bytes that have arrived: one turn of the loop reads them, the next two detect
        # the end of a connection.
        for _ in range(3):
            await asyncio.sleep(0)
        # A server closes the connection of an ended session after it has replied to the client.
        deadline_s = time.monotonic() + _CLOSE_S
        while any(side.will_end() for side in self._open) and time.monotonic() < deadline_s:
            await asyncio.sleep(_CLOSE_PAUSE_S)
        for side in tuple(self._open):
            side.close()
        # The transports close in later turns of the loop.
        while self._open:
            await asyncio.sleep(0)

    def _new_side(self) -> "_Side":
        """Return the client's side of a connection, and begin to connect the server's side."""
        self._count += 1
        notes = _Notes(self._count, self._frames)
        client, server = _Side(notes.request, self._open), _Side(notes.reply, self._open)
        client.other, server.other = server, client
        client.will_end = server.will_end = notes.session_ends
        task = asyncio.get_running_loop().create_task(self._connect(client, server))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return client

    async def _connect(self, client: "_Side", server: "_Side") -> None:
        loop = asyncio.get_running_loop()
        for host, port in self._members:
            try:
                await loop.create_connection(lambda: server, host, port)
            except OSError:
                continue
            return
        client.close()


class _Side(asyncio.Protocol):
    """One end of a recorded connection: it records each frame and passes it to the other end."""

    other: "_Side"
    will_end: Callable[[], bool]
    """Returns whether the client has ended its session, so the server closes the connection."""

    def __init__(self, note: Callable[[bytes | None], None], are_open: "set[_Side]") -> None:
        self._note = note
        self._are_open = are_open
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._unsent = b""
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._are_open.add(self)
        self._transport.write(self._unsent)
        if self._is_over:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        frames = find_frames(self._unread, _LARGEST_FRAME_BYTES)
        if frames.is_malformed:
            self.close()  # a four-letter word, or an invalid frame: it cannot be replayed
            return
        for start, end in frames.bounds:
            self._note(self._unread[start:end])
        self._unread = self._unread[frames.rest :]
        self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._are_open.discard(self)
        if not self._is_over:
            self._is_over = True
            self._note(None)
            if not self.will_end():
                self.other.close()

    def write(self, data: bytes) -> None:
        """Send the bytes now, or when the connection is open."""
        if self._transport is None:
            self._unsent += data
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection after the written bytes are sent."""
        self._is_over = True
        if self._transport is not None:
            self._transport.close()


class _Notes:
    """Records the frames of one connection, without secrets and without pings."""

    def __init__(self, number: int, frames: list[Recorded]) -> None:
        self._number = number
        self._frames = frames
        self._has_asked = False
        self._is_answered = False
        self._session_ends = False

    def session_ends(self) -> bool:
        """Return whether the client has ended its session, and the connection is still open."""
        return self._session_ends

    def request(self, content: bytes | None) -> None:
        if content is None:
            return  # the replaying client closes the connection itself
        if not self._has_asked:
            self._has_asked = True
            self._add(True, _without_password(content, _PASSWORD_AT), "connect")
        elif (op_code := REQUEST_HEADER.unpack_from(content)[1]) == OpCode.AUTH:
            self._add(True, _without_credentials(content), "AUTH")
        elif op_code != OpCode.PING:
            self._session_ends = op_code == OpCode.CLOSE_SESSION
            self._add(True, content, describe_request(content))

    def reply(self, content: bytes | None) -> None:
        if content is None:
            self._session_ends = False
            self._add(False, None, "closed")
        elif not self._is_answered:
            self._is_answered = True
            self._add(False, _without_password(content, _ANSWERED_PASSWORD_AT), "connected")
        else:
            xid, zxid, err = REPLY_HEADER.unpack_from(content)
            if xid == Xid.NOTIFICATION:
                self._add(False, content, f"watch event, zxid 0x{zxid:x}")
            elif xid != Xid.PING:
                self._add(False, content, f"{name_of_error(err)}, zxid 0x{zxid:x}")

    def _add(self, is_request: bool, content: bytes | None, what: str) -> None:
        self._frames.append(Recorded(self._number, is_request, content, what))


def _without_password(content: bytes, position: int) -> bytes:
    """Return a connect request or its reply, with zeros instead of the password."""
    begin = position + INT.size
    return content[:begin] + bytes(_PASSWORD_BYTES) + content[begin + _PASSWORD_BYTES :]


def _without_credentials(content: bytes) -> bytes:
    return content[: REQUEST_HEADER.size] + INT.pack(0) + pack_ustring("") + pack_buffer(b"")
