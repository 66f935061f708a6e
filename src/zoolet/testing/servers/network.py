"""The network between clients and an embedded server, in which faults happen.

A ``Link`` is between a connection's transport and the server's protocol. It sees every frame in
both directions. It may close the connection, hold frames, drop a reply, or reply instead of the
server. The frames that get through always keep their order. This module contains the links, the
partitions and the list of requests. All its code runs on the loop's thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol, cast

from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.server.operator.four_letter_words import WORD_BYTES, WORDS
from zoolet.testing.received_requests.frames import (
    LARGEST_FRAME_BYTES,
    REPLY_HEADER,
    REQUEST_HEADER,
    find_frames,
)
from zoolet.testing.received_requests.seen_requests import SeenRequest, read_request
from zoolet.testing.servers.clock import ServerClock
from zoolet.wire.frames import LENGTH_BYTES, decode_connect, encode_reply
from zoolet.wire.jute import LONG, MalformedError

log = logging.getLogger(__name__)

MAX_KEPT_REQUESTS = 100_000
MAX_KEPT_BYTES = 64 << 20
"""The network keeps the newest requests, up to this number and this total length."""

_SESSION_ID_AT = 12
"""The position of the session id in the frame that replies to a connect request."""


class Exchange:
    """A request and the faults of its reply.

    Attributes:
        request: the request.
        reply_is_lost: whether the link closes the connection instead of sending the reply.
        delay_s: the delay of the reply, and of all later replies, in seconds of the server's clock.
        answer: the error code with which the link replies; None if the server replies.
    """

    __slots__ = ("answer", "delay_s", "reply_is_lost", "request")

    def __init__(self, request: SeenRequest) -> None:
        self.request = request
        self.reply_is_lost = False
        self.delay_s = 0.0
        self.answer: ErrorCode | None = None


class Fault(Protocol):
    """A fault of a request."""

    def inject(self, link: "Link", exchange: Exchange) -> bool:
        """Carry out the fault; return False if the server must not get the request."""
        ...


class Faults(Protocol):
    """The rules that select a fault for a request (``faults.Faults``)."""

    def fault_for(self, request: SeenRequest) -> Fault | None:
        """Return the fault that happens to a request; None if no fault happens."""
        ...


class Network:
    """All links of a server.

    Attributes:
        faults: the rules for faults of requests.
        clock: the clock for delays.
        max_frame_bytes: the length of the longest request that the server accepts.
        links: the open links, in the order of their connections.
        requests: the newest requests, in the order of their arrival.
        sessions: the ids of the sessions that were opened since the last wipe.
        strangers: the ids of the sessions that were opened before the last wipe.
        last_arrival_s: when the last request except pings arrived, in seconds of the loop's clock.
    """

    def __init__(self, clock: ServerClock, faults: Faults, max_frame_bytes: int) -> None:
        self.clock = clock
        self.faults = faults
        self.max_frame_bytes = max_frame_bytes
        self.links: dict[Link, None] = {}
        self.requests: deque[SeenRequest] = deque()
        self.sessions: set[int] = set()
        self.strangers: set[int] = set()
        self.last_arrival_s = 0.0
        self._closed_ports: set[int] = set()
        self._partitions: dict[object, int] = {}
        self._kept_bytes = 0

    def link(self, protocol: asyncio.Protocol) -> "Link":
        """Return a new link between the next transport and the server's protocol."""
        return Link(self, protocol)

    def links_of(self, session_id: int) -> list["Link"]:
        """Return the open links of a session; a client that reconnects may have two."""
        return [link for link in self.links if link.session_id == session_id]

    def cut(self, links: Iterable["Link"]) -> None:
        """Close connections, like a broken network: nothing more is sent on them."""
        for link in tuple(links):
            link.cut()

    def let_in(self, port: int, *, lets_in: bool) -> None:
        """Accept clients on a port, or refuse them and disconnect the connected ones."""
        if lets_in:
            self._closed_ports.discard(port)
        else:
            self._closed_ports.add(port)
            self.cut(link for link in self.links if link.port == port)

    def lets_in(self, port: int) -> bool:
        """Return whether clients are accepted on a port."""
        return port not in self._closed_ports

    def is_partitioned(self, session_id: int) -> bool:
        """Return whether a session's client is partitioned from the server."""
        return session_id in self._partitions.values()

    def partition(self, session_id: int) -> object:
        """Hold all frames of a session, in both directions, on all its connections.

        Return the partition, for ``heal``. If a session has several partitions, frames get through
        only after all of them have ended.
        """
        partition = object()
        self._partitions[partition] = session_id
        return partition

    def heal(self, partition: object) -> None:
        """End a partition, if it has not ended, and pass on the held frames."""
        session_id = self._partitions.pop(partition, 0)
        for link in self.links_of(session_id) if session_id else ():
            link.go_on()

    def heal_all(self) -> None:
        """End every partition."""
        for partition in tuple(self._partitions):
            self.heal(partition)

    def note(self, request: SeenRequest) -> None:
        """Add a request, and drop the oldest requests above the limits."""
        self.last_arrival_s = asyncio.get_running_loop().time()
        self.requests.append(request)
        self._kept_bytes += request.size_bytes
        while len(self.requests) > MAX_KEPT_REQUESTS or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= self.requests.popleft().size_bytes

    def forget(self) -> None:
        """Forget requests and partitions, and refuse all existing sessions from now on."""
        self._partitions.clear()
        self._closed_ports.clear()
        self.requests.clear()
        self._kept_bytes = 0
        self.strangers |= self.sessions
        self.sessions.clear()


