"""The network between clients and a server in this process, where faults happen.

A ``Link`` stands between a connection's transport and the server's protocol. It sees every frame in
and out, in order, and may cut the connection, hold it, lose a reply, or answer itself; whatever it
does, the frames that do get through keep their order. Owns the links, which links are partitioned,
and what was asked. Everything here runs on the loop's thread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol, cast

from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.server.operator.four_letter_words import WORD_BYTES, WORDS
from zoolet.testing.clock import ServerClock
from zoolet.testing.traffic.frames import (
    LARGEST_FRAME_BYTES,
    REPLY_HEADER,
    REQUEST_HEADER,
    find_frames,
)
from zoolet.testing.traffic.seen_requests import SeenRequest, read_request
from zoolet.wire.frames import LENGTH_BYTES, decode_connect, encode_reply
from zoolet.wire.jute import LONG, MalformedError

log = logging.getLogger(__name__)

MAX_KEPT_REQUESTS = 100_000
MAX_KEPT_BYTES = 64 << 20
"""Of requests that came, the newest are kept: up to this number and this length."""

_SESSION_ID_AT = 12
"""Where in the frame that answers a connect request the session id stands."""


class Exchange:
    """A request and what becomes of its reply.

    Attributes:
        request: what was asked.
        reply_is_lost: whether the connection is cut instead of sending the reply.
        delay_s: how long the reply waits on the server's clock, and all behind it.
        answer: the error code that is answered in the server's place; None: the server answers.
    """

    __slots__ = ("answer", "delay_s", "reply_is_lost", "request")

    def __init__(self, request: SeenRequest) -> None:
        self.request = request
        self.reply_is_lost = False
        self.delay_s = 0.0
        self.answer: ErrorCode | None = None


class Fault(Protocol):
    """What happens to a request."""

    def inject(self, link: "Link", exchange: Exchange) -> bool:
        """Let it happen; False: the server is not to get the request."""
        ...


class Faults(Protocol):
    """Who says what happens to which requests (``faults.Faults``)."""

    def fault_for(self, request: SeenRequest) -> Fault | None:
        """Return what happens to a request; None: nothing."""
        ...


class Network:
    """All links of a server.

    Attributes:
        faults: what happens to requests.
        clock: what delays are measured on.
        max_frame_bytes: the longest request that the server takes.
        links: those that are open, in the order in which they came.
        requests: what was asked, in the order in which it came; the newest.
        sessions: those that were opened since the last wipe.
        strangers: the sessions that belong to what was before a wipe.
        last_arrival_s: when the last request came that was no ping, on the loop's clock.
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
        """Return what stands between the next transport and the server's protocol."""
        return Link(self, protocol)

    def links_of(self, session_id: int) -> list["Link"]:
        """Return the open links of a session; a client that comes back may have two."""
        return [link for link in self.links if link.session_id == session_id]

    def cut(self, links: Iterable["Link"]) -> None:
        """Cut links, as a network does that breaks: nothing more is sent on them."""
        for link in tuple(links):
            link.cut()

    def let_in(self, port: int, *, lets_in: bool) -> None:
        """Let clients in on a port, or turn them away and cut off those that are in."""
        if lets_in:
            self._closed_ports.discard(port)
        else:
            self._closed_ports.add(port)
            self.cut(link for link in self.links if link.port == port)

    def lets_in(self, port: int) -> bool:
        """Say whether clients are let in on a port."""
        return port not in self._closed_ports

    def is_partitioned(self, session_id: int) -> bool:
        """Say whether nothing gets through between a session's client and the server."""
        return session_id in self._partitions.values()

    def partition(self, session_id: int) -> object:
        """Let nothing through, in either direction, on whatever connection of a session.

        Returns what ends it; of several of one session all must end.
        """
        partition = object()
        self._partitions[partition] = session_id
        return partition

    def heal(self, partition: object) -> None:
        """End a partition, if it has not ended; what was held arrives."""
        session_id = self._partitions.pop(partition, 0)
        for link in self.links_of(session_id) if session_id else ():
            link.go_on()

    def heal_all(self) -> None:
        """End every partition."""
        for partition in tuple(self._partitions):
            self.heal(partition)

    def note(self, request: SeenRequest) -> None:
        """Keep a request, and of the older ones as many as there may be."""
        self.last_arrival_s = asyncio.get_running_loop().time()
        self.requests.append(request)
        self._kept_bytes += request.size_bytes
        while len(self.requests) > MAX_KEPT_REQUESTS or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= self.requests.popleft().size_bytes

    def forget(self) -> None:
        """Begin again: every session that there was is a stranger's now."""
        self._partitions.clear()
        self._closed_ports.clear()
        self.requests.clear()
        self._kept_bytes = 0
        self.strangers |= self.sessions
        self.sessions.clear()


