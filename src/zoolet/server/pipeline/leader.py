"""Requests to the leader of an ensemble, and what waits for its answers."""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.acl import Id
from zoolet.model.codes import OpCode
from zoolet.model.learner import PacketType, QuorumPacket
from zoolet.model.requests import Connect, WriteRequest
from zoolet.observer.contact import SILENT_PART, Contact
from zoolet.observer.forwarded import Forwarded, Lost
from zoolet.server.common.clock import Clock
from zoolet.server.common.ensemble_view import EnsembleView
from zoolet.server.connections.connection import Connection
from zoolet.state_machine.identities import SKIPS_ACL, Identities
from zoolet.wire.jute import INT
from zoolet.wire.learner import (
    encode_packet,
    encode_request,
    encode_revalidation,
)

_CREATE_SESSION: Final = OpCode.CREATE_SESSION.value
_SYNC: Final = OpCode.SYNC.value
_NO_ZXID: Final = -1


@final
@mypyc_attr(acyclic=True)
class Waiter:
    """A request that waits for the leader.

    Attributes:
        connection: the connection of the client.
        xid: the xid of the request; 0 for a connect request.
        op_code: the op code of the request.
        path: the path of a sync.
        connect: the connect request; None for other requests.
        timeout_ms: the session timeout for a connect request.
        sent_ms: the time at which a connect request was sent to the leader.
        request: a write, for the audit log; None without an audit log.
    """

    __slots__ = (
        "connect",
        "connection",
        "op_code",
        "path",
        "request",
        "sent_ms",
        "timeout_ms",
        "xid",
    )

    def __init__(
        self,
        connection: Connection,
        xid: int,
        op_code: int,
        path: str = "",
        connect: Connect | None = None,
        timeout_ms: int = 0,
    ) -> None:
        self.connection = connection
        self.xid = xid
        self.op_code = op_code
        self.path = path
        self.connect = connect
        self.timeout_ms = timeout_ms
        self.sent_ms = 0
        self.request: WriteRequest | None = None


@final
class Leader:
    """The leader, as far as requests need it.

    Attributes:
        view: the state of the link to the leader, for operators.
        contact: how long each session may be served without news from the leader.
        forwarded: the requests that the leader has not answered yet.
    """

    def __init__(self, view: EnsembleView, clock: Clock) -> None:
        self.view = view
        self.contact = Contact(clock.monotonic_ms())
        self.forwarded: Forwarded[Waiter] = Forwarded()
        self._clock = clock
        self._write: Callable[[bytes], None] | None = None
        self._out: BytesWriter | None = None

    @property
    def is_serving(self) -> bool:
        """Whether the leader takes requests of clients."""
        return self._write is not None

    def follow(self, write: Callable[[bytes], None]) -> None:
        """Send requests with ``write`` from now on."""
        self._write = write

    def lose(self) -> Lost[Waiter]:
        """Send nothing more, because the link has ended; return all requests without an answer."""
        self._write = self._out = None
        return self.forwarded.end()

    # --- Requests, in the order of these calls

    def request(
        self,
        session_id: int,
        op_code: int,
        body: bytes,
        identities: Identities,
        waiter: Waiter,
    ) -> None:
        """Send a write or a sync of a client."""
        if op_code == _SYNC:
            self.forwarded.add_sync(waiter)
        else:
            self.forwarded.add_write(session_id, waiter.xid, waiter)
        ids = identities.ids
        if SKIPS_ACL in ids:
            # skipACL of this server must not give rights in the whole ensemble.
            ids = tuple([each for each in ids if each != SKIPS_ACL])
        self._request(session_id, waiter.xid, op_code, body, ids)
        self.contact.reported(session_id, self._clock.monotonic_ms())

    def create_session(self, session_id: int, waiter: Waiter) -> None:
        """Request a new session."""
        self.forwarded.add_write(session_id, 0, waiter)
        self._request(session_id, 0, _CREATE_SESSION, INT.pack(waiter.timeout_ms), ())
        self._serve(session_id, waiter)

    def revalidate(self, session_id: int, waiter: Waiter) -> None:
        """Ask whether a session exists; if it does, this server owns it then."""
        self.forwarded.add_revalidation(session_id, waiter)
        data = encode_revalidation(session_id, waiter.timeout_ms)
        self._send(QuorumPacket(PacketType.REVALIDATE, _NO_ZXID, data))
        self._serve(session_id, waiter)

    def _serve(self, session_id: int, waiter: Waiter) -> None:
        waiter.sent_ms = self._clock.monotonic_ms()
        self.contact.serve(session_id, waiter.timeout_ms, waiter.sent_ms)

    def is_silent(self, timeout_ms: int, since_ms: int | None = None) -> bool:
        """Return whether a session with this timeout must not be opened or resumed.

        The leader was silent for too long, or it has taken too long to answer what was sent at
        ``since_ms``: it may have stood still, and another leader may have ended the session.
        """
        now_ms = self._clock.monotonic_ms()
        silent_ms = self.contact.silent_ms(now_ms) if since_ms is None else now_ms - since_ms
        return silent_ms >= timeout_ms // SILENT_PART

    def _request(
        self, session_id: int, cxid: int, op_code: int, body: bytes, ids: tuple[Id, ...]
    ) -> None:
        data = encode_request(session_id, cxid, op_code, body)
        self._send(QuorumPacket(PacketType.REQUEST, _NO_ZXID, data, ids))

    def _send(self, packet: QuorumPacket) -> None:
        out = self._out
        if out is None:
            out = self._out = BytesWriter()
        out.write(encode_packet(packet))

    def flush(self) -> None:
        """Send the requests of this turn with one write."""
        out = self._out
        if out is not None:
            self._out = None
            write = self._write
            if write is not None:
                write(out.getvalue())
