"""An ensemble of three servers in memory, for the simulated clients.

It uses zoolet's state machine and the server's half of ``wire``. A leader turns each write into a
txn. Each member applies the txns in their order, but later than the leader, so that members can
show older states. A member replies to a write after it has applied the txn, and refuses a client
that has seen a newer state. A session moves with its client: the connection before it is closed.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tests.client_simulation.clock import Clock, Network, ServerEnd
from zoolet.model.codes import AddWatchMode, ErrorCode, EventType, OpCode
from zoolet.model.errors import RequestError
from zoolet.model.paths import parent_of
from zoolet.model.replies import TxnResult
from zoolet.model.requests import CloseSession, CreateSession, SetWatches, WriteRequest
from zoolet.model.txns import CreateTxn, MultiTxn, Txn
from zoolet.state_machine.apply import Event
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.state_machine.watches import Watcher
from zoolet.wire import requests
from zoolet.wire.frames import decode_connect, encode_connected, encode_reply, frame_end
from zoolet.wire.jute import Reader
from zoolet.wire.replies import (
    encode_event,
    encode_multi_read,
    encode_path,
    encode_result,
    encode_watch_added,
    stat_in,
)

MEMBERS = 3
SLOWEST_APPLY_S = 0.2
CHECK_SESSIONS_S = 0.5
_TICK_MS = 500
_READS = frozenset({OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN2})
_WATCHES = frozenset(
    {OpCode.SET_WATCHES, OpCode.SET_WATCHES2, OpCode.ADD_WATCH, OpCode.REMOVE_WATCHES}
)


class Change(NamedTuple):
    """A change of a znode, as the event that its watchers get."""

    zxid: int
    type: EventType
    path: str


class Reply(NamedTuple):
    """The reply to a call: the zxid of the server's state, error code, body, and time."""

    zxid: int
    err: int
    body: bytes
    sent_s: float


class Ensemble:
    """The leader's state, the log of all txns, and the members.

    Attributes:
        machine: the leader's state.
        log: each txn with its result.
        history: each change of a znode, in order.
        replies: for each xid, the replies to its call; a call that came twice has two.
        members: the servers.
        owners: for each session, the connection that serves it.
        heard_s: for each session, the time of the last bytes of its client.
        watches_set_zxids: the zxid of the state at each setWatches.
        expired: the number of sessions that the ensemble has ended.
    """

    def __init__(self, clock: Clock, network: Network) -> None:
        self.clock = clock
        self.machine = _fresh()
        self.log: list[tuple[Txn, TxnResult]] = []
        self.history: list[Change] = []
        self.replies: dict[int, list[Reply]] = {}
        self.owners: dict[int, Connection] = {}
        self.heard_s: dict[int, float] = {}
        self.watches_set_zxids: list[int] = []
        self.expired = 0
        self._last_session = 0x100
        self._recorder = Watcher(NOBODY)
        self.machine.add_watch("/", self._recorder, AddWatchMode.PERSISTENT_RECURSIVE)
        self.members = [Member(self, network) for _ in range(MEMBERS)]
        clock.after(CHECK_SESSIONS_S, self._expire_silent)

    def write(self, session_id: int, xid: int, op_code: int, request: WriteRequest) -> None:
        """Append the txn of a request to the log; the members apply it later."""
        now_ms = int(self.clock.now_s * 1000)
        txn = self.machine.prepare(Requester(session_id, NOBODY), xid, op_code, request, now_ms)
        for part in txn.body.txns if isinstance(txn.body, MultiTxn) else [(0, txn.body)]:
            if isinstance(part[1], CreateTxn):  # record also the events of its parent's children
                parent = parent_of(part[1].path)
                self.machine.add_watch(parent, self._recorder, AddWatchMode.PERSISTENT)
        applied = self.machine.apply(txn)
        self.machine.is_changing = False
        self.log.append((txn, applied.result))
        for event in applied.events:
            self.history.append(Change(event.zxid, event.type, event.path))
        for member in self.members:
            member.will_apply()

    def new_session(self, timeout_ms: int) -> int:
        """Return the id of a new session."""
        self._last_session += 1
        session_id = self._last_session
        self.write(session_id, 0, OpCode.CREATE_SESSION, CreateSession(timeout_ms))
        self.heard_s[session_id] = self.clock.now_s
        return session_id

    def exists(self, session_id: int) -> bool:
        """Return whether a session exists."""
        return session_id in self.machine.sessions.by_id

    def expire(self, session_id: int) -> None:
        """End a session."""
        if self.exists(session_id):
            self.expired += 1
            self.write(session_id, 0, OpCode.CLOSE_SESSION, CloseSession())

    def expire_all(self, *, but: int) -> None:
        """End all sessions but one."""
        for session_id in list(self.machine.sessions.by_id):
            if session_id != but:
                self.expire(session_id)

    def _expire_silent(self) -> None:
        for session_id, session in list(self.machine.sessions.by_id.items()):
            if self.clock.now_s - self.heard_s[session_id] > session.timeout_ms / 1000:
                self.expire(session_id)
        self.clock.after(CHECK_SESSIONS_S, self._expire_silent)


