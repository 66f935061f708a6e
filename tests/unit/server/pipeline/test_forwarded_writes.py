"""An observer forwards writes; replies and events keep their order and wait for the own sync."""

import random

import pytest

from tests.support.histories import state_of
from tests.support.observer_stage import OTHER_SESSION, ObserverStage
from tests.support.rawclient import connect_frame, framed, multi_body
from tests.support.simulated import TICK_MS
from tests.support.stage import StageClient
from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import CreateMode, ErrorCode, OpCode, Xid
from zoolet.model.requests import CloseSession, Create, CreateSession, SetData
from zoolet.state_machine.sessions import password_of
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring

ACL = pack_acl(OPEN_ACL)


def create(path: str, data: bytes = b"", flags: int = 0) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + ACL + INT.pack(flags)


def set_data(path: str, data: bytes) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def get(path: str, *, watch: bool = False) -> bytes:
    return pack_ustring(path) + bytes([watch])


@pytest.fixture
def stage() -> ObserverStage:
    return ObserverStage()


def new_client(stage: ObserverStage, timeout_ms: int = 20 * TICK_MS) -> StageClient:
    """Return a client with a session that the leader has created."""
    client = stage.stranger()
    client.socket += connect_frame(timeout_ms)
    stage.leader.answer_all()
    client.connected()
    assert client.session_id in stage.leader.machine.sessions.by_id
    return client


# --- Sessions


def test_a_session_is_created_by_the_leader(stage: ObserverStage) -> None:
    client = stage.stranger()
    client.socket += connect_frame(4000) + framed(
        INT.pack(1) + INT.pack(OpCode.GET_DATA) + get("/")
    )
    stage.settle()
    assert client.frames() == []
    stage.leader.answer_all()
    connected, reply = client.frames()
    reader = Reader(connected)
    assert (reader.read_int(), reader.read_int()) == (0, 4000)
    session_id = reader.read_long()
    assert session_id >> 56 == 101
    assert reader.read_buffer() == password_of(session_id)
    assert INT.unpack_from(reply)[0] == 1


@pytest.mark.parametrize("is_known_here", [True, False])
def test_a_session_of_another_server_is_resumed(stage: ObserverStage, is_known_here: bool) -> None:
    client = stage.stranger()
    session_id = OTHER_SESSION
    if not is_known_here:
        session_id += 1
        stage.leader.machine.sessions.open(session_id, 4000, 0)
    client.socket += connect_frame(4000, session_id, password_of(session_id))
    stage.leader.answer_all()
    if not is_known_here:
        # The leader has answered before the txn of the session has arrived.
        assert client.frames() == []
        stage.leader.commit_own(session_id, OpCode.CREATE_SESSION, CreateSession(4000))
        stage.settle()
    client.connected()
    assert client.session_id == session_id
    assert stage.machine.sessions.by_id[session_id].connection is client.connection


def test_what_the_leader_does_not_know_is_not_resumed(stage: ObserverStage) -> None:
    client = stage.stranger()
    del stage.leader.machine.sessions.by_id[OTHER_SESSION]
    client.socket += connect_frame(4000, OTHER_SESSION, password_of(OTHER_SESSION))
    stage.leader.answer_all()
    client.connected()
    assert client.session_id == 0
    assert client.transport.is_closing_now


def test_a_wrong_password_does_not_reach_the_leader(stage: ObserverStage) -> None:
    client = stage.stranger()
    client.socket += connect_frame(4000, OTHER_SESSION, bytes(16))
    stage.settle()
    client.connected()
    assert (client.session_id, list(stage.leader.inbox)) == (0, [])


def test_the_leader_ends_a_session(stage: ObserverStage) -> None:
    client = new_client(stage)
    stage.leader.commit_own(client.session_id, OpCode.CLOSE_SESSION, CloseSession())
    stage.settle()
    assert client.transport.is_closing_now
    assert client.session_id not in stage.machine.sessions.by_id


def test_a_client_that_has_seen_more_is_refused(stage: ObserverStage) -> None:
    client = stage.stranger()
    client.socket += connect_frame(4000, last_zxid=1 << 40)
    stage.settle()
    assert client.transport.is_closing_now
    assert not stage.leader.inbox


# --- Writes


def test_a_write_is_answered_after_the_leaders_txn(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CREATE, create("/a", b"1"))
    stage.settle()
    assert client.frames() == []
    stage.leader.answer_all()
    (reply,) = client.replies()
    assert (reply.err, Reader(reply.body).read_ustring()) == (0, "/a")
    assert reply.zxid == stage.leader.machine.zxid
    assert stage.leader.forwarded[-1].ids == (Id("ip", "127.0.0.1"),)


