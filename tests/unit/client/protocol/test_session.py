"""A session on good connections: the handshake, logins, calls, and the reading of frames."""

import pytest

from tests.support.client_peer import DATA_BODY, SESSION, Peer, untyped
from tests.support.fake_zookeeper import EXPIRED, frames_of, granted, stat_of
from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    NoNodeError,
    ProtocolError,
    SessionExpiredError,
)
from zoolet.client.protocol.calls import ENDED, SENT
from zoolet.client.protocol.session import ClientSession
from zoolet.client.protocol.session_id import NO_SESSION, SessionId
from zoolet.client.protocol.states import SessionState
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, EventType, OpCode
from zoolet.model.requests import Connect
from zoolet.model.results import Created, Event, ZnodeData
from zoolet.wire.frames import encode_connected, encode_reply
from zoolet.wire.jute import pack_buffer, pack_ustring, pack_ustrings
from zoolet.wire.requests import decode_auth, read_path_watch

PING_REPLY = encode_reply(-2, 5, 0)
LOGIN_REPLY = encode_reply(-4, 0, 0)
REFUSED_LOGIN = encode_reply(-4, 0, -115)


def test_the_handshake() -> None:
    peer = Peer()
    assert peer.connect_request() == Connect(0, 0, 9000, 0, bytes(16), False, True)
    assert not peer.session.is_served
    frame = granted(SESSION, timeout_ms=4000, password=b"secret")
    assert peer.session.receive(frame) == [SessionState.CONNECTED]
    assert peer.session.session == SessionId(SESSION, b"secret")
    assert peer.session.timeout_ms == 4000
    assert peer.session.data_to_send() == b""


def test_a_server_before_3_4_says_nothing_of_read_only() -> None:
    peer = Peer()
    peer.session.connected()
    frame = encode_connected(4000, 7, b"p", has_read_only=False)
    assert peer.session.receive(frame) == [SessionState.CONNECTED]


def test_the_next_connection_resumes_the_session() -> None:
    peer = Peer()
    peer.primed()
    call = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    peer.reply(call, DATA_BODY, zxid=55)
    assert peer.session.disconnected() == [SessionState.SUSPENDED]
    wanted = Connect(0, 55, 9000, SESSION, b"p" * 16, False, True)
    assert peer.connect_request() == wanted


def test_a_session_of_another_client_is_resumed() -> None:
    peer = Peer(resumed=SessionId(99, b"q"))
    assert peer.connect_request() == Connect(0, 0, 9000, 99, b"q", False, True)
    peer.session.receive(granted(99, password=b"q"))
    assert peer.session.session == SessionId(99, b"q")


def test_a_resumed_session_may_have_expired() -> None:
    peer = Peer(resumed=SessionId(99, b"q"))
    peer.session.connected()
    assert peer.session.receive(EXPIRED) == [SessionState.EXPIRED]
    peer.session.disconnected()
    peer.session.renew()
    assert peer.connect_request().session_id == 0


def test_another_session_after_the_end_of_one() -> None:
    peer = Peer()
    peer.session.connected()
    peer.session.receive(granted(7, timeout_ms=4000))
    peer.session.disconnected()
    peer.session.connected()
    assert peer.session.receive(EXPIRED) == [SessionState.EXPIRED]
    peer.session.disconnected()
    assert peer.session.renew() == [SessionState.CONNECTING]
    assert peer.session.session == NO_SESSION
    assert peer.session.timeout_ms == 9000
    assert peer.connect_request() == Connect(0, 0, 9000, 0, bytes(16), False, True)


def test_calls_and_logins_after_the_end_wait_for_another_session() -> None:
    peer = Peer(renews=True)
    peer.primed()
    sent = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    peer.session.disconnected()
    assert isinstance(sent.error, ConnectionLossError)
    waiting = peer.start(peer.make.get("/b"))
    peer.session.connected()
    assert peer.session.receive(EXPIRED) == [SessionState.EXPIRED, untyped(waiting)]
    assert isinstance(waiting.error, SessionExpiredError)
    assert not peer.session.has_ended
    late, login = peer.start(peer.make.get("/c")), peer.login()
    assert peer.session.disconnected() == []
    assert peer.session.renew() == [SessionState.CONNECTING]
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.AUTH, OpCode.GET_DATA]
    assert peer.session.receive(encode_reply(-4, 1, 0)) == [untyped(login)]
    peer.reply(late, DATA_BODY)