class Member:
    """A server: its state, which may be older than the leader's, and its connections.

    Attributes:
        applied: the number of txns that it has applied.
        delay_s: the longest time until it applies a txn.
    """

    def __init__(self, ensemble: Ensemble, network: Network) -> None:
        self.ensemble = ensemble
        self.machine = _fresh()
        self.applied = 0
        self.delay_s = SLOWEST_APPLY_S
        self.connections: dict[Connection, None] = {}
        self._network = network

    def accept(self, end: ServerEnd) -> "Connection":
        """Serve a connection."""
        connection = Connection(self, end)
        self.connections[connection] = None
        return connection

    def will_apply(self) -> None:
        """Apply one txn more, later."""
        delay_s = self.delay_s * self._network.chance.random() ** 3
        self.ensemble.clock.after(delay_s, self._apply_next)

    def _apply_next(self) -> None:
        txn, _ = self.ensemble.log[self.applied]
        events = self.machine.apply(txn).events
        self.machine.is_changing = False
        self.applied += 1
        self.send_events(events)
        for connection in list(self.connections):
            connection.go_on()

    @staticmethod
    def send_events(events: list[Event]) -> None:
        """Send events to the connections that watch."""
        for event in events:
            frame = encode_event(event.type, event.path, event.zxid)
            for watcher in event.watchers:
                assert isinstance(watcher, Connection)
                watcher.end.send(frame)

    def forget(self, connection: "Connection") -> None:
        """Drop a connection and its watches."""
        self.connections.pop(connection, None)
        for _ in self.machine.forget_watcher(connection):
            pass


