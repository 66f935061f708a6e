"""A session with lost connections, invalid bytes, calls that the program gives up, and its end."""

from collections.abc import Callable

import pytest

from tests.support.client_peer import DATA_BODY, Peer, untyped
from tests.support.fake_zookeeper import EXPIRED, granted
from zoolet.client.errors import (
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    ProtocolError,
    SessionExpiredError,
)
from zoolet.client.protocol.calls import DROPPED, ENDED, WAITS, Call
from zoolet.client.protocol.states import SessionState
from zoolet.model.codes import EventType, OpCode, WatcherType
from zoolet.model.results import Event
from zoolet.wire.frames import encode_reply
from zoolet.wire.replies import encode_event

# Invalid bytes.

NEGATIVE_LENGTH = b"\xff\xff\xff\xfe"
INVALID = {
    "a negative length": NEGATIVE_LENGTH,
    "a reply without a header": b"\0\0\0\x03abc",
    "an empty frame": b"\0\0\0\0",
    "a reply to another request": encode_reply(77, 1 << 62, 0),
    "a reply to no login": encode_reply(-4, 1 << 62, 0),
    "a reply to no setWatches": encode_reply(-8, 1 << 62, 0),
    "an event without a body": encode_reply(-1, 1 << 62, 0),
    "an event without a path": encode_reply(-1, 1 << 62, 0, b"\0\0\0\1\0\0\0\3\xff\xff\xff\xff"),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(1 << 12),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_bytes(name: str) -> None:
    peer = Peer()
    peer.primed()
    call = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    if name == "HTTP":  # its first four bytes are a length that is possible
        assert peer.session.receive(INVALID[name]) == []
    else:
        with pytest.raises(ProtocolError):
            peer.session.receive(INVALID[name])
    assert peer.session.last_zxid == 0, (
        "a zxid from invalid bytes keeps the client from all servers"
    )
    assert peer.session.disconnected() == [SessionState.SUSPENDED, call]
    assert isinstance(call.error, ConnectionLossError)
    assert peer.connect() == [SessionState.CONNECTED]


def test_a_server_of_another_protocol() -> None:
    """The first bytes are the length of a frame that is possible only after the grant."""
    peer = Peer()
    peer.session.connected()
    peer.session.data_to_send()
    with pytest.raises(ProtocolError, match="a frame of 1213486160 bytes"):
        peer.session.receive(INVALID["HTTP"])


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\x05abc", b"\0\0\0\0" + bytes(67), b"\xff\xff\xff\xfd" + bytes(68)]
)
def test_an_invalid_body_leaves_the_call_outstanding(body: bytes) -> None:
    peer = Peer()
    peer.primed()
    call = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    with pytest.raises(ProtocolError, match="invalid reply"):
        peer.session.receive(encode_reply(call.xid, 5, 0, body))
    assert peer.session.outstanding_bytes == call.size_bytes
    assert call.result is None
    assert peer.session.disconnected() == [SessionState.SUSPENDED, call]
    assert len(peer.session.watches) == 0


def test_a_reply_to_nothing() -> None:
    peer = Peer()
    peer.primed()
    with pytest.raises(ProtocolError, match="no request"):
        peer.session.receive(encode_reply(1, 5, 0))


@pytest.mark.parametrize("frame", [b"\0\0\0\0", b"\0\0\0\x10" + bytes(16), NEGATIVE_LENGTH])
def test_invalid_bytes_instead_of_a_grant(frame: bytes) -> None:
    peer = Peer()
    peer.connect_request()
    with pytest.raises(ProtocolError):
        peer.session.receive(frame)
    assert peer.session.disconnected() == []
    assert peer.session.state is SessionState.CONNECTING


@pytest.mark.parametrize("invalid", [NEGATIVE_LENGTH, encode_reply(77, 9, 0)])
def test_the_outcomes_before_invalid_bytes_are_not_lost(invalid: bytes) -> None:
    peer = Peer()
    peer.primed()
    watch = peer.watched("/a")
    first, second = peer.start(peer.make.get("/b")), peer.start(peer.make.get("/c"))
    login = peer.login()
    peer.session.data_to_send()
    data = encode_reply(-4, 0, 0) + encode_event(EventType.NODE_DELETED, "/a", 7)
    data += encode_reply(first.xid, 8, 0, DATA_BODY)
    with pytest.raises(ProtocolError):
        peer.session.receive(data + invalid)
    login_, notice, first_, *rest = peer.delivered(peer.session.disconnected())
    assert (login_, first_, rest) == (login, first, [SessionState.SUSPENDED, second])
    assert getattr(notice, "watcher", None) is watch.watcher
    assert peer.notices == [Event(EventType.NODE_DELETED, "/a", 7)]
    assert first.error is None
    assert peer.session.disconnected() == []


def test_a_grant_before_invalid_bytes() -> None:
    peer = Peer()
    peer.connect_request()
    with pytest.raises(ProtocolError):
        peer.session.receive(granted(7) + NEGATIVE_LENGTH)
    expected = [SessionState.CONNECTED, SessionState.SUSPENDED]
    assert peer.session.disconnected() == expected
    assert peer.connect_request().session_id == 7