def test_calls_that_wait_for_another_session_end_with_the_client() -> None:
    peer = Peer(renews=True)
    peer.session.connected()
    peer.session.receive(EXPIRED)
    call = peer.start(peer.make.get("/a"))
    close = untyped(peer.make.close())
    assert peer.session.close(close) == [SessionState.CLOSED, untyped(call), close]
    assert isinstance(call.error, ClientClosedError)
    assert peer.session.has_ended


def test_the_replies_of_a_connection_are_noted() -> None:
    peer = Peer()
    peer.connect()
    peer.login()
    peer.session.receive(encode_reply(-4, 1, 0))
    replied = [peer.session.has_replied]
    call = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    peer.reply(call, DATA_BODY)
    peer.session.disconnected()
    replied.append(peer.session.has_replied)
    peer.connect()
    replied.append(peer.session.has_replied)
    assert replied == [False, True, False]


def test_the_session_of_a_read_only_server_is_not_asked_for_elsewhere() -> None:
    """Only servers with a quorum know a session (``ClientCnxn.primeConnection``)."""
    peer = Peer(takes_read_only=True)
    assert peer.connect_request().read_only
    assert peer.session.receive(granted(66, read_only=True)) == [SessionState.READ_ONLY]
    peer.session.disconnected()
    assert peer.connect_request() == Connect(0, 0, 9000, 0, bytes(16), True, True)
    assert peer.session.receive(granted(77)) == [SessionState.CONNECTED]
    peer.session.disconnected()
    assert peer.connect_request().session_id == 77
    peer.session.receive(granted(77, read_only=True))
    peer.session.disconnected()
    assert peer.connect_request().session_id == 77
    peer.session.receive(EXPIRED)
    peer.session.disconnected()
    peer.session.renew()
    assert peer.connect(read_only=True) == [SessionState.READ_ONLY]
    peer.session.disconnected()
    assert peer.connect_request().session_id == 0


def test_calls_before_the_grant_are_sent_after_logins() -> None:
    peer = Peer()
    first = peer.start(peer.make.get("/a"))
    peer.login()
    peer.session.connected()
    second = peer.start(peer.make.exists("/b"))
    peer.session.ping()
    assert len(frames_of(peer.session.data_to_send())) == 1  # the connect request
    peer.session.receive(granted(SESSION))
    sent = peer.sent()
    assert [op_code for _, op_code, _ in sent] == [OpCode.AUTH, OpCode.GET_DATA, OpCode.EXISTS]
    assert [xid for xid, _, _ in sent] == [-4, first.xid, second.xid]
    assert read_path_watch(sent[1][2]) == ("/a", False)
    assert first.phase == second.phase == SENT


def test_each_connection_sends_logins_then_watches_then_calls() -> None:
    peer = Peer()
    peer.login(b"a:1")
    peer.primed()
    peer.session.receive(LOGIN_REPLY)
    peer.watched()
    peer.session.disconnected()
    peer.start(peer.make.get("/b"))
    peer.login(b"b:2")
    peer.connect()
    sent = peer.sent()
    expected = [OpCode.AUTH, OpCode.AUTH, OpCode.SET_WATCHES, OpCode.GET_DATA]
    assert [op_code for _, op_code, _ in sent] == expected
    assert [decode_auth(reader).auth for _, _, reader in sent[:2]] == [b"a:1", b"b:2"]


def test_a_login_ends_with_its_own_reply() -> None:
    """Logins are sent again on each connection; the replies to the old ones come first."""
    peer = Peer()
    before = peer.login(b"1")
    peer.primed()
    peer.session.receive(LOGIN_REPLY)
    assert before.phase == ENDED
    lost = peer.login(b"2")
    peer.session.data_to_send()
    peer.session.disconnected()
    assert lost.phase == SENT
    while_lost = peer.login(b"3")
    peer.primed()
    after = peer.login(b"4")
    assert peer.session.receive(LOGIN_REPLY) == []
    peer.session.disconnected()  # again, while one of four logins has its reply
    peer.primed()
    assert peer.session.receive(LOGIN_REPLY) == []
    assert peer.session.receive(LOGIN_REPLY) == [lost]
    assert peer.session.receive(LOGIN_REPLY + LOGIN_REPLY) == [while_lost, after]
    with pytest.raises(ProtocolError, match="no login"):
        peer.session.receive(LOGIN_REPLY)


