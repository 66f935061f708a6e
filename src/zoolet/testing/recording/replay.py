"""Replay: a recording replaces the ensemble from which it was made.

A client gets the recorded replies if it sends the recorded requests in the same order on each
connection. The first request that differs and all later requests get an error. At the end, the
replay reports the first request that differs. This module compares the requests and decides when
each recorded reply or event is sent.
"""

import asyncio
import re
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.testing.received_requests.frames import REQUEST_HEADER, find_frames
from zoolet.testing.recording.recording import Recorded, describe_request, read_recording
from zoolet.testing.servers.base import ADDRESS, ReservedPort
from zoolet.testing.servers.loop_thread import LoopThread
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import INT, LONG

_TOKEN = re.compile(rb"[0-9a-f]{32}")
"""The format of uuid4().hex, which kazoo's recipes use in the names of their znodes."""

_CONNECT = -1
"""The op code that this module uses for a connect request."""


class Replay:
    """A server that sends the replies of a recording.

    The server listens while the context manager is active. At its end, the context manager asserts
    that clients sent all recorded requests. Random tokens (kazoo's recipes put 32 random
    hexadecimal digits into names) may differ from the recording, but each recorded token must
    always have the same replacement.

    Attributes:
        hosts: the address to which a client connects.
    """

    def __init__(self, path: Path) -> None:
        """Read a recording.

        Raises:
            RecordingError: the file does not exist, or a line of it is invalid.
        """
        self._port = ReservedPort()
        self.hosts = self._port.address
        self._script = _Script(read_recording(path))
        self._path = path
        self._thread: LoopThread

    def assert_finished(self) -> None:
        """Assert that clients sent all recorded requests, and no other requests."""
        __tracebackhide__ = True
        difference = self._script.mismatch or self._script.unasked()
        if difference:
            raise AssertionError(f"{self._path}: {difference}")

    def __enter__(self) -> Self:
        self._thread = LoopThread("zoolet-replay")
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
        if exc_type is None or self._script.mismatch:
            self.assert_finished()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Player(self._script), ADDRESS, self._port.number
        )

    async def _close(self) -> None:
        self._listener.close()
        for player in tuple(self._script.open_players):
            player.close()
        while self._script.open_players:
            await asyncio.sleep(0)


class _Line(NamedTuple):
    """A frame of the recording, and its position in the recording."""

    place: int
    frame: Recorded


class _Part:
    """The part of the recording of one connection that was not replayed yet.

    Attributes:
        requests: the recorded requests that the client must still send.
        answers: the recorded frames that the server must still send.
        xids: the xids of the client's requests that have no reply yet.
        asked: the number of requests that the client has sent.
        is_connected: whether the server has replied to the connect request.
        player: the server's side of the connection; None before the client connects.
    """

    def __init__(self) -> None:
        self.requests: deque[_Line] = deque()
        self.answers: deque[_Line] = deque()
        self.xids: deque[int] = deque()
        self.asked = 0
        self.is_connected = False
        self.player: _Player | None = None

    def is_reply(self, content: bytes) -> bool:
        """Return whether a frame from the server is a reply; otherwise it is a watch event."""
        return not self.is_connected or INT.unpack_from(content)[0] != Xid.NOTIFICATION