def test_a_part_of_a_frame_is_forgotten_with_its_connection() -> None:
    for part in (b"\0", b"\0\0\0\x20", b"\0\0\1\0" + bytes(100)):
        peer = Peer()
        peer.primed()
        peer.session.receive(part)
        peer.session.disconnected()
        peer.primed()
        call = peer.start(peer.make.get("/a"))
        peer.session.data_to_send()
        peer.reply(call, DATA_BODY)
        peer.session.disconnected()


# Calls that the program gives up.


@pytest.mark.parametrize("gives_up", ["drop", "expire"])
def test_giving_up_a_call_that_waits(gives_up: str) -> None:
    peer = Peer()
    call, other = peer.start(peer.make.get("/a")), peer.start(peer.make.get("/b"))
    if gives_up == "drop":
        assert peer.session.drop(untyped(call))
        assert call.phase == DROPPED
    else:
        peer.session.expire(untyped(call))
        assert isinstance(call.error, DeadlineError)
        assert "not sent" in str(call.error)
    peer.connect()
    assert [xid for xid, _, _ in peer.sent()] == [other.xid]
    peer.reply(other, DATA_BODY)
    assert not peer.session.has_outstanding


@pytest.mark.parametrize("err", [0, -101])
@pytest.mark.parametrize("gives_up", ["drop", "expire"])
def test_giving_up_a_call_that_was_sent(gives_up: str, err: int) -> None:
    peer = Peer()
    peer.primed()
    call = peer.start(peer.make.get("/a", peer.notices.append))
    peer.session.data_to_send()
    if gives_up == "drop":
        assert not peer.session.drop(untyped(call))
    else:
        peer.session.expire(untyped(call))
        assert "not sent" not in str(call.error)
    body = b"" if err else DATA_BODY
    assert peer.session.receive(encode_reply(call.xid, 5, err, body)) == []
    assert call.result is None
    assert len(peer.session.watches) == 0
    assert peer.session.outstanding_bytes == 0
    assert peer.session.last_zxid == 5


def test_giving_up_a_call_that_has_ended_changes_nothing() -> None:
    peer = Peer()
    peer.primed()
    call = peer.watched()
    assert not peer.session.drop(call)
    peer.session.expire(call)
    assert call.phase == ENDED
    assert call.error is None


def test_calls_that_were_given_up_do_not_end_again() -> None:
    peer = Peer()
    peer.primed()
    calls = [untyped(peer.start(peer.make.get("/a"))) for _ in range(4)]
    peer.session.data_to_send()
    waiting = [untyped(peer.start(peer.make.get("/a"))) for _ in range(4)]
    for listed in (calls, waiting):
        peer.session.drop(listed[0])
        peer.session.expire(listed[1])
    assert peer.session.disconnected() == [SessionState.SUSPENDED, calls[2], calls[3]]
    peer.connect_request()
    assert peer.session.receive(EXPIRED) == [SessionState.EXPIRED, waiting[2], waiting[3]]
    assert isinstance(waiting[2].error, SessionExpiredError)


def test_calls_that_are_given_up_without_a_connection_are_forgotten() -> None:
    peer = Peer()
    for second in range(1, 100):
        call = peer.start(peer.make.get("/a"))
        call.deadline_s = float(second)
        for overdue in peer.session.overdue(second - 0.5):
            peer.session.expire(overdue)
        assert peer.session.next_deadline_s() == second
        assert len(peer.session._waiting) <= 2


def test_deadlines() -> None:
    peer = Peer()
    assert peer.session.next_deadline_s() == 0.0
    peer.primed()
    sent = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    waiting, login = peer.start(peer.make.get("/b")), peer.login()
    endless = peer.start(peer.make.get("/c"))
    sent.deadline_s, waiting.deadline_s, login.deadline_s = 3.0, 2.0, 1.0
    assert peer.session.next_deadline_s() == 1.0
    assert peer.session.overdue(0.5) == []
    assert peer.session.overdue(1.0) == [login]
    assert peer.session.overdue(3.0) == [waiting, sent, login]
    for call in (untyped(sent), untyped(waiting), untyped(login)):
        peer.session.expire(call)
    assert peer.session.overdue(99.0) == []
    assert peer.session.next_deadline_s() == 0.0
    assert endless.phase == WAITS


def test_an_expired_login_stays_among_the_logins() -> None:
    peer = Peer()
    peer.primed()
    expired, other = peer.login(b"1"), peer.login(b"2")
    peer.session.expire(untyped(expired))
    assert isinstance(expired.error, DeadlineError)
    assert peer.session.receive(encode_reply(-4, 0, 0)) == []
    assert peer.session.receive(encode_reply(-4, 0, 0)) == [other]
    peer.session.disconnected()
    peer.connect()
    assert peer.sent_op_codes() == [OpCode.AUTH, OpCode.AUTH]