def test_a_refused_login_ends_everything() -> None:
    peer = Peer()
    peer.primed()
    sent = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    waiting = peer.start(peer.make.get("/b"))
    refused, second = peer.login(b"1"), peer.login(b"2")
    outcomes = peer.session.receive(REFUSED_LOGIN + encode_reply(sent.xid, 5, 0, DATA_BODY))
    assert outcomes == [refused, SessionState.AUTH_FAILED, sent, waiting, second]
    assert isinstance(sent.error, ConnectionLossError)
    for call in (refused, second, waiting):
        assert isinstance(call.error, AuthFailedError)
    assert not peer.session.has_outstanding
    assert peer.session.outstanding_bytes == 0
    assert peer.session.disconnected() == []


def test_a_login_that_was_refused_after_a_reconnect() -> None:
    peer = Peer()
    peer.login()
    peer.primed()
    peer.session.receive(LOGIN_REPLY)
    peer.session.disconnected()
    peer.primed()
    assert peer.session.receive(REFUSED_LOGIN) == [SessionState.AUTH_FAILED]


def test_a_scheme_without_utf8_is_refused_at_once() -> None:
    peer = Peer()
    with pytest.raises(UnicodeEncodeError):
        peer.session.login(untyped(peer.make.login()), "\ud800", b"")
    peer.primed()
    assert peer.session.data_to_send() == b""
    assert not peer.session.has_outstanding


def test_a_login_that_was_never_sent_does_not_report_a_lost_connection() -> None:
    peer = Peer()
    login, call = peer.login(), peer.make.close()
    assert peer.session.close(untyped(call)) == [SessionState.CLOSED, login, call]
    assert isinstance(login.error, ClientClosedError)
    assert call.error is None


def test_a_ping_is_sent_only_to_a_server() -> None:
    peer = Peer()
    peer.session.ping()
    assert peer.session.data_to_send() == b""
    peer.primed()
    peer.session.ping()
    assert peer.sent_op_codes() == [OpCode.PING]
    assert peer.session.receive(PING_REPLY) == []
    assert peer.session.last_zxid == 5


def test_the_chroot_is_in_no_result_and_no_event() -> None:
    peer = Peer("/app")
    peer.primed()
    got = peer.watched("/")
    assert got.watcher is not None
    assert got.watcher.path == "/app"
    create = peer.start(peer.make.create("/a", b"", CreateMode.PERSISTENT, OPEN_ACL, 0))
    ephemerals = peer.start(peer.make.ephemerals("/"))
    xids = {op_code: reader for _, op_code, reader in peer.sent()}
    assert xids[OpCode.CREATE2].read_ustring() == "/app/a"
    assert xids[OpCode.GET_EPHEMERALS].read_ustring() == "/app"
    stat = stat_of(4)
    peer.reply(create, pack_ustring("/app/a") + stat.pack())
    assert create.result == Created("/a", stat)
    peer.reply(ephemerals, pack_ustrings(["/app/a", "/app", "/application/x"]))
    assert ephemerals.result == ("/a", "/")
    peer.event(EventType.NODE_CREATED, "/app/other")
    assert peer.notices == []
    peer.event(EventType.NODE_DATA_CHANGED, "/app")
    assert peer.notices == [Event(EventType.NODE_DATA_CHANGED, "/", 6)]


def test_replies_cut_at_every_byte() -> None:
    body = pack_ustring("/a") + stat_of(4).pack()
    for cut in range(1, 3 * (20 + len(body))):
        peer = Peer()
        peer.primed()
        calls = [
            untyped(peer.start(peer.make.create("/a", b"", CreateMode.PERSISTENT, OPEN_ACL, 0)))
            for _ in range(3)
        ]
        peer.session.data_to_send()
        data = b"".join(encode_reply(call.xid, 9, 0, body) for call in calls)
        found = peer.session.receive(data[:cut]) + peer.session.receive(data[cut:])
        assert found == calls
        assert all(isinstance(call.result, Created) for call in calls)


