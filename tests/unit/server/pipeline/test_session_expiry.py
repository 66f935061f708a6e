"""A session expires only after a look past its deadline has found its socket empty."""

import random

import pytest

from tests.support.simulated import TICK_MS
from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.server.pipeline.encoding_steps import LONG_LIST
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

TIMEOUT_MS = 2 * TICK_MS
PAST_MS = TIMEOUT_MS + TICK_MS


@pytest.fixture
def stage() -> Stage:
    return Stage()


def look(stage: Stage) -> None:
    """Do what the server does once in a tick."""
    stage.processor.local.sessions.look_for_expired(stage.call_soon)


def lives(stage: Stage, client: StageClient) -> bool:
    return client.session_id in stage.machine.sessions.by_id


def create(client: StageClient, path: str, flags: int = 0) -> None:
    body = pack_ustring(path) + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(flags)
    assert client.request(OpCode.CREATE, body).err == 0


def ping(client: StageClient) -> None:
    client.send(OpCode.PING, xid=Xid.PING)


def test_a_ping_in_the_socket_keeps_the_session_and_silence_ends_it(stage: Stage) -> None:
    """The server stood still past both deadlines; one of the clients has sent a ping."""
    living, silent = stage.client(), stage.client()
    create(living, "/living", flags=1)
    create(silent, "/silent", flags=1)
    stage.pass_ms(PAST_MS)
    ping(living)
    look(stage)
    stage.settle()
    assert lives(stage, living)
    assert not lives(stage, silent)
    assert set(stage.machine.tree.ephemerals) == {living.session_id}
    assert silent.transport.is_closing_now


def test_no_session_ends_before_the_loop_has_looked_at_the_sockets(stage: Stage) -> None:
    """The look that is under way may have begun before the deadline, so it does not count."""
    client = stage.client()
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.iterate()
    assert lives(stage, client)
    ping(client)
    stage.settle()
    assert lives(stage, client)


def test_a_session_that_is_not_past_its_deadline_is_left_alone(stage: Stage) -> None:
    client = stage.client(timeout_ms=5 * TICK_MS)
    stage.client()
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.settle()
    assert set(stage.machine.sessions.by_id) == {client.session_id}


def test_the_deadline_is_that_of_the_look_and_not_of_the_expiry(stage: Stage) -> None:
    """No look at the sockets has begun past a deadline that passes while others expire."""
    first, second = stage.client(), stage.client(timeout_ms=4 * TICK_MS)
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.pass_ms(PAST_MS)
    ping(second)
    stage.iterate()
    stage.settle()
    assert not lives(stage, first)
    assert lives(stage, second)


def test_a_connection_in_the_queue_of_the_scheduler_postpones_the_expiry(stage: Stage) -> None:
    """Its requests have arrived, and are not taken yet."""
    client = stage.client()
    stage.use_budget()
    client.send(OpCode.EXISTS, pack_ustring("/") + b"\0")
    client.deliver()
    assert client.connection.share.is_waiting
    stage.pass_ms(PAST_MS)
    stage.processor.local.sessions.expire_now()
    assert lives(stage, client)
    stage.settle()
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.settle()
    assert not lives(stage, client)


def test_a_connection_with_a_job_under_way_postpones_the_expiry(stage: Stage) -> None:
    """Nothing is read from its socket meanwhile, so a ping may be in it."""
    client = stage.client()
    create(client, "/big")
    for number in range(3 * LONG_LIST):
        stage.machine.tree.create(f"/big/{number}", "/big", b"", OPEN_ACL, 0, -1, 1, 0)
    client.send(OpCode.GET_CHILDREN, pack_ustring("/big") + b"\0")
    client.deliver()
    assert client.connection.has_job
    ping(client)
    stage.pass_ms(PAST_MS)
    stage.processor.local.sessions.expire_now()
    assert lives(stage, client)
    stage.settle()
    assert [reply.xid for reply in client.replies()] == [2, Xid.PING]
    stage.pass_ms(PAST_MS)
    stage.processor.local.sessions.expire_now()
    assert not lives(stage, client)


def test_a_connection_that_is_not_read_postpones_the_expiry_until_it_is_lost(
    stage: Stage,
) -> None:
    """Requests are held, for example during a restore."""
    client = stage.client()
    stage.processor.is_held = True
    client.send(OpCode.EXISTS, pack_ustring("/") + b"\0")
    stage.iterate()
    assert client.transport.is_paused
    stage.processor.is_held = False
    for _ in range(3):
        stage.pass_ms(PAST_MS)
        stage.processor.local.sessions.expire_now()
        assert lives(stage, client)
    client.connection.connection_lost(None)
    stage.pass_ms(PAST_MS)
    stage.processor.local.sessions.expire_now()
    assert not lives(stage, client)


def test_a_session_without_a_connection_expires(stage: Stage) -> None:
    client = stage.client()
    client.connection.connection_lost(None)
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.settle()
    assert not lives(stage, client)


def test_a_second_look_while_one_is_under_way_changes_nothing(stage: Stage) -> None:
    """The second one would otherwise use the sockets' look that only the first one waits for."""
    client = stage.client()
    stage.pass_ms(PAST_MS)
    for _ in range(3):
        look(stage)
    stage.settle()
    assert not lives(stage, client)
    other = stage.client()
    stage.pass_ms(PAST_MS)
    look(stage)
    stage.settle()
    assert not lives(stage, other)


class Watched:
    """Clients on a stage, and a model of which of them may lose their sessions.

    Attributes:
        may_end: the clients whose sockets a look past their deadline has found empty.
    """

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage = stage
        self.clients = [stage.client(chance.choice((2, 3, 5)) * TICK_MS) for _ in range(8)]
        self.may_end: set[StageClient] = set()

    def iterate(self) -> None:
        for client in self.clients:
            if client.socket or client.connection.is_behind:
                continue
            if not lives(self.stage, client) or self.expires_at_ms(client) <= self.stage.now_ms:
                self.may_end.add(client)
        self.stage.iterate()
        for client in self.clients:
            if lives(self.stage, client) and self.expires_at_ms(client) > self.stage.now_ms:
                self.may_end.discard(client)

    def expires_at_ms(self, client: StageClient) -> int:
        return self.stage.machine.sessions.by_id[client.session_id].expires_at_ms

    def check(self) -> None:
        for client in self.clients:
            assert lives(self.stage, client) or client in self.may_end


@pytest.mark.parametrize("seed", range(20))
def test_only_silent_clients_lose_their_sessions(seed: int) -> None:
    """The server stands still, is crowded and looks by chance; clients ping by chance.

    A session that has ended is that of a client whose socket a look past the deadline has found
    empty. In the end all clients are silent, and all sessions end.
    """
    chance = random.Random(seed)
    stage = Stage()
    watched = Watched(stage, chance)
    for _ in range(300):
        kind = chance.random()
        if kind < 0.4:
            ping(chance.choice(watched.clients))
        elif kind < 0.5:
            stage.pass_ms(chance.choice((100, TICK_MS, PAST_MS)))
        elif kind < 0.55:
            stage.use_budget()
        elif kind < 0.7:
            look(stage)
        else:
            watched.iterate()
        watched.check()
    stage.settle()
    for _ in range(3):
        stage.pass_ms(6 * TICK_MS)
        look(stage)
        stage.settle()
    assert not stage.machine.sessions.by_id
