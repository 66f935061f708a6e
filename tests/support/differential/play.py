"""Plays steps on two servers side by side, says where they first differ, and shrinks."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import NamedTuple

from tests.support.differential.replies import SessionNames, describe, describe_event
from tests.support.differential.step_types import Burst, Dialect, Reconnect, Request, Step
from tests.support.differential.steps import CLIENTS
from zoolet.model.codes import ErrorCode, OpCode, Xid
from zoolet.testing.received_requests.frames import REQUEST_HEADER
from zoolet.wire.frames import REPLY_HEADER_BYTES
from zoolet.wire.jute import INT, LONG, MalformedError, Reader, pack_buffer

ADDRESS = "127.0.0.1"
SESSION_TIMEOUT_MS = 3_600_000
"""More than a server grants; it answers with its longest timeout."""

_ANSWER_TIMEOUT_S = 10.0

Observations = list[object]


class Event(NamedTuple):
    """A watch event as it came."""

    zxid: int
    err: int
    content: object


class Difference(NamedTuple):
    """Where two servers first answered differently.

    Attributes:
        number: of the step.
        step: what was asked.
        expected: what Apache ZooKeeper answered.
        actual: what zoolet answered.
    """

    number: int
    step: Step
    expected: Observations
    actual: Observations

    def __str__(self) -> str:
        lines = [f"step {self.number}: {describe_step(self.step)}"]
        for expected, actual in zip_longest(self.expected, self.actual, fillvalue="(nothing)"):
            if expected != actual:
                lines += [f"  Apache: {expected}", f"  zoolet: {actual}"]
        return "\n".join(lines)


def describe_step(step: Step) -> str:
    """Return a step in words."""
    if isinstance(step, Reconnect):
        return str(step)
    requests = ", ".join(_describe_request(request) for request in step.requests)
    return f"client {step.client}: {requests}"


def _describe_request(request: Request) -> str:
    with contextlib.suppress(ValueError):
        return f"{OpCode(request.op_code).name} xid={request.xid} {request.body[:400]!r}"
    return f"op code {request.op_code} xid={request.xid} {request.body!r}"


class _ClosedError(Exception):
    """The server closed the connection."""


class _Client:
    """One client of one server: a connection, the session it has, and what it has seen."""

    def __init__(self) -> None:
        self.session_id = 0
        self.password = bytes(16)
        self.last_zxid = 0
        self._socket: socket.socket | None = None
        self._received = b""

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def open(self, port: int) -> None:
        self.close()
        self._socket = socket.create_connection((ADDRESS, port), timeout=_ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def leave(self) -> socket.socket | None:
        """Give the connection up without closing it."""
        left, self._socket = self._socket, None
        return left

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def forget_session(self) -> None:
        self.session_id, self.password = 0, bytes(16)

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        # Where the server has closed already, reading says so.
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def read_frame(self) -> bytes:
        (size,) = INT.unpack(self._read(4))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        assert self._socket is not None
        while len(self._received) < size:
            try:
                data = self._socket.recv(1 << 20)
            except ConnectionError:
                data = b""
            if not data:
                self.close()
                raise _ClosedError
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken


class Player:
    """Plays steps on one server. ``begin`` sends, ``end`` reads what comes of it."""

    def __init__(self, port: int, dialect: Dialect) -> None:
        self._port = port
        self._dialect = dialect
        self._clients = [_Client() for _ in range(CLIENTS)]
        self._left: list[socket.socket] = []
        self._names: SessionNames = {}

    def begin(self, step: Step) -> Observations:
        """Connect where it must be, and send; returns what was seen of the connecting."""
        client = self._clients[step.client]
        if isinstance(step, Reconnect):
            return []
        observed = [] if client.is_connected else self._connect(client, Reconnect(step.client))
        if client.is_connected:
            client.send(
                b"".join(
                    INT.pack(REQUEST_HEADER.size + len(body))
                    + REQUEST_HEADER.pack(xid, op_code)
                    + body
                    for xid, op_code, body in step.requests
                )
            )
        return observed

    def end(self, step: Step) -> Observations:
        """Return what comes back."""
        client = self._clients[step.client]
        if isinstance(step, Reconnect):
            return self._connect(client, step)
        observed: Observations = []
        try:
            if client.is_connected:
                self._read_replies(client, step.requests, observed)
        except _ClosedError:
            observed.append("closed")
        except TimeoutError:
            observed.append("no answer")
            client.close()
        return observed

    def drop(self, number: int) -> None:
        """Close a client's connection, and with it end its watches; the session stays."""
        self._clients[number].close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._left:
            connection.close()
        for client in self._clients:
            client.close()

    def _read_replies(
        self, client: _Client, requests: Sequence[Request], observed: Observations
    ) -> None:
        for request in requests:
            while True:
                frame = client.read_frame()
                header = Reader(frame)
                xid, zxid, err = header.read_int(), header.read_long(), header.read_int()
                client.last_zxid = max(client.last_zxid, zxid)
                body = frame[REPLY_HEADER_BYTES:]
                if xid != Xid.NOTIFICATION:
                    break
                shown_zxid = zxid if self._dialect.events_carry_zxid else -1
                observed.append(Event(shown_zxid, err, describe_event(body)))
            values = describe(request.op_code, body, self._names) if not err else body
            _sort_events_of_one_txn(observed)
            observed.append((xid, zxid, err, values))
            if _ends_connection(request.op_code, err):
                if request.op_code == OpCode.CLOSE_SESSION:
                    client.forget_session()
                client.read_frame()  # raises: nothing follows
                observed.append("open")

    def _connect(self, client: _Client, step: Reconnect) -> Observations:
        if step.cuts_first:
            client.close()
        elif (left := client.leave()) is not None:
            self._left.append(left)
        if step.forgets_session:
            client.forget_session()
        password = client.password
        if step.spoils_password:
            password = bytes([password[0] ^ 1]) + password[1:]
        client.open(self._port)
        content = (
            INT.pack(0)
            + LONG.pack(client.last_zxid + step.last_zxid_offset)
            + INT.pack(SESSION_TIMEOUT_MS)
            + LONG.pack(client.session_id)
            + pack_buffer(password)
            + step.tail
        )
        client.send(INT.pack(len(content)) + content)
        try:
            return self._read_connected(client)
        except (_ClosedError, MalformedError):
            client.close()
            return ["refused"]

    def _read_connected(self, client: _Client) -> Observations:
        reader = Reader(client.read_frame())
        version, timeout_ms = reader.read_int(), reader.read_int()
        session_id, password = reader.read_long(), reader.read_buffer() or b""
        tail = reader.data[reader.position :]
        if session_id:
            name = self._names.setdefault(session_id, f"session {len(self._names)}")
            client.session_id, client.password = session_id, password
            return [("connected", version, timeout_ms, name, len(password), tail)]
        client.forget_session()
        with contextlib.suppress(_ClosedError):
            client.read_frame()
        client.close()
        return [("no such session", version, timeout_ms, password, tail)]