class Connection(Watcher):
    """A connection of a client.

    Attributes:
        session_id: the session; 0 before a session is granted.
    """

    def __init__(self, member: Member, end: ServerEnd) -> None:
        super().__init__(NOBODY)
        self.end = end
        self.session_id = 0
        self._member = member
        self._ensemble = member.ensemble
        self._unread = b""
        self._frames: deque[bytes] = deque()
        self._awaited = 0
        self._then: Callable[[], None] | None = None
        self._is_open = True

    def receive(self, data: bytes) -> None:
        """Process bytes of the client."""
        if self.session_id:
            self._ensemble.heard_s[self.session_id] = self._ensemble.clock.now_s
        self._unread += data
        position = 0
        while (end := frame_end(self._unread, position, 1 << 20)) != -1:
            self._frames.append(self._unread[position:end])
            position = end
        self._unread = self._unread[position:]
        self.go_on()

    def close(self) -> None:
        """End the connection; bytes that were sent before arrive."""
        if self._is_open:
            self._is_open = False
            self._member.forget(self)
            self.end.close()

    def closed_by_client(self) -> None:
        """Note that the connection has ended."""
        self._is_open = False
        self._member.forget(self)

    def go_on(self) -> None:
        """Reply to what the connection waited for, and process the frames that are left."""
        while self._is_open:
            if self._then is not None:
                if self._member.applied < self._awaited:
                    return
                then, self._then = self._then, None
                then()
            elif self.session_id and self._has_ended():
                self.close()
            elif self._frames:
                self._process(self._frames.popleft())
            else:
                return

    def _has_ended(self) -> bool:
        is_known = self.session_id in self._member.machine.sessions.by_id
        return not is_known or self._ensemble.owners.get(self.session_id) is not self

    def _process(self, frame: bytes) -> None:
        if not self.session_id:
            self._grant(frame)
            return
        reader = Reader(frame, 4)
        xid, op_code = reader.read_int(), reader.read_int()
        if op_code in requests.WRITE_OP_CODES and not self._ensemble.exists(self.session_id):
            self.close()  # a write of a session that has ended changes nothing
        elif op_code in requests.WRITE_OP_CODES:
            request = requests.decode_write(op_code, reader)
            self._ensemble.write(self.session_id, xid, op_code, request)
            place = len(self._ensemble.log)
            self._wait(place, lambda: self._reply_to_write(xid, op_code, place))
        elif op_code == OpCode.SYNC:
            path = requests.decode_path_or_null(reader).path
            self._wait(len(self._ensemble.log), lambda: self._reply(xid, 0, encode_path(path)))
        else:
            self._answer(xid, OpCode(op_code), reader)

    def _wait(self, place: int, then: Callable[[], None]) -> None:
        """Go on when the member has applied a number of txns."""
        self._awaited, self._then = place, then

    def _grant(self, frame: bytes) -> None:
        connect = decode_connect(frame, 4, len(frame))
        ensemble = self._ensemble
        if connect.last_zxid_seen > self._member.machine.zxid:
            self.close()
            return
        session_id = connect.session_id
        if session_id and connect.password != _password(session_id):
            session_id = -1
        if not session_id:
            session_id = ensemble.new_session(connect.timeout_ms)
        elif not ensemble.exists(session_id):
            self.end.send(encode_connected(0, 0, bytes(16), has_read_only=True))
            self.close()
            return
        before = ensemble.owners.get(session_id)
        ensemble.owners[session_id] = self
        if before is not None:
            before.close()
        ensemble.heard_s[session_id] = ensemble.clock.now_s
        self._wait(len(ensemble.log), lambda: self._granted(session_id))

    def _granted(self, session_id: int) -> None:
        session = self._member.machine.sessions.by_id.get(session_id)
        if session is None:
            self.end.send(encode_connected(0, 0, bytes(16), has_read_only=True))
            self.close()
            return
        self.session_id = session_id
        password = _password(session_id)
        frame = encode_connected(session.timeout_ms, session_id, password, has_read_only=True)
        self.end.send(frame)

    def _reply(self, xid: int, err: int, body: bytes, zxid: int = 0) -> None:
        zxid = zxid or self._member.machine.zxid
        if xid > 0:
            self._ensemble.replies.setdefault(xid, []).append(
                Reply(zxid, err, body, self._ensemble.clock.now_s)
            )
        self.end.send(encode_reply(xid, zxid, err, body))

    def _reply_to_write(self, xid: int, op_code: int, place: int) -> None:
        txn, result = self._ensemble.log[place - 1]
        self._reply(xid, result.err, encode_result(result), txn.header.zxid)
        if op_code == OpCode.CLOSE_SESSION:
            self.close()

    def _answer(self, xid: int, op_code: OpCode, reader: Reader) -> None:
        try:
            if op_code in _READS:
                body = self._read(op_code, *requests.read_path_watch(reader))
            elif op_code in _WATCHES:
                body = self._change_watches(op_code, reader)
            elif op_code is OpCode.MULTI_READ:
                body = self._read_several(reader)
            else:
                assert op_code is OpCode.PING, op_code
                body = b""
            err = 0
        except RequestError as error:
            body, err = b"", error.code.value
        self._reply(xid, err, body)

    def _read(self, op_code: OpCode, path: str, watch: bool) -> bytes:
        machine = self._member.machine
        record = machine.tree.record_of(path)
        is_data = op_code is OpCode.GET_DATA
        if watch and op_code is OpCode.GET_CHILDREN2 and record is not None:
            machine.watch_children(path, self)
        elif watch and (op_code is OpCode.EXISTS or (is_data and record is not None)):
            machine.watch_data(path, self)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        if is_data:
            return record
        names = machine.tree.encoded_names(path) if op_code is OpCode.GET_CHILDREN2 else b""
        return names + stat_in(record)

    def _read_several(self, reader: Reader) -> bytes:
        parts: list[tuple[int, int, bytes]] = []
        tree = self._member.machine.tree
        for op_code, request in requests.decode_multi_read(reader).operations:
            record = tree.record_of(request.path)
            if record is None:
                parts.append((op_code, ErrorCode.NO_NODE, b""))
            elif op_code == OpCode.GET_DATA:
                parts.append((op_code, 0, record))
            else:
                parts.append((op_code, 0, tree.encoded_names(request.path)))
        return encode_multi_read(parts)

    def _change_watches(self, op_code: OpCode, reader: Reader) -> bytes:
        machine = self._member.machine
        if op_code is OpCode.ADD_WATCH:
            add = requests.decode_add_watch(reader)
            machine.add_watch(add.path, self, add.mode)
            return encode_watch_added()
        if op_code is OpCode.REMOVE_WATCHES:
            machine.remove_watches(requests.decode_watches_of(reader), self)
            return b""
        is_second = op_code is OpCode.SET_WATCHES2
        decode = requests.decode_set_watches2 if is_second else requests.decode_set_watches
        self._set_watches(decode(reader))
        return b""

    def _set_watches(self, wanted: SetWatches) -> None:
        events = self._member.machine.set_watches(wanted, self)
        self._member.send_events(events)
        self._ensemble.watches_set_zxids.append(self._member.machine.zxid)


def _fresh() -> StateMachine:
    return StateMachine(Tree.fresh(), SessionTable(_TICK_MS))


def _password(session_id: int) -> bytes:
    return session_id.to_bytes(16, "big")
