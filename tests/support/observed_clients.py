"""Clients of an ensemble with an observer: they write, read, move, and note what must not be.

Each client is the only writer of its znode, and sets it to the next number. Invariants that are
checked at every reply:

- replies come in the order of the requests, a watch event before the reply to the write;
- zxids in a client's replies never fall;
- a read shows no less than the last acknowledged write, and no more than the last sent one.

``Ended`` has what is checked when all servers have stopped.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.rawclient import RawClient, connect_frame, multi_body, parse_reply, request_frame
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, ErrorCode, OpCode, Xid
from zoolet.wire.jute import INT, MalformedError, Reader, pack_acl, pack_buffer, pack_ustring

PAUSE_S = 0.02
ANSWER_S = 8.0
LOST = (OSError, EOFError, MalformedError)
_ENDS = frozenset({ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED})
"""The errors after which a client connects again."""


def now_ms() -> int:
    """Return milliseconds since the epoch, which txns have too."""
    return time.time_ns() // 1_000_000


def hex64(number: int) -> str:
    """Return a session's id as text."""
    return f"{number & (1 << 64) - 1:x}"


@dataclass
class Answered:
    """The last requests of a session that were answered, without its own close.

    Attributes:
        zxid: the highest zxid in a reply.
        sent_ms: when the last answered request was sent to the observer.
        received_ms: when the observer's last reply came.
    """

    zxid: int = 0
    sent_ms: int = 0
    received_ms: int = 0