class Link(asyncio.Protocol):
    """What is between one client and the server.

    Attributes:
        session_id: whose it is; 0 before that is known.
        peer: the client's address.
        port: the server's port.
        pending: requests that are not answered yet, in order.
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
        """Whether nothing gets through at present."""
        return self._network.is_partitioned(self.session_id)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way on it, or nothing can be."""
        return self.is_held or not (self.pending or self._out or self._unread)

    @property
    def held_bytes(self) -> int:
        """How much the server has sent that waits here."""
        return len(self._unwritten) + sum(len(frame) for frame, _ in self._out)

    @property
    def is_closing(self) -> bool:
        """Whether the server has done with it."""
        return self._closes_when_sent or self._transport.is_closing()

    def cut(self) -> None:
        """End the connection now; nothing more is sent on it."""
        self._out.clear()
        self._closes_when_sent = True
        self._transport.abort()

    def go_on(self) -> None:
        """Let through what was held."""
        self._send()
        self._take()

    # -- what the loop calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the server's protocol to a transport of this link's."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        if peername is None:  # the client has reset it already
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
        """Take what may get through, keep the rest."""
        self._unread += data
        self._take()

    def pause_writing(self) -> None:
        """Tell the server that the client does not read."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the server that the client reads again."""
        self._protocol.resume_writing()

    def eof_received(self) -> bool | None:
        """Tell the server that the client sends nothing more."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was held, and tell the server."""
        self._out.clear()
        self._unread = b""
        self._network.links.pop(self, None)
        self.tell_lost(exc)

    def tell_lost(self, exc: Exception | None) -> None:
        """Tell the server, once, that the connection is gone for it."""
        if not self._is_lost:
            self._is_lost = True
            self._protocol.connection_lost(exc)

    # -- in: from the client to the server ---------------------------------------------------------

    def _take(self) -> None:
        """Pass on the whole frames that have arrived, but for those to which something happens."""
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
            # What was asked before is taken before.
            self._pass_on(data[passed : start - LENGTH_BYTES])
            passed = start - LENGTH_BYTES if fault.inject(self, exchange) else end
            self._add_own_answers()
            self._send()
        if self._is_raw and not self.is_held:
            taken = len(data)
        self._unread = data[taken:]
        self._pass_on(data[passed:taken])

    def _frames(self, data: bytes) -> list[tuple[int, int]]:
        """Return where the whole frames are; from what is none on, all is passed on as it is."""
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
        """Return a request as an exchange; None for what is no request."""
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
                "session 0x%x was opened before the server was wiped: it is not let in. Stop a"
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

    # -- out: from the server to the client --------------------------------------------------------

    def take_from_server(self, data: bytes) -> None:
        """Send what the server writes, but for that to which something happens.

        The server writes a long frame in several pieces; it is sent when it is whole.
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
        """Return what a frame is the reply to; None: to nothing, it is a watch event."""
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
        """Take the answer to a connect request: the session's id, or 0 where it is over."""
        exchange = self.pending.popleft()
        request = exchange.request
        (session_id,) = LONG.unpack_from(frame, _SESSION_ID_AT)
        request.err = ErrorCode.OK if session_id else ErrorCode.SESSION_EXPIRED
        if session_id:
            self.session_id = request.session_id = session_id
            self._network.sessions.add(session_id)
        return exchange

    def close_when_sent(self) -> None:
        """Close as the server wants it, once what it has sent is sent."""
        self._closes_when_sent = True
        self._send()
        if self._out or self.is_held:
            # It is over for the server; the client hears of it when it hears anything again.
            asyncio.get_running_loop().call_soon(self.tell_lost, None)

    def abort(self) -> None:
        """Close as the server wants it, now; a client that hears nothing does not hear of it."""
        self._out.clear()
        if self.is_held:
            self.close_when_sent()
        else:
            self.cut()

    def _add_own_answers(self) -> None:
        """Answer in the server's place what comes next, once the server has answered the rest."""
        while self.pending and (error := self.pending[0].answer) is not None:
            exchange = self.pending.popleft()
            exchange.request.err = error
            frame = encode_reply(exchange.request.xid, self._last_zxid, error)
            self._out.append((frame, exchange))

    def _send(self) -> None:
        """Send what may be sent now."""
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
        """Close behind what was sent; the client gets nothing else."""
        self._out.clear()
        self._closes_when_sent = True
        self._transport.close()


class _LinkTransport(asyncio.Transport):
    """The transport as the server sees it."""

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