class Link(asyncio.Protocol):
    """The connection between one client and the server.

    Attributes:
        session_id: the id of the session; 0 before it is known.
        peer: the client's address; "" if the client has reset the connection before its start.
        port: the server's port.
        pending: the requests that have no reply yet, in order.
    """

    def __init__(self, network: Network, protocol: asyncio.Protocol) -> None:
        self.session_id = 0
        self.peer = ""
        self.port = 0
        self.pending: deque[Exchange] = deque()
        self._network = network
        self._protocol = protocol
        self._transport: asyncio.Transport
        self._unwritten = b""
        self._unread = b""
        self._has_asked = False
        self._is_answered = False
        self._is_raw = False
        self._is_lost = False
        self._closes_when_sent = False
        self._out: deque[tuple[bytes, Exchange | None]] = deque()
        self._delays = 0
        self._last_zxid = 0

    @property
    def is_held(self) -> bool:
        """Whether the link holds all frames, because its session is partitioned."""
        return self._network.is_partitioned(self.session_id)

    @property
    def is_at_rest(self) -> bool:
        """Whether the link has no request in progress and no unsent frames, or is held."""
        return self.is_held or not (self.pending or self._out or self._unread)

    @property
    def held_bytes(self) -> int:
        """The number of bytes from the server that the link holds."""
        return len(self._unwritten) + sum(len(frame) for frame, _ in self._out)

    @property
    def is_closing(self) -> bool:
        """Whether the server or a fault has closed the connection."""
        return self._closes_when_sent or self._transport.is_closing()

    def cut(self) -> None:
        """Abort the connection now; nothing more is sent on it."""
        self._out.clear()
        self._closes_when_sent = True
        self._transport.abort()

    def go_on(self) -> None:
        """Pass on the held frames."""
        self._send()
        self._take()

    # --- Calls of the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect the server's protocol to a transport that belongs to this link."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        if peername is None:  # the client has already reset the connection
            self._protocol.connection_made(_LinkTransport(self, self._transport))
            self.cut()
            return
        host, port = peername[:2]
        self.peer = f"{host}:{port}"
        self.port = transport.get_extra_info("sockname")[1]
        self._network.links[self] = None
        self._protocol.connection_made(_LinkTransport(self, self._transport))
        if not self._network.lets_in(self.port):
            self.cut()

    def data_received(self, data: bytes) -> None:
        """Pass on the frames that may get through, and keep the rest."""
        self._unread += data
        self._take()

    def pause_writing(self) -> None:
        """Tell the server that the client does not read."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the server that the client reads again."""
        self._protocol.resume_writing()

    def eof_received(self) -> bool | None:
        """Tell the server that the client has closed its sending side."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the held frames, and tell the server that the connection is lost."""
        self._out.clear()
        self._unread = b""
        self._network.links.pop(self, None)
        self.tell_lost(exc)

    def tell_lost(self, exc: Exception | None) -> None:
        """Tell the server that the connection is lost, unless it was told before."""
        if not self._is_lost:
            self._is_lost = True
            self._protocol.connection_lost(exc)

    # --- In: from the client to the server

    def _take(self) -> None:
        """Pass on the complete frames that have arrived, and carry out the faults of requests."""
        data = self._unread
        passed = taken = 0
        for start, end in self._frames(data):
            exchange = self._look_at(data, start, end)
            if self.is_held or self.is_closing:
                break
            taken = end
            if exchange is None:
                continue
            self._note(exchange)
            fault = self._network.faults.fault_for(exchange.request)
            if fault is None:
                continue
            # Pass the earlier requests on before the fault happens.
            self._pass_on(data[passed : start - LENGTH_BYTES])
            passed = start - LENGTH_BYTES if fault.inject(self, exchange) else end
            self._add_own_answers()
            self._send()
        if self._is_raw and not self.is_held:
            taken = len(data)
        self._unread = data[taken:]
        self._pass_on(data[passed:taken])

    def _frames(self, data: bytes) -> list[tuple[int, int]]:
        """Return the bounds of the complete frames; after an invalid frame all bytes pass."""
        if self._is_raw or (not self._has_asked and data[:WORD_BYTES] in WORDS):
            self._is_raw = True
            return []
        found = find_frames(data, self._network.max_frame_bytes)
        self._is_raw = found.is_malformed
        return found.bounds

    def _pass_on(self, data: bytes) -> None:
        if data and not self.is_closing:
            self._protocol.data_received(data)

    def _look_at(self, data: bytes, start: int, end: int) -> Exchange | None:
        """Return a request as an exchange; None if the frame is not a request."""
        if not self._has_asked:
            return self._look_at_connect(data, start, end)
        if end - start < REQUEST_HEADER.size:
            return None
        xid, op_code = REQUEST_HEADER.unpack_from(data, start)
        record = read_request(op_code, data, start + REQUEST_HEADER.size, end)
        return self._exchange(op_code, xid, record, end - start)

    def _look_at_connect(self, data: bytes, start: int, end: int) -> Exchange | None:
        try:
            request = decode_connect(data, start, end)
        except MalformedError:
            return None
        self.session_id = request.session_id
        if self.session_id in self._network.strangers:
            log.warning(
                "session 0x%x was opened before the server was wiped: its client is refused. Stop a"
                " test's clients at its end; for clients that live longer, set zookeeper_scope",
                self.session_id,
            )
            self.cut()
            return None
        self._has_asked = not self.is_held
        record = request._replace(password=b"")
        return self._exchange(OpCode.CREATE_SESSION, 0, record, end - start)

    def _exchange(self, op_code: int, xid: int, record: Any, size_bytes: int) -> Exchange:
        now_ms = self._network.clock.now_ms()
        return Exchange(SeenRequest(self.session_id, op_code, xid, record, size_bytes, now_ms))

    def _note(self, exchange: Exchange) -> None:
        self.pending.append(exchange)
        if exchange.request.op_code != OpCode.PING:
            self._network.note(exchange.request)

    # --- Out: from the server to the client

    def take_from_server(self, data: bytes) -> None:
        """Send the frames that the server writes, and carry out the faults of replies.

        The server may write a long frame in several pieces; the link sends it when it is complete.
        """
        if self._is_raw:
            self._transport.write(data)
            return
        data = self._unwritten + data
        found = find_frames(data, LARGEST_FRAME_BYTES)
        self._unwritten = data[found.rest :]
        for start, end in found.bounds:
            frame = data[start - LENGTH_BYTES : end]
            self._out.append((frame, self._exchange_of(frame)))
            self._add_own_answers()
        self._send()

    def _exchange_of(self, frame: bytes) -> Exchange | None:
        """Return the request to which a frame is the reply; None if it is a watch event."""
        if not self._is_answered:
            self._is_answered = True
            return self._take_connected(frame)
        xid, zxid, err = REPLY_HEADER.unpack_from(frame, LENGTH_BYTES)
        self._last_zxid = max(self._last_zxid, zxid)
        if xid == Xid.NOTIFICATION:
            return None
        exchange = self.pending.popleft()
        exchange.request.err = err
        return exchange

    def _take_connected(self, frame: bytes) -> Exchange:
        """Process the reply to a connect request: a session id, or 0 if the session has ended."""
        exchange = self.pending.popleft()
        request = exchange.request
        (session_id,) = LONG.unpack_from(frame, _SESSION_ID_AT)
        request.err = ErrorCode.OK if session_id else ErrorCode.SESSION_EXPIRED
        if session_id:
            self.session_id = request.session_id = session_id
            self._network.sessions.add(session_id)
        return exchange

    def close_when_sent(self) -> None:
        """Close the connection for the server, after the server's frames are sent."""
        self._closes_when_sent = True
        self._send()
        if self._out or self.is_held:
            # The server sees the end now; the client sees it after the held frames.
            asyncio.get_running_loop().call_soon(self.tell_lost, None)

    def abort(self) -> None:
        """Abort the connection for the server; a partitioned client sees the end only later."""
        self._out.clear()
        if self.is_held:
            self.close_when_sent()
        else:
            self.cut()

    def _add_own_answers(self) -> None:
        """Add the link's own error replies, when the server has replied to earlier requests."""
        while self.pending and (error := self.pending[0].answer) is not None:
            exchange = self.pending.popleft()
            exchange.request.err = error
            frame = encode_reply(exchange.request.xid, self._last_zxid, error)
            self._out.append((frame, exchange))

    def _send(self) -> None:
        """Send the frames that may be sent now."""
        ready: list[bytes] = []
        while self._out and not self._delays and not self.is_held:
            frame, exchange = self._out[0]
            if exchange is not None and exchange.reply_is_lost:
                self._transport.write(b"".join(ready))
                self._lose()
                return
            if exchange is not None and exchange.delay_s:
                self._delay(exchange)
                break
            ready.append(frame)
            self._out.popleft()
        if ready:
            self._transport.write(b"".join(ready))
        if self._closes_when_sent and not self._out and not self.is_held:
            self._transport.close()

    def _delay(self, exchange: Exchange) -> None:
        delay_s, exchange.delay_s = exchange.delay_s, 0.0
        self._delays += 1

        def over() -> None:
            self._delays -= 1
            self._send()

        self._network.clock.call_after(delay_s, over)

    def _lose(self) -> None:
        """Close the connection after the sent frames; the client gets nothing else."""
        self._out.clear()
        self._closes_when_sent = True
        self._transport.close()


class _LinkTransport(asyncio.Transport):
    """The transport that the server uses."""

    def __init__(self, link: Link, transport: asyncio.Transport) -> None:
        super().__init__()
        self._link = link
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        if not self._link.is_closing:
            self._link.take_from_server(bytes(data))

    def close(self) -> None:
        self._link.close_when_sent()

    def abort(self) -> None:
        self._link.abort()

    def is_closing(self) -> bool:
        return self._link.is_closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + self._link.held_bytes

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()