def test_removed_watches_are_gone_even_if_nobody_waits() -> None:
    """The server has removed them, so that the table must not contain them."""
    peer = Peer()
    peer.primed()
    peer.watched("/a")
    for err, left in ((-121, 1), (0, 0)):
        call = peer.start(peer.make.remove_watches("/a", WatcherType.ANY))
        peer.session.data_to_send()
        peer.session.expire(untyped(call))
        peer.session.receive(encode_reply(call.xid, 5, err))
        assert len(peer.session.watches) == left


# The end of a session.


def all_calls(peer: Peer) -> tuple[Call[object], Call[object]]:
    """Return a call that was sent and a call that waits."""
    sent = peer.start(peer.make.get("/a"))
    peer.session.data_to_send()
    return untyped(sent), untyped(peer.start(peer.make.get("/b")))


def test_a_lost_connection_ends_only_what_was_sent() -> None:
    peer = Peer()
    peer.primed()
    sent, waiting = all_calls(peer)
    assert peer.session.disconnected() == [SessionState.SUSPENDED, sent]
    assert isinstance(sent.error, ConnectionLossError)
    peer.connect()
    assert [xid for xid, _, _ in peer.sent()] == [waiting.xid]


def test_close_with_a_reply() -> None:
    peer = Peer()
    peer.primed()
    first = peer.start(peer.make.get("/a"))
    close = peer.make.close()
    assert peer.session.close(untyped(close)) == []
    assert peer.sent_op_codes() == [OpCode.GET_DATA, OpCode.CLOSE_SESSION]
    behind = peer.start(peer.make.get("/b"))
    outcomes = peer.session.receive(
        encode_reply(first.xid, 5, 0, DATA_BODY) + encode_reply(close.xid, 5, 0)
    )
    assert outcomes == [first, close, SessionState.CLOSED, behind]
    assert isinstance(behind.error, ClientClosedError)
    assert close.error is None
    assert peer.session.disconnected() == []


Fault = Callable[[Peer, Call[object]], object]


def sent_and_dropped(peer: Peer, close: Call[object]) -> None:
    peer.session.data_to_send()
    peer.session.drop(close)


def sent_and_expired(peer: Peer, close: Call[object]) -> None:
    peer.session.data_to_send()
    peer.session.expire(close)


CLOSES: dict[str, Fault] = {
    "nothing": lambda _peer, _close: None,
    "sent": lambda peer, _close: peer.session.data_to_send(),
    "dropped before it is sent": lambda peer, close: peer.session.drop(close),
    "expired before it is sent": lambda peer, close: peer.session.expire(close),
    "dropped": sent_and_dropped,
    "expired": sent_and_expired,
}


@pytest.mark.parametrize("fault", CLOSES)
def test_close_with_a_lost_connection(fault: str) -> None:
    """The client does not connect again, whatever became of closeSession."""
    peer = Peer()
    peer.primed()
    sent, waiting = all_calls(peer)
    close = untyped(peer.make.close())
    assert peer.session.close(close) == []
    CLOSES[fault](peer, close)
    is_open = close.phase < ENDED
    outcomes = peer.session.disconnected()
    assert outcomes[0] is SessionState.CLOSED
    assert set(outcomes[1:]) == {sent, waiting} | ({close} if is_open else set())
    assert isinstance(sent.error, ConnectionLossError)
    assert peer.session.state is SessionState.CLOSED
    assert not peer.session.has_outstanding


@pytest.mark.parametrize("fault", ["dropped", "expired"])
def test_the_reply_to_a_close_that_nobody_waits_for(fault: str) -> None:
    peer = Peer()
    peer.primed()
    close = untyped(peer.make.close())
    peer.session.close(close)
    CLOSES[fault](peer, close)
    waiting = peer.start(peer.make.get("/b"))
    found = peer.session.receive(encode_reply(close.xid, 5, 0))
    assert found == [SessionState.CLOSED, waiting]


def test_close_behind_a_full_window() -> None:
    peer = Peer(window_bytes=1)
    peer.primed()
    sent, waiting = all_calls(peer)
    close = peer.make.close()
    peer.session.close(untyped(close))
    assert peer.session.data_to_send() == b""
    assert peer.session.disconnected() == [SessionState.CLOSED, sent, waiting, close]
    assert isinstance(waiting.error, ClientClosedError)
    assert close.error is None


def test_close_before_the_grant() -> None:
    peer = Peer()
    waiting = peer.start(peer.make.get("/a"))
    peer.session.connected()
    close = peer.make.close()
    assert peer.session.close(untyped(close)) == [SessionState.CLOSED, waiting, close]
    assert peer.session.data_to_send() == b"", "the client asks for a session after its end"
    assert peer.session.receive(granted(7)) == []
    assert peer.session.disconnected() == []


def test_close_twice() -> None:
    peer = Peer()
    peer.primed()
    first, second = peer.make.close(), peer.make.close()
    peer.session.close(untyped(first))
    peer.session.close(untyped(second))
    peer.session.data_to_send()
    found = peer.session.receive(encode_reply(first.xid, 5, 0))
    assert found == [first, SessionState.CLOSED, second]
    third = peer.make.close()
    assert peer.session.close(untyped(third)) == [third]