@dataclass
class Ended:
    """What a client knows in the end.

    Attributes:
        acknowledged: the number in the last acknowledged write.
        sent: the number in the last write that was sent.
        created: the paths of its acknowledged creates.
        sessions: by id, what was answered in its sessions.
        faults: what must not be.
    """

    acknowledged: int = 0
    sent: int = 0
    created: list[str] = field(default_factory=list)
    sessions: dict[int, Answered] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class ObservedClient(threading.Thread):
    """A client that is on one server, or moves between several.

    Attributes:
        path: its znode, which must exist.
        ended: what it knows.
        replies: the number of replies.
        resumed: how often it has resumed a session.
        stops: ends it.
    """

    def __init__(self, path: str, ports: Sequence[int], observer_port: int, seed: int) -> None:
        super().__init__(daemon=True, name=path)
        self.path = path
        self.ended = Ended()
        self.replies = 0
        self.resumed = 0
        self.stops = threading.Event()
        self._ports = ports
        self._observer_port = observer_port
        self._chance = random.Random(seed)
        self._timeout_ms = self._chance.choice([1500, 4000, 8000])
        self._session_id = 0
        self._password = bytes(16)
        self._zxid = 0
        self._xid = 0
        self._is_watched = False

    def run(self) -> None:
        """Work until ``stops`` is set."""
        try:
            while not self.stops.is_set():
                port = self._chance.choice(self._ports)
                try:
                    with RawClient(port) as client:
                        client.socket.settimeout(ANSWER_S)
                        self._use(client, port)
                except LOST:
                    self.stops.wait(PAUSE_S)
        except Exception as error:
            self.ended.faults.append(f"{self.path}: {error!r}")
            raise

    def _use(self, client: RawClient, port: int) -> None:
        """Connect, and send bursts of requests."""
        client.socket.sendall(
            connect_frame(self._timeout_ms, self._session_id, self._password, self._zxid)
        )
        reader = Reader(client.read_frame())
        reader.read_int()
        timeout_ms, session_id = reader.read_int(), reader.read_long()
        if not timeout_ms:
            self._forget()
            return
        self._is_watched = False
        if session_id == self._session_id:
            self.resumed += 1
        else:
            self._session_id, self._password = session_id, reader.read_buffer() or b""
            self.ended.sessions[session_id] = Answered()
            ephemeral = self._create(f"/sessions/{hex64(session_id)}", CreateMode.EPHEMERAL)
            if not self._burst(client, port, [(OpCode.CREATE, ephemeral)]):
                return
        # A client that may move connects somewhere else after some bursts.
        left = self._chance.randrange(5, 100) if len(self._ports) > 1 else -1
        while left and not self.stops.is_set():
            left -= 1
            requests = self._requests()
            if not self._burst(client, port, requests) or requests[-1][0] == OpCode.CLOSE_SESSION:
                return
            self.stops.wait(PAUSE_S * self._chance.random())

    def _forget(self) -> None:
        self._session_id, self._password = 0, bytes(16)

    # --- Requests

    def _requests(self) -> list[tuple[int, bytes]]:
        """Return the requests of a burst; each write has the next number."""
        chance = self._chance
        requests: list[tuple[int, bytes]] = []
        for _ in range(chance.choice([1, 1, 2, 4, 8])):
            kind = chance.random()
            if kind < 0.3:
                requests.append((OpCode.SET_DATA, self._set()))
            elif kind < 0.4:
                part = (OpCode.SET_DATA, self._set())
                requests.append((OpCode.MULTI, multi_body([part])))
            elif kind < 0.5:
                body = self._create(f"{self.path}/s-", CreateMode.PERSISTENT_SEQUENTIAL)
                requests.append((OpCode.CREATE, body))
            elif kind < 0.6:
                requests.append((OpCode.SYNC, pack_ustring(self.path)))
            elif kind < 0.65:
                requests.append((OpCode.PING, b""))
            else:
                watch = b"\1" if kind < 0.75 else b"\0"
                requests.append((OpCode.GET_DATA, pack_ustring(self.path) + watch))
        if chance.random() < 0.005:
            requests.append((OpCode.CLOSE_SESSION, b""))
        return requests

    def _set(self) -> bytes:
        self.ended.sent += 1
        data = pack_buffer(b"%d" % self.ended.sent)
        return pack_ustring(self.path) + data + INT.pack(-1)

    @staticmethod
    def _create(path: str, mode: CreateMode) -> bytes:
        return pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(mode)

    # --- Replies

    def _burst(self, client: RawClient, port: int, requests: list[tuple[int, bytes]]) -> bool:
        """Send requests at once, and take the replies; return whether the session goes on."""
        most = self._numbers_before(requests)
        frames: list[bytes] = []
        xids: list[int] = []
        for op_code, body in requests:
            self._xid += 1
            xids.append(Xid.PING if op_code == OpCode.PING else self._xid)
            frames.append(request_frame(xids[-1], op_code, body))
        sent_ms = now_ms()
        client.socket.sendall(b"".join(frames))
        for xid, (op_code, body), last_sent in zip(xids, requests, most, strict=True):
            reply = parse_reply(client.read_frame())
            while reply.xid == Xid.NOTIFICATION:
                self._is_watched = False
                self._check_zxid(reply.zxid)
                reply = parse_reply(client.read_frame())
            if reply.xid != xid:
                self._fault(f"a reply with xid {reply.xid}, not {xid}")
            if reply.err in _ENDS:
                return False
            self._check_zxid(reply.zxid)
            self._note(port, op_code, sent_ms, reply.zxid)
            if reply.err and (op_code, reply.err) != (OpCode.CREATE, ErrorCode.NODE_EXISTS):
                self._fault(f"{OpCode(op_code).name} was refused with {reply.err}")
            elif not reply.err:
                self._take(op_code, reply.body, last_sent, sets_watch=body[-1:] == b"\1")
        return True

    def _numbers_before(self, requests: list[tuple[int, bytes]]) -> list[int]:
        """Return, for each request, the number in the last write up to it."""
        writes = (OpCode.SET_DATA, OpCode.MULTI)
        number = self.ended.sent - sum(op_code in writes for op_code, _ in requests)
        numbers: list[int] = []
        for op_code, _ in requests:
            number += op_code in writes
            numbers.append(number)
        return numbers

    def _note(self, port: int, op_code: int, sent_ms: int, zxid: int) -> None:
        self.replies += 1
        if op_code == OpCode.CLOSE_SESSION:
            self._forget()
            return
        answered = self.ended.sessions[self._session_id]
        answered.zxid = max(answered.zxid, zxid)
        if port == self._observer_port:
            answered.sent_ms, answered.received_ms = sent_ms, now_ms()

    def _take(self, op_code: int, body: bytes, last_sent: int, *, sets_watch: bool) -> None:
        ended = self.ended
        if op_code in (OpCode.SET_DATA, OpCode.MULTI):
            if self._is_watched:
                self._fault("the reply to a write came before the event of the watch")
                self._is_watched = False
            ended.acknowledged = last_sent
        elif op_code == OpCode.CREATE:
            path = Reader(body).read_ustring()
            if not path.startswith("/sessions/"):
                ended.created.append(path)
        elif op_code == OpCode.GET_DATA:
            self._is_watched |= sets_watch
            number = int(Reader(body).read_buffer() or b"0")
            if not ended.acknowledged <= number <= last_sent:
                self._fault(f"a read shows {number}, not {ended.acknowledged} to {last_sent}")

    def _check_zxid(self, zxid: int) -> None:
        if 0 <= zxid < self._zxid:
            self._fault(f"zxid 0x{zxid:x} after 0x{self._zxid:x}")
        self._zxid = max(self._zxid, zxid)

    def _fault(self, text: str) -> None:
        self.ended.faults.append(
            f"{self.path}, session 0x{hex64(self._session_id)}, zxid 0x{self._zxid:x}: {text}"
        )