def test_replies_byte_by_byte_and_all_at_once() -> None:
    for step in (1, 2, 3, 5, 1000):
        peer = Peer()
        calls = [untyped(peer.start(peer.make.get("/a"))) for _ in range(3)]
        peer.session.connected()
        data = granted(SESSION)
        data += b"".join(encode_reply(call.xid, 9, 0, DATA_BODY) for call in calls)
        handshake, rest = data[:41], data[41:]
        found = peer.session.receive(handshake)
        assert found == [SessionState.CONNECTED]
        peer.session.data_to_send()
        found = []
        for start in range(0, len(rest), step):
            found += peer.session.receive(rest[start : start + step])
            found += peer.session.receive(b"")
        assert found == calls


def test_a_huge_frame_in_many_pieces_is_joined_once() -> None:
    peer = Peer()
    peer.primed()
    call = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    size = 4 << 20
    body = pack_buffer(bytes(size)) + stat_of(1).pack()
    frame = encode_reply(call.xid, 5, 0, body)
    kept = []
    for start in range(0, len(frame) - 1, 1024):
        piece = frame[start : min(start + 1024, len(frame) - 1)]
        assert peer.session.receive(piece) == []
        # Nothing is joined before the end: the pieces are kept as they came.
        kept.append(len(peer.session._received._pieces))
    assert kept == list(range(1, len(kept) + 1))
    assert peer.session.receive(frame[-1:]) == [call]
    assert call.result == ZnodeData(bytes(size), stat_of(1))
    assert peer.session._received._pieces == []


def test_the_window_of_outstanding_bytes() -> None:
    peer = Peer(window_bytes=100)
    peer.primed()
    calls = [peer.start(peer.make.set("/a", bytes(30), -1)) for _ in range(5)]
    size = calls[0].size_bytes
    assert 50 < size < 100
    assert [xid for xid, _, _ in peer.sent()] == [calls[0].xid, calls[1].xid]
    assert peer.session.outstanding_bytes == 2 * size
    assert peer.session.data_to_send() == b""
    peer.reply(calls[0], stat_of(1).pack())
    assert peer.session.outstanding_bytes == size
    assert [xid for xid, _, _ in peer.sent()] == [calls[2].xid]
    peer.session.expire(untyped(calls[1]))
    assert peer.session.outstanding_bytes == 2 * size  # the server still has to reply
    assert peer.session.receive(encode_reply(calls[1].xid, 5, -101)) == []
    peer.reply(calls[2], stat_of(1).pack())
    assert len(peer.sent()) == 2
    peer.session.disconnected()
    assert peer.session.outstanding_bytes == 0
    assert all(call.frame == b"" for call in calls)


def test_one_call_may_be_larger_than_the_window() -> None:
    peer = Peer(window_bytes=1)
    peer.primed()
    call = peer.start(peer.make.set("/a", bytes(3000), -1))
    assert len(peer.sent()) == 1
    peer.reply(call, stat_of(1).pack())


def test_an_error_of_a_reply_is_that_of_its_call() -> None:
    peer = Peer()
    peer.primed()
    first, second = peer.start(peer.make.get("/a")), peer.start(peer.make.get("/b"))
    peer.session.data_to_send()
    outcomes = peer.session.receive(
        encode_reply(first.xid, 5, -101) + encode_reply(second.xid, 6, 0, DATA_BODY)
    )
    assert outcomes == [first, second]
    assert isinstance(first.error, NoNodeError)
    assert (first.error.path, first.error.request) == ("/a", "get")
    assert second.error is None
    assert second.result is not None
    assert second.phase == ENDED


def test_has_outstanding() -> None:
    peer = Peer()
    found = [peer.session.has_outstanding]
    call = peer.start(peer.make.get("/a"))
    found.append(peer.session.has_outstanding)
    peer.primed()
    found.append(peer.session.has_outstanding)
    peer.reply(call, DATA_BODY)
    found.append(peer.session.has_outstanding)
    login = peer.login()
    found.append(peer.session.has_outstanding)
    peer.session.drop(untyped(login))
    found.append(peer.session.has_outstanding)
    assert found == [False, True, True, False, True, False]


def test_a_session_has_the_wanted_timeout_before_a_grant() -> None:
    assert ClientSession(1234).timeout_ms == 1234
