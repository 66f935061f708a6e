"""The request processor of an observer on a stage, with a leader that the test controls."""

from collections import deque
from functools import partial
from typing import NamedTuple

from tests.support.rawclient import connect_frame
from tests.support.simulated import TICK_MS
from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import OpCode
from zoolet.model.learner import PacketType, QuorumPacket
from zoolet.model.requests import CreateSession, WriteRequest
from zoolet.model.txns import Txn
from zoolet.server.zoo_cfg.config import ObserverConfig
from zoolet.state_machine.identities import NOBODY, Identities
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring
from zoolet.wire.learner import PacketReader
from zoolet.wire.requests import decode_path_or_null, decode_write

MY_ID = 101
OTHER_SESSION = 0x0100000000000001
WALL_MS = 1_700_000_000_000


class Forwarded(NamedTuple):
    """A REQUEST, decoded completely."""

    session_id: int
    cxid: int
    op_code: int
    request: WriteRequest | None
    ids: tuple[Id, ...]


class StageLeader:
    """A leader with zoolet's rules; it does something only when the test says so.

    Attributes:
        machine: the state of the leader.
        inbox: the requests of the observer that are not processed yet.
    """

    def __init__(self, stage: "ObserverStage") -> None:
        self.machine = StateMachine(Tree.fresh(), SessionTable(TICK_MS), 0, stage.machine.rules)
        self.inbox: deque[QuorumPacket] = deque()
        self.forwarded: list[Forwarded] = []
        self._stage = stage
        self._reader = PacketReader()
        self.machine.sessions.open(OTHER_SESSION, 20 * TICK_MS, 0)

    def receive(self, data: bytes) -> None:
        """Take bytes of the observer."""
        self._reader.feed(data)
        while (packet := self._reader.next()) is not None:
            assert isinstance(packet, QuorumPacket)
            self.inbox.append(packet)

    def answer(self) -> None:
        """Process the oldest request, and send the observer the answer."""
        packet = self.inbox.popleft()
        forwarded = self._stage.processor.forwarded
        reader = Reader(packet.data or b"")
        if packet.type == PacketType.REVALIDATE:
            session_id = reader.read_long()
            reader.read_int()
            is_valid = session_id in self.machine.sessions.by_id
            forwarded.sessions.revalidated(session_id, is_valid)
            return
        assert packet.type == PacketType.REQUEST
        session_id, cxid, op_code = reader.read_long(), reader.read_int(), reader.read_int()
        request: WriteRequest | None = None
        if op_code == OpCode.SYNC:
            decode_path_or_null(reader)
        elif op_code == OpCode.CREATE_SESSION:
            request = CreateSession(reader.read_int())
        else:
            request = decode_write(op_code, reader)
        self.forwarded.append(Forwarded(session_id, cxid, op_code, request, packet.authinfo or ()))
        if request is None:
            forwarded.answer_sync()
        else:
            identities = Identities(packet.authinfo or ())
            self.commit(Requester(session_id, identities), cxid, op_code, request)

    def answer_all(self) -> None:
        """Process all requests, also those that come meanwhile."""
        self._stage.settle()
        while self.inbox:
            self.answer()
            self._stage.settle()

    def commit(self, requester: Requester, cxid: int, op_code: int, request: WriteRequest) -> Txn:
        """Make a change, and send its txn."""
        txn = self.machine.prepare(requester, cxid, op_code, request, WALL_MS)
        self.machine.apply(txn)
        self._stage.processor.forwarded.apply(txn)
        return txn

    def commit_own(self, session_id: int, op_code: int, request: WriteRequest) -> Txn:
        """Make a change that no client of the observer has requested."""
        return self.commit(Requester(session_id, NOBODY), 0, op_code, request)


class ObserverStage(Stage):
    """A stage whose server is an observer that follows a ``StageLeader``.

    Attributes:
        leader: the leader.
        standing_ms: the time for which the process stands still after each reading of the clock.
    """

    def __init__(self, rules: Rules | None = None, *, has_read_only_mode: bool = False) -> None:
        self.standing_ms = 0
        super().__init__(
            rules, ObserverConfig(MY_ID, {}, 1000, 1000, None, None, has_read_only_mode)
        )
        self.leader = StageLeader(self)
        self.machine.sessions.open(OTHER_SESSION, 20 * TICK_MS, 0)
        self.link()

    def link(self) -> None:
        """Follow the leader."""
        forwarded = self.processor.forwarded
        forwarded.sessions.close_all()
        forwarded.leader.view.is_serving = True
        forwarded.leader.view.is_read_only = False
        forwarded.leader.contact.heard(self.now_ms)
        forwarded.leader.follow(self._send)

    def _now_ms(self) -> int:
        now_ms = self.now_ms
        self.pass_ms(self.standing_ms)
        return now_ms

    def _send(self, data: bytes) -> None:
        self.call_soon(partial(self.leader.receive, data))

    def cut(self) -> None:
        """End the link; requests that the leader has not processed are lost."""
        self.leader.inbox.clear()
        self.processor.forwarded.leader.view.is_serving = False
        self.processor.forwarded.link_lost()
        self.settle()

    def settle(self) -> None:
        """Iterate until nothing is left to do; clients that were closed are gone."""
        super().settle()
        for client in self.clients:
            if client.transport.is_closing_now:
                client.lose()


ACL = pack_acl(OPEN_ACL)


def create(path: str, data: bytes = b"", flags: int = 0) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + ACL + INT.pack(flags)


def set_data(path: str, data: bytes) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def get(path: str, *, watch: bool = False) -> bytes:
    return pack_ustring(path) + bytes([watch])


def new_client(stage: ObserverStage, timeout_ms: int = 20 * TICK_MS) -> StageClient:
    """Return a client with a session that the leader has created."""
    client = stage.stranger()
    client.socket += connect_frame(timeout_ms)
    stage.leader.answer_all()
    client.connected()
    assert client.session_id in stage.leader.machine.sessions.by_id
    return client