def _sort_events_of_one_txn(observed: Observations) -> None:
    """Put the newest events in an order where their txn leaves it open.

    Apache ZooKeeper deletes the ephemerals of a closed session in the order of a hash set.
    """
    first = len(observed)
    while first and isinstance(observed[first - 1], Event):
        first -= 1
    events = [event for event in observed[first:] if isinstance(event, Event)]
    events.sort(key=lambda event: (event.zxid, str(event.content)))
    observed[first:] = events


def _ends_connection(op_code: int, err: int) -> bool:
    return (
        op_code == OpCode.CLOSE_SESSION
        or (op_code == OpCode.AUTH and err != 0)
        or (err == ErrorCode.UNIMPLEMENTED and op_code not in _MAY_BE_UNIMPLEMENTED)
        or err == ErrorCode.SESSION_EXPIRED
    )


_MAY_BE_UNIMPLEMENTED = frozenset(
    {OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL, OpCode.RECONFIG}
)
"""Requests that a server knows, and may have switched off."""

Ports = tuple[int, int]
"""Where Apache ZooKeeper and zoolet listen."""

FreshServers = Callable[[], AbstractContextManager[Ports]]
"""Starts both with empty data directories."""


def first_difference(
    servers: FreshServers,
    steps: Sequence[Step],
    dialect: Dialect,
    is_listed: Callable[[Difference], bool] = lambda _: False,
) -> Difference | None:
    """Play the steps on fresh servers, side by side; None: they answered the same.

    A difference that is listed is passed over. The client that met it gets a new connection on both
    servers, so that its watches are the same again.
    """
    with servers() as ports, _players(ports, dialect) as (apache, zoolet):
        flush = [Burst(client, (Request(Xid.PING, OpCode.PING, b""),)) for client in range(CLIENTS)]
        for index, step in enumerate((*steps, *flush)):
            expected, actual = apache.begin(step), zoolet.begin(step)
            expected += apache.end(step)
            actual += zoolet.end(step)
            if expected == actual:
                continue
            difference = Difference(index, step, expected, actual)
            if not is_listed(difference):
                return difference
            for player in (apache, zoolet):
                player.drop(step.client)
    return None


@contextlib.contextmanager
def _players(ports: Ports, dialect: Dialect) -> Iterator[tuple[Player, Player]]:
    players = Player(ports[0], dialect), Player(ports[1], dialect)
    try:
        yield players
    finally:
        for player in players:
            player.close()


def shrink(
    steps: Sequence[Step], differs: Callable[[Sequence[Step]], bool], attempts: int
) -> Sequence[Step]:
    """Return a short sequence on which the servers still differ (Zeller's ddmin, bounded)."""
    current = list(steps)
    chunk = max(1, len(current) // 2)
    while attempts:
        position, has_shrunk = 0, False
        while position < len(current) and attempts:
            candidate = current[:position] + current[position + chunk :]
            attempts -= 1
            if candidate and differs(candidate):
                current, has_shrunk = candidate, True
            else:
                position += chunk
        if chunk == 1 and not has_shrunk:
            break
        chunk = max(1, chunk // 2)
    return _split(current, differs) if attempts else current


def _split(steps: list[Step], differs: Callable[[Sequence[Step]], bool]) -> Sequence[Step]:
    """Leave out what can be left out of the bursts."""
    current = list(steps)
    for index, step in enumerate(steps):
        if not isinstance(step, Burst) or len(step.requests) == 1:
            continue
        for number in reversed(range(len(step.requests))):
            kept = current[index]
            assert isinstance(kept, Burst)
            fewer = kept.requests[:number] + kept.requests[number + 1 :]
            candidate = [*current[:index], kept._replace(requests=fewer), *current[index + 1 :]]
            if fewer and differs(candidate):
                current = candidate
    return current
