"""The sessions of an observer: the leader decides about them, and the link limits their service."""

import pytest

from tests.support.observer_stage import (
    OTHER_SESSION,
    ObserverStage,
    create,
    get,
    new_client,
)
from tests.support.rawclient import connect_frame, framed
from tests.support.simulated import TICK_MS
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.requests import CloseSession, CreateSession
from zoolet.state_machine.sessions import password_of
from zoolet.wire.jute import INT, Reader, pack_ustring


@pytest.fixture
def stage() -> ObserverStage:
    return ObserverStage()


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


@pytest.mark.parametrize("is_new", [True, False])
def test_a_late_answer_of_the_leader_opens_no_session(stage: ObserverStage, is_new: bool) -> None:
    """The leader stood still, and another leader may have ended the session meanwhile."""
    client = stage.stranger()
    session = (0, bytes(16)) if is_new else (OTHER_SESSION, password_of(OTHER_SESSION))
    client.socket += connect_frame(3 * TICK_MS, *session)
    stage.settle()
    stage.pass_ms(TICK_MS)
    stage.processor.forwarded.leader.contact.heard(stage.now_ms)
    stage.leader.answer_all()
    assert client.transport.is_closing_now
    assert client.frames() == []


def test_a_leader_that_is_silent_is_not_asked(stage: ObserverStage) -> None:
    client = stage.stranger()
    stage.pass_ms(TICK_MS)
    client.socket += connect_frame(3 * TICK_MS, OTHER_SESSION, password_of(OTHER_SESSION))
    stage.settle()
    assert client.transport.is_closing_now
    assert not stage.leader.inbox


def test_each_turn_of_a_client_is_told_to_the_leader(stage: ObserverStage) -> None:
    """Also the first turn after an answer of the leader, which let a read continue."""
    writer, reader = new_client(stage), new_client(stage)
    writer.send(OpCode.CREATE, create("/a"))
    writer.send(OpCode.GET_DATA, get("/a"))
    stage.leader.answer_all()
    contact = stage.processor.forwarded.leader.contact
    contact.take_touched(stage.now_ms)
    reader.request(OpCode.PING)
    assert [session_id for session_id, _ in contact.take_touched(stage.now_ms)] == [
        reader.session_id
    ]


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