class _Script:
    """The recording and the progress of its replay.

    Attributes:
        mismatch: the description of the first request that differs from the recording; "" if no
            request differs.
        open_players: the players whose connections are open.
    """

    def __init__(self, frames: list[Recorded]) -> None:
        self.mismatch = ""
        self.open_players: set[_Player] = set()
        self._parts: dict[int, _Part] = {}
        self._tokens: dict[bytes, bytes] = {}
        self._entered = 0
        for place, frame in enumerate(frames):
            part = self._parts.setdefault(frame.connection, _Part())
            (part.requests if frame.is_request else part.answers).append(_Line(place, frame))

    def enter(self, player: "_Player") -> _Part | None:
        """Return the part of the next connection; None if the recording has no more connections."""
        self._entered += 1
        part = self._parts.get(self._entered)
        if part is None:
            self._differ(f"connection {self._entered} was opened, but it was not recorded")
        else:
            part.player = player
        return part

    def take(self, part: _Part, op_code: int, content: bytes) -> bool:
        """Process a request; return False if it differs from the recorded request."""
        if self.mismatch:
            return False
        recorded = part.requests[0].frame if part.requests else None
        if recorded is None or not self._is_same(recorded.content or b"", op_code, content):
            what = "connect" if op_code == _CONNECT else describe_request(content)
            wanted = "no other request" if recorded is None else recorded.what
            self._differ(f"request {part.asked} was {what}; recorded was {wanted}")
            return False
        part.requests.popleft()
        part.asked += 1
        part.xids.append(0 if op_code == _CONNECT else REQUEST_HEADER.unpack_from(content)[0])
        return True

    def play_on(self) -> None:
        """Send all recorded frames that may be sent now, on all connections."""
        for part in self._parts.values():
            while part.player is not None and part.answers and self._may_send(part):
                self._send(part, part.player, part.answers.popleft().frame)

    def unasked(self) -> str:
        """Return a description of the recorded requests that did not come; "" if all came."""
        left = [line.frame for part in self._parts.values() for line in part.requests]
        if not left:
            return ""
        return (
            f"{len(left)} recorded requests did not come; the first is, on connection"
            f" {left[0].connection}: {left[0].what}"
        )

    def _may_send(self, part: _Part) -> bool:
        """Return whether the next recorded frame of the server may be sent.

        A reply may be sent when its request has come. An event, or the end of the connection, may
        be sent when all requests before it in the recording have come, on all connections.
        """
        place, frame = part.answers[0]
        if frame.content is not None and part.is_reply(frame.content):
            return bool(part.xids)
        return all(
            not other.requests or other.requests[0].place > place for other in self._parts.values()
        )

    def _send(self, part: _Part, player: "_Player", frame: Recorded) -> None:
        content = frame.content
        if content is None:
            player.close()
            return
        for recorded, actual in self._tokens.items():
            content = content.replace(recorded, actual)
        if part.is_reply(content):
            xid = part.xids.popleft()
            if part.is_connected:
                content = INT.pack(xid) + content[INT.size :]
            part.is_connected = True
        player.send(content)

    def _is_same(self, recorded: bytes, op_code: int, content: bytes) -> bool:
        """Compare requests, without their xids and without the data that are not recorded."""
        if op_code == _CONNECT:
            return True
        if REQUEST_HEADER.unpack_from(recorded)[1] != op_code:
            return False
        if op_code == OpCode.AUTH:
            return True
        skipped = REQUEST_HEADER.size
        if op_code in {OpCode.SET_WATCHES, OpCode.SET_WATCHES2}:
            skipped += LONG.size  # the last zxid that the client knows; it depends on pings
        theirs, ours = recorded[skipped:], content[skipped:]
        tokens = dict(zip(_TOKEN.findall(theirs), _TOKEN.findall(ours), strict=False))
        tokens.update(self._tokens)
        if _TOKEN.sub(lambda found: tokens.get(found[0], found[0]), theirs) != ours:
            return False
        self._tokens = tokens
        return True

    def _differ(self, how: str) -> None:
        self.mismatch = self.mismatch or how


class _Player(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, script: _Script) -> None:
        self._script = script
        self._part: _Part | None = None
        self._transport: asyncio.Transport
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._script.open_players.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._script.open_players.discard(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        frames = find_frames(self._unread)
        contents = [self._unread[start:end] for start, end in frames.bounds]
        self._unread = self._unread[frames.rest :]
        for content in contents:
            self._take(content)

    def send(self, content: bytes) -> None:
        """Send a frame."""
        self._transport.write(INT.pack(len(content)) + content)

    def close(self) -> None:
        """Close the connection after the written bytes are sent."""
        self._transport.close()

    def _take(self, content: bytes) -> None:
        if self._part is None:
            self._part = self._script.enter(self)
            if self._part is None or not self._script.take(self._part, _CONNECT, content):
                self.close()
                return
        else:
            xid, op_code = REQUEST_HEADER.unpack_from(content)
            if op_code == OpCode.PING:
                self._transport.write(encode_reply(xid, 0, ErrorCode.OK))
                return
            if not self._script.take(self._part, op_code, content):
                self._refuse(xid, op_code)
                return
        self._script.play_on()

    def _refuse(self, xid: int, op_code: int) -> None:
        """Reply with an error to a request that was not recorded, so that the client can go on."""
        is_end = op_code == OpCode.CLOSE_SESSION
        error = ErrorCode.OK if is_end else ErrorCode.RUNTIME_INCONSISTENCY
        self._transport.write(encode_reply(xid, 0, error))
        if is_end:
            self.close()
