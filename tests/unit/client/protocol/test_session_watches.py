"""The watches of a session, when connections are lost and sessions end."""

import pytest

from tests.support.client_peer import DATA_BODY, SESSION, Peer, untyped
from tests.support.fake_zookeeper import EXPIRED, granted, stat_of
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.states import SessionState
from zoolet.model.codes import AddWatchMode, EventType, OpCode
from zoolet.model.results import Event
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import pack_ustrings
from zoolet.wire.requests import decode_set_watches

CHILDREN_BODY = pack_ustrings(["b"]) + stat_of(3).pack()
"""The body of a reply to getChildren2."""


def test_a_one_shot_watch_gets_resynced_when_its_session_ends() -> None:
    peer = Peer("/app")
    peer.primed()
    peer.watched("/a")
    peer.session.disconnected()
    peer.connect_request()
    waiting = peer.start(peer.make.get("/b"))
    state, _, last = peer.delivered(peer.session.receive(EXPIRED))
    assert (state, last) == (SessionState.EXPIRED, waiting)
    assert [what.path for what in peer.notices] == ["/a"]
    assert not isinstance(peer.notices[0], Event)
    assert len(peer.session.watches) == 0
    peer.session.disconnected()
    peer.session.renew()
    peer.connect()
    assert peer.session.data_to_send() == b""
    assert peer.event(EventType.NODE_DELETED, "/app/a") == []


@pytest.mark.parametrize("ends", [False, True])
def test_a_persistent_watch_gets_resynced_after_the_reply_to_set_watches(ends: bool) -> None:
    peer = Peer()
    peer.primed()
    add = peer.start(peer.make.add_watch("/a", AddWatchMode.PERSISTENT, peer.notices.append))
    peer.session.data_to_send()
    peer.reply(add)
    peer.session.disconnected()
    if ends:
        peer.connect_request()
        assert peer.delivered(peer.session.receive(EXPIRED)) == [SessionState.EXPIRED]
        peer.session.disconnected()
        peer.session.renew()
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.SET_WATCHES2]
    assert peer.notices == []
    peer.event(EventType.NODE_CREATED, "/a")
    assert len(peer.notices) == 1
    peer.delivered(peer.session.receive(encode_reply(-8, 6, 0)))
    assert len(peer.notices) == 2
    assert not isinstance(peer.notices[1], Event)
    with pytest.raises(ProtocolError, match="no setWatches"):
        peer.session.receive(encode_reply(-8, 6, 0))


def test_resynced_comes_after_the_last_of_several_set_watches() -> None:
    peer = Peer()
    peer.primed()
    paths = ["/" + letter * 100_000 for letter in "abc"]
    for path in paths:
        add = peer.start(peer.make.add_watch(path, AddWatchMode.PERSISTENT, peer.notices.append))
        peer.session.data_to_send()
        peer.reply(add)
    peer.session.disconnected()
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.SET_WATCHES2] * 3
    reply = encode_reply(-8, 6, 0)
    assert peer.session.receive(reply + reply) == []
    peer.session.disconnected()  # before the last reply
    peer.primed()
    assert peer.session.receive(reply + reply) == []
    peer.delivered(peer.session.receive(reply))
    assert [what.path for what in peer.notices] == paths


def test_a_watch_that_is_removed_before_the_reply_to_set_watches() -> None:
    peer = Peer()
    peer.primed()
    add = peer.start(peer.make.add_watch("/a", AddWatchMode.PERSISTENT, peer.notices.append))
    peer.session.data_to_send()
    peer.reply(add)
    peer.session.disconnected()
    peer.primed()
    assert add.watcher is not None
    peer.session.watches.discard(add.watcher)
    assert peer.session.receive(encode_reply(-8, 6, 0)) == []


def test_a_watch_that_is_added_while_the_connection_is_lost() -> None:
    peer = Peer()
    peer.primed()
    peer.session.disconnected()
    add = peer.start(peer.make.add_watch("/a", AddWatchMode.PERSISTENT, peer.notices.append))
    get = peer.start(peer.make.get("/b", peer.notices.append))
    assert len(peer.session.watches) == 0
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.ADD_WATCH, OpCode.GET_DATA]
    peer.reply(add)
    peer.reply(get, DATA_BODY)
    assert len(peer.session.watches) == 2
    assert peer.notices == []


def test_a_server_that_does_not_set_the_watches_again() -> None:
    """The client must not stay on a connection that loses events."""
    peer = Peer()
    peer.primed()
    peer.watched("/a")
    peer.session.disconnected()
    peer.primed()
    with pytest.raises(ProtocolError, match="did not set the watches again"):
        peer.session.receive(encode_reply(-8, 6, -127))
    peer.session.disconnected()
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.SET_WATCHES]


def test_a_txn_with_several_changes_loses_no_event() -> None:
    """The first event has the zxid of the txn, but the second event of the txn may be lost."""
    peer = Peer()
    peer.primed()
    peer.watched("/a")
    peer.watched("/b")
    peer.event(EventType.NODE_DATA_CHANGED, "/a", 90)
    peer.session.disconnected()
    assert peer.connect_request().last_zxid_seen == 90
    peer.session.receive(granted(SESSION))
    [(_, op_code, reader)] = peer.sent()
    assert op_code is OpCode.SET_WATCHES
    wanted = decode_set_watches(reader)
    assert wanted.data_watches == ("/b",)
    assert wanted.relative_zxid == 5  # the zxid of the last reply