def test_the_leaders_refusal_reaches_the_client(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.SET_DATA, set_data("/none", b""))
    stage.leader.answer_all()
    (reply,) = client.replies()
    assert (reply.err, reply.body) == (ErrorCode.NO_NODE, b"")


def test_requests_behind_a_write_wait_and_other_clients_do_not(stage: ObserverStage) -> None:
    writer, reader = new_client(stage), new_client(stage)
    writer.send(OpCode.CREATE, create("/a", b"1"))
    writer.send(OpCode.GET_DATA, get("/a"))
    writer.send(OpCode.SET_DATA, set_data("/a", b"2"))
    writer.send(OpCode.PING, xid=Xid.PING)
    stage.settle()
    assert reader.request(OpCode.GET_DATA, get("/a")).err == ErrorCode.NO_NODE
    assert writer.frames() == []
    stage.leader.answer_all()
    created, read, written, ping = writer.replies()
    assert [created.xid, read.xid, written.xid, ping.xid] == [1, 2, 3, Xid.PING]
    assert Reader(read.body).read_buffer() == b"1"


def test_several_writes_are_on_the_way_together(stage: ObserverStage) -> None:
    client = new_client(stage)
    for number in range(10):
        client.send(OpCode.CREATE, create(f"/{number}"))
    client.send(OpCode.SYNC, pack_ustring("/"))
    stage.settle()
    assert len(stage.leader.inbox) == 11
    stage.leader.answer_all()
    assert [reply.xid for reply in client.replies()] == list(range(1, 12))


def test_a_connection_with_many_writes_waits(stage: ObserverStage) -> None:
    client = new_client(stage)
    for number in range(1500):
        client.send(OpCode.CREATE, create(f"/{number}"))
    stage.settle()
    assert len(stage.leader.inbox) == 1000
    assert client.transport.is_paused
    stage.leader.answer_all()
    assert [reply.err for reply in client.replies()] == [0] * 1500


