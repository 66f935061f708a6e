"""An observer forwards writes; replies and events keep their order and wait for the own sync."""

import random

import pytest

from tests.support.histories import state_of
from tests.support.observer_stage import (
    ACL,
    OTHER_SESSION,
    ObserverStage,
    create,
    get,
    new_client,
    set_data,
)
from tests.support.rawclient import multi_body
from tests.support.stage import StageClient
from zoolet.model.acl import OPEN_ACL, Id
from zoolet.model.codes import CreateMode, ErrorCode, OpCode, Xid
from zoolet.model.requests import Create, SetData
from zoolet.wire.jute import INT, LONG, Reader, pack_buffer, pack_ustring


@pytest.fixture
def stage() -> ObserverStage:
    return ObserverStage()


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


def test_writes_behind_a_waiting_read_are_forwarded(stage: ObserverStage) -> None:
    client = new_client(stage)
    for number in range(5):
        client.send(OpCode.CREATE, create(f"/{number}", b"%d" % number))
        client.send(OpCode.GET_DATA, get(f"/{number}"))
    stage.settle()
    assert len(stage.leader.inbox) == 5
    stage.leader.answer_all()
    replies = client.replies()
    assert [reply.xid for reply in replies] == list(range(1, 11))
    found = [Reader(reply.body).read_buffer() for reply in replies[1::2]]
    assert found == [b"0", b"1", b"2", b"3", b"4"]


def test_a_long_read_between_writes_keeps_the_order(stage: ObserverStage) -> None:
    """The read takes several turns, and must not see the change of the write behind it."""
    names = [f"/parent/{'n' * 50}{number}" for number in range(6000)]
    for path in ("/parent", *names):
        request = Create(path, b"", OPEN_ACL, CreateMode.PERSISTENT)
        stage.leader.commit_own(OTHER_SESSION, OpCode.CREATE, request)
    stage.settle()
    client = new_client(stage)
    client.send(OpCode.SET_DATA, set_data("/parent", b"1"))
    client.send(OpCode.GET_CHILDREN, get("/parent"))
    client.send(OpCode.SET_DATA, set_data("/parent", b"2"))
    client.send(OpCode.GET_DATA, get("/parent"))
    client.send(OpCode.SYNC, pack_ustring("/"))
    stage.settle()
    assert len(stage.leader.inbox) == 1, "nothing is forwarded behind the long read"
    stage.leader.answer()
    assert client.connection.has_job
    stage.leader.answer_all()
    replies = client.replies()
    assert [reply.xid for reply in replies] == [1, 2, 3, 4, 5]
    assert Reader(replies[3].body).read_buffer() == b"2"
    assert len(replies[1].body) > 6000 * 50


def test_requests_that_wait_have_a_limit(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CREATE, create("/a"))
    for _ in range(1500):
        client.send(OpCode.GET_DATA, get("/a"))
    stage.settle()
    assert client.transport.is_paused
    stage.leader.answer_all()
    assert [reply.err for reply in client.replies()] == [0] * 1501


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


def test_nothing_is_answered_after_a_close(stage: ObserverStage) -> None:
    client = new_client(stage)
    client.send(OpCode.CLOSE_SESSION)
    client.send(OpCode.GET_DATA, get("/"))
    stage.leader.answer_all()
    assert [reply.xid for reply in client.replies()] == [1]
    assert client.transport.is_closing_now


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
                    (OpCode.GET_CHILDREN2, get("/", watch=True)),
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