def test_the_watch_of_exists_depends_on_the_znode() -> None:
    peer = Peer()
    peer.primed()
    there = peer.start(peer.make.exists("/a", peer.notices.append))
    missing = peer.start(peer.make.exists("/b", peer.notices.append))
    failed = peer.start(peer.make.get("/c", peer.notices.append))
    peer.session.data_to_send()
    peer.reply(there, stat_of(1).pack())
    peer.reply(missing, err=-101)
    peer.reply(failed, err=-101)
    peer.session.disconnected()
    peer.connect()
    [(_, _, reader)] = peer.sent()
    wanted = decode_set_watches(reader)
    assert (wanted.data_watches, wanted.exist_watches) == (("/a",), ("/b",))


def test_the_watch_of_a_call_that_is_given_up_is_removed_at_the_server() -> None:
    peer = Peer("/app")
    peer.primed()
    dropped = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    peer.session.drop(untyped(dropped))
    assert peer.session.receive(encode_reply(dropped.xid, 5, 0, DATA_BODY)) == []
    [(xid, op_code, body)] = peer.sent()
    assert (op_code, body.read_ustring()) == (OpCode.REMOVE_WATCHES, "/app/a")
    assert peer.session.outstanding_bytes == 0
    call = peer.start(peer.make.get("/b"))
    assert peer.sent_op_codes() == [OpCode.GET_DATA]
    assert peer.session.receive(encode_reply(xid, 5, -121)) == []
    peer.reply(call, DATA_BODY)
    assert not peer.session.has_outstanding


@pytest.mark.parametrize("follows", [False, True])
def test_a_watch_that_another_call_wants_stays(follows: bool) -> None:
    peer = Peer()
    peer.primed()
    if not follows:
        peer.watched()
    dropped = peer.start(peer.make.children("/a", peer.notices.append))
    if follows:
        wanted = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    peer.session.drop(untyped(dropped))
    peer.session.receive(encode_reply(dropped.xid, 5, -101))
    assert peer.sent() == []
    if follows:
        peer.reply(wanted, DATA_BODY)
    assert len(peer.session.watches) == 1


def test_a_watch_is_not_removed_without_a_connection() -> None:
    peer = Peer()
    peer.primed()
    watcher = peer.watched().watcher
    assert watcher is not None
    peer.session.disconnected()
    peer.session.abandon(watcher)
    peer.primed()
    assert len(peer.session.watches) == 0
    assert peer.sent() == []


def test_a_watch_that_is_needed_no_more_is_removed_when_the_other_call_fails() -> None:
    peer = Peer()
    peer.primed()
    dropped = peer.start(peer.make.children("/a", peer.notices.append))
    other = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    peer.session.drop(untyped(dropped))
    assert peer.session.receive(encode_reply(dropped.xid, 5, 0, CHILDREN_BODY)) == []
    assert peer.sent() == []
    peer.reply(other, err=-101)
    assert peer.sent_op_codes() == [OpCode.REMOVE_WATCHES]


def test_a_watch_that_is_needed_no_more_is_removed_with_the_last_watcher() -> None:
    peer = Peer()
    peer.primed()
    watched = peer.watched("/a").watcher
    dropped = peer.start(peer.make.children("/a", peer.notices.append))
    peer.session.data_to_send()
    peer.session.drop(untyped(dropped))
    assert peer.session.receive(encode_reply(dropped.xid, 5, 0, CHILDREN_BODY)) == []
    assert peer.sent() == []
    assert watched is not None
    peer.event(EventType.NODE_DATA_CHANGED, "/a")
    assert peer.sent_op_codes() == [OpCode.REMOVE_WATCHES]


def test_a_discarded_watcher_leaves_the_watch_to_a_call_on_its_way() -> None:
    """A removal after that call would remove its watch, and its events would be lost."""
    peer = Peer()
    peer.primed()
    mode = AddWatchMode.PERSISTENT
    first = peer.start(peer.make.add_watch("/a", mode, peer.notices.append))
    peer.session.data_to_send()
    peer.reply(first)
    second = peer.start(peer.make.add_watch("/a", mode, peer.notices.append))
    peer.session.data_to_send()
    assert first.watcher is not None
    assert second.watcher is not None
    assert not peer.session.discard(first.watcher)
    peer.reply(second)
    assert peer.sent() == []
    peer.event(EventType.NODE_DATA_CHANGED, "/a")
    assert len(peer.notices) == 1
    assert peer.session.discard(second.watcher)


def test_the_watch_of_a_failed_call_is_removed_after_another_was_discarded() -> None:
    peer = Peer()
    peer.primed()
    mode = AddWatchMode.PERSISTENT
    first = peer.start(peer.make.add_watch("/a", mode, peer.notices.append))
    peer.session.data_to_send()
    peer.reply(first)
    second = peer.start(peer.make.add_watch("/a", mode, peer.notices.append))
    peer.session.data_to_send()
    assert first.watcher is not None
    assert not peer.session.discard(first.watcher)
    peer.reply(second, err=-4)
    assert peer.sent_op_codes() == [OpCode.REMOVE_WATCHES]