def test_events_come_before_the_reply_that_shows_the_change(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.request(OpCode.EXISTS, get("/a", watch=True))
    client.send(OpCode.CREATE, create("/a"))
    stage.leader.answer_all()
    event, reply = client.replies()
    assert (event.xid, reply.xid) == (Xid.NOTIFICATION, 2)


def test_nothing_is_sent_before_the_own_sync(stage: ObserverStage) -> None:
    """The leader's txn is durable elsewhere; a reply waits for this server's disk all the same."""
    client, watcher = new_client(stage), new_client(stage)
    watcher.request(OpCode.EXISTS, get("/a", watch=True))
    client.send(OpCode.CREATE, create("/a"))
    stage.settle()
    stage.leader.answer()
    assert (client.frames(), watcher.frames()) == ([], [])
    stage.settle()
    assert (len(client.replies()), len(watcher.replies())) == (1, 1)


def test_a_moved_session_is_disconnected(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CREATE, create("/a"))
    stage.settle()
    stage.leader.inbox.clear()
    txn = stage.leader.machine.refuse(client.session_id, 1, ErrorCode.SESSION_MOVED, 0)
    stage.processor.forwarded.apply(txn)
    stage.settle()
    assert client.transport.is_closing_now
    assert client.frames() == []


def test_a_close_is_answered_and_closes(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CREATE, create("/e", flags=CreateMode.EPHEMERAL))
    client.send(OpCode.CLOSE_SESSION)
    stage.leader.answer_all()
    assert [reply.err for reply in client.replies()] == [0, 0]
    assert client.transport.is_closing_now
    assert stage.machine.tree.find("/e") is None


# --- Rule 1: only what can be decoded is forwarded

REQUESTS = {
    OpCode.CREATE: create("/a", b"data"),
    OpCode.CREATE2: create("/b", b"data"),
    OpCode.CREATE_CONTAINER: create("/c", b"data", CreateMode.CONTAINER),
    OpCode.CREATE_TTL: create("/d", b"", CreateMode.PERSISTENT_WITH_TTL) + LONG.pack(1000),
    OpCode.DELETE: pack_ustring("/a") + INT.pack(-1),
    OpCode.SET_DATA: set_data("/a", b"data"),
    OpCode.SET_ACL: pack_ustring("/a") + ACL + INT.pack(-1),
    OpCode.MULTI: multi_body(
        [(OpCode.CREATE, create("/m")), (OpCode.SET_DATA, set_data("/m", b"1"))]
    ),
    OpCode.SYNC: pack_ustring("/a"),
    OpCode.RECONFIG: 3 * pack_buffer(b"x") + LONG.pack(-1),
}


@pytest.mark.parametrize("op_code", REQUESTS, ids=lambda op_code: op_code.name)
def test_a_request_that_is_cut_is_not_forwarded(op_code: OpCode) -> None:
    stage = ObserverStage()
    client = new_client(stage)
    body = REQUESTS[op_code]
    for size in range(len(body)):
        client.send(op_code, body[:size])
        stage.settle()
        assert not stage.leader.inbox, size
        (reply,) = client.replies()
        assert reply.err == ErrorCode.MARSHALLING_ERROR
    client.send(op_code, body)
    stage.settle()
    (packet,) = stage.leader.inbox
    assert packet.data is not None
    assert packet.data.endswith(body)


def test_the_leader_refuses_other_wrong_ttls_itself(stage: ObserverStage) -> None:
    """Its refusal has a zxid, like that of any other request."""
    client = new_client(stage)
    client.send(OpCode.CREATE_TTL, create("/a") + LONG.pack(1000))
    stage.leader.answer_all()
    (reply,) = client.replies()
    assert reply.err != 0
    assert reply.zxid == stage.leader.machine.zxid


def test_a_malformed_request_behind_a_write_is_refused_in_order(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CREATE, create("/a"))
    client.send(OpCode.SET_DATA, b"")
    client.send(OpCode.CREATE, create("/b"))
    stage.settle()
    assert client.frames() == []
    stage.leader.answer_all()
    errors = [reply.err for reply in client.replies()]
    assert errors == [0, ErrorCode.MARSHALLING_ERROR, 0]


@pytest.mark.parametrize(
    ("op_code", "body"),
    [
        (OpCode.CREATE_TTL, create("/a") + LONG.pack(-1)),
        (OpCode.CREATE, create("/zookeeper/quota/zookeeper_limits")),
        (
            OpCode.MULTI,
            multi_body([(OpCode.CREATE, create("/zookeeper/quota/zookeeper_limits"))]),
        ),
    ],
)
def test_what_would_end_the_leader_is_not_forwarded(
    stage: ObserverStage, op_code: OpCode, body: bytes
) -> None:
    client = new_client(stage)
    assert client.request(op_code, body).err == ErrorCode.BAD_ARGUMENTS
    assert not stage.leader.inbox


# --- The link to the leader


def test_a_lost_link_closes_what_waits_for_an_answer(stage: ObserverStage) -> None:
    waiting, reading, opening = new_client(stage), new_client(stage), stage.stranger()
    waiting.send(OpCode.CREATE, create("/a"))
    opening.socket += connect_frame()
    stage.settle()
    stage.cut()
    assert waiting.transport.is_closing_now
    assert opening.transport.is_closing_now
    assert reading.request(OpCode.GET_DATA, get("/")).err == 0
    reading.send(OpCode.CREATE, create("/b"))
    stage.settle()
    assert reading.transport.is_closing_now, "it is not forwarded, so the client may repeat it"


def test_a_new_link_asks_again_for_each_session(stage: ObserverStage) -> None:
    client = new_client(stage)
    stage.cut()
    stage.link()
    stage.settle()
    assert client.transport.is_closing_now
    again = stage.stranger()
    again.socket += connect_frame(4000, client.session_id, password_of(client.session_id))
    stage.leader.answer_all()
    again.connected()
    assert again.session_id == client.session_id


def test_a_silent_leader_limits_how_long_a_session_is_served(stage: ObserverStage) -> None:
    short, long = new_client(stage, 3 * TICK_MS), new_client(stage, 20 * TICK_MS)
    stage.pass_ms(TICK_MS + 1)
    short.send(OpCode.GET_DATA, get("/"))
    assert long.request(OpCode.GET_DATA, get("/")).err == 0
    stage.settle()
    assert short.transport.is_closing_now
    assert short.frames() == []


def test_a_session_is_not_served_after_its_last_reported_renewal(stage: ObserverStage) -> None:
    """The server stood still: the leader's packets are there, but the session may have expired."""
    client = new_client(stage, 4 * TICK_MS)
    stage.pass_ms(4 * TICK_MS)
    stage.processor.forwarded.leader.contact.heard(stage.now_ms)
    client.send(OpCode.GET_DATA, get("/"))
    stage.settle()
    assert client.transport.is_closing_now
    assert client.frames() == []


def test_replies_are_dropped_if_the_server_stood_still_before_it_sent_them(
    stage: ObserverStage,
) -> None:
    client = new_client(stage, 4 * TICK_MS)
    client.send(OpCode.GET_DATA, get("/"))
    stage.standing_ms = 4 * TICK_MS
    stage.settle()
    assert client.transport.is_closing_now
    assert client.frames() == []


def test_replies_are_dropped_if_the_server_stood_still_during_the_sync(
    stage: ObserverStage,
) -> None:
    client, watcher = new_client(stage, 4 * TICK_MS), new_client(stage, 4 * TICK_MS)
    watcher.request(OpCode.EXISTS, get("/a", watch=True))
    client.send(OpCode.CREATE, create("/a"))
    stage.settle()
    stage.leader.answer()
    stage.pass_ms(4 * TICK_MS)
    stage.settle()
    assert (client.frames(), watcher.frames()) == ([], [])
    assert stage.machine.tree.find("/a") is not None


def test_without_a_leader_no_session_is_opened(stage: ObserverStage) -> None:
    stage.cut()
    client = stage.stranger()
    client.socket += connect_frame(read_only=b"\1")
    stage.settle()
    assert client.transport.is_closing_now


def test_read_only_mode() -> None:
    stage = ObserverStage(has_read_only_mode=True)
    stage.cut()
    stage.processor.forwarded.leader.view.is_read_only = True
    refused, client = stage.stranger(), stage.stranger()
    refused.socket += connect_frame(read_only=b"\0")
    client.socket += connect_frame(read_only=b"\1")
    stage.settle()
    assert refused.transport.is_closing_now
    (connected,) = client.frames()
    assert connected.endswith(b"\1"), "the reply says that the session is read-only"
    session_id = Reader(connected, 8).read_long()
    assert client.request(OpCode.GET_DATA, get("/")).err == 0
    assert client.request(OpCode.CREATE, create("/a")).err == ErrorCode.NOT_READ_ONLY
    assert client.request(OpCode.SYNC, pack_ustring("/")).err == ErrorCode.NOT_READ_ONLY
    known = stage.stranger()
    known.socket += connect_frame(4000, OTHER_SESSION, password_of(OTHER_SESSION), 0, b"\1")
    stage.settle()
    assert known.transport.is_closing_now, "the leader may have ended this session"
    again = stage.stranger()
    again.socket += connect_frame(4000, session_id, password_of(session_id), 0, b"\1")
    stage.settle()
    again.connected()
    assert again.session_id == session_id
    assert again.request(OpCode.CLOSE_SESSION).err == 0
    assert again.transport.is_closing_now
    assert session_id not in stage.machine.sessions.by_id


def test_a_new_leader_ends_the_read_only_mode() -> None:
    stage = ObserverStage(has_read_only_mode=True)
    stage.cut()
    stage.processor.forwarded.leader.view.is_read_only = True
    client = stage.stranger()
    client.socket += connect_frame(read_only=b"\1")
    stage.settle()
    stage.link()
    assert client.transport.is_closing_now


# --- At random


class Random:
    """Clients that write and read, other servers' writes, and a leader that answers at any time.

    Model: per client, the xids of its requests in order, and the zxids of its replies, which only
    rise.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stage = ObserverStage()
        self.clients = [new_client(self.stage) for _ in range(3)]
        self.sent: dict[StageClient, list[int]] = {client: [] for client in self.clients}
        self.got: dict[StageClient, list[int]] = {client: [] for client in self.clients}
        self._zxids = dict.fromkeys(self.clients, 0)

    def step(self, xid: int) -> None:
        """Let something happen."""
        chance, stage = self.chance, self.stage
        path = f"/{chance.randrange(5)}"
        data = b"%d" % xid
        if chance.random() < 0.2:
            if chance.random() < 0.5:
                stage.leader.commit_own(OTHER_SESSION, OpCode.SET_DATA, SetData(path, data, -1))
            else:
                request = Create(path, data, OPEN_ACL, CreateMode.PERSISTENT)
                stage.leader.commit_own(OTHER_SESSION, OpCode.CREATE, request)
        else:
            op_code, body = chance.choice(
                [
                    (OpCode.CREATE, create(path, data, chance.randrange(3))),
                    (OpCode.SET_DATA, set_data(path, data)),
                    (OpCode.SET_DATA, b"\0"),
                    (OpCode.DELETE, pack_ustring(path) + INT.pack(-1)),
                    (OpCode.GET_DATA, get(path, watch=True)),
                    (OpCode.SYNC, pack_ustring("/")),
                ]
            )
            client = chance.choice(self.clients)
            client.send(op_code, body, xid)
            self.sent[client].append(xid)
        if chance.random() < 0.5:
            stage.iterate()
        if stage.leader.inbox and chance.random() < 0.5:
            stage.leader.answer()
        self.collect()

    def collect(self) -> None:
        """Read what the clients have got."""
        for client in self.clients:
            replies = [reply for reply in client.replies() if reply.xid != Xid.NOTIFICATION]
            for reply in replies:
                self.got[client].append(reply.xid)
                assert reply.zxid >= self._zxids[client]
                self._zxids[client] = reply.zxid


@pytest.mark.parametrize("seed", range(20))
def test_replies_come_in_order_and_the_state_is_the_leaders(seed: int) -> None:
    run = Random(seed)
    for xid in range(1, 301):
        run.step(xid)
    run.stage.leader.answer_all()
    run.collect()
    assert run.got == run.sent
    assert state_of(run.stage.machine) == state_of(run.stage.leader.machine)
