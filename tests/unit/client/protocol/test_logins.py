"""Authentication with SASL in a session: first on each connection, and before all calls."""

import random
from typing import Any

import pytest

from tests.support.client_peer import DATA_BODY, SESSION, Peer
from tests.support.fake_zookeeper import granted
from zoolet.client.errors import AuthFailedError, ProtocolError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.logins import SASL_XID, SaslRefusedError
from zoolet.client.protocol.states import SessionState
from zoolet.model.codes import EventType, OpCode, Xid
from zoolet.wire.frames import encode_reply
from zoolet.wire.jute import pack_buffer
from zoolet.wire.replies import encode_event


class Counting:
    """Sends the tokens 0 to ``last``, and is authenticated after as many replies."""

    refusal = "the user name or the password is wrong"

    def __init__(self, last: int) -> None:
        self._left = last
        self._next = 0

    def begin(self) -> bytes:
        return self._token()

    def answer(self, token: bytes | None) -> bytes | None:
        if token != b"ok":
            raise SaslRefusedError(f"the token is {token!r}")
        self._left -= 1
        return None if self._left < 0 else self._token()

    def _token(self) -> bytes:
        self._next += 1
        return b"%d" % (self._next - 1)


def peer_of(last: int = 1) -> Peer:
    return Peer(new_exchange=lambda: Counting(last))


def token(content: bytes | None = b"ok", *, err: int = 0, xid: int = SASL_XID) -> bytes:
    return encode_reply(xid, 0, err, pack_buffer(content))


def sent_tokens(peer: Peer) -> list[tuple[int, OpCode, bytes | None]]:
    return [(xid, op_code, reader.read_buffer()) for xid, op_code, reader in peer.sent()]


def test_nothing_is_sent_before_the_end_of_the_authentication() -> None:
    peer = peer_of()
    login = peer.login()
    call = peer.start(peer.make.get("/a"))
    assert peer.connect() == []
    assert sent_tokens(peer) == [(SASL_XID, OpCode.SASL, b"0")]
    assert peer.session.state is SessionState.CONNECTING
    assert peer.session.receive(token()) == []
    assert sent_tokens(peer) == [(SASL_XID, OpCode.SASL, b"1")]
    assert peer.session.receive(token()) == [SessionState.CONNECTED]
    assert peer.sent_op_codes() == [OpCode.AUTH, OpCode.GET_DATA]
    assert peer.session.receive(encode_reply(Xid.AUTH.value, 0, 0, b"")) == [login]
    peer.reply(call, DATA_BODY)


def test_each_connection_begins_with_the_authentication() -> None:
    peer = peer_of(0)
    for state in (SessionState.CONNECTED, SessionState.CONNECTED):
        peer.connect()
        assert sent_tokens(peer) == [(SASL_XID, OpCode.SASL, b"0")]
        assert peer.session.receive(token()) == [state]
        assert peer.session.disconnected() == [SessionState.SUSPENDED]


def test_a_connection_that_is_lost_during_the_authentication() -> None:
    peer = peer_of()
    call = peer.start(peer.make.get("/a"))
    peer.connect()
    peer.session.receive(token())
    assert peer.session.disconnected() == []
    peer.connect()
    for _ in range(2):
        outcomes = peer.session.receive(token())
    assert outcomes == [SessionState.CONNECTED]
    peer.session.data_to_send()
    peer.reply(call, DATA_BODY)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (token(None, err=-115), "the user name or the password is wrong"),
        (token(None, err=-124), "the user name or the password is wrong"),
        (token(b"no"), "the token is b'no'"),
        (token(None), "the token is None"),
    ],
)
def test_a_refused_authentication_ends_the_session(reply: bytes, reason: str) -> None:
    peer = peer_of()
    calls: list[Call[Any]] = [peer.login(), peer.start(peer.make.get("/a"))]
    peer.connect()
    outcomes = peer.session.receive(reply)
    assert outcomes[0] is SessionState.AUTH_FAILED
    assert len(outcomes) == 1 + len(calls)
    for call in calls:
        assert isinstance(call.error, AuthFailedError)
        assert reason in str(call.error)
    later = peer.make.get("/b")
    assert not peer.session.start(later)  # type: ignore[arg-type]
    assert reason in str(later.error)


def test_a_reply_to_another_request_is_refused() -> None:
    peer = peer_of()
    peer.connect()
    with pytest.raises(ProtocolError, match="replied to xid 7 before the login"):
        peer.session.receive(token(xid=7))


def test_events_before_the_end_are_ignored() -> None:
    peer = peer_of(0)
    peer.connect()
    event = encode_event(EventType.NODE_DELETED, "/a", 5)
    assert peer.session.receive(event + token()) == [SessionState.CONNECTED]


def test_a_read_only_server() -> None:
    peer = Peer(new_exchange=lambda: Counting(0), takes_read_only=True)
    peer.connect(read_only=True)
    assert peer.session.receive(token()) == [SessionState.READ_ONLY]


@pytest.mark.parametrize("seed", range(30))
def test_each_call_ends_once_whatever_happens_to_connections(seed: int) -> None:
    """Connections are lost at random moments; the session always authenticates first."""
    chance = random.Random(seed)
    last = chance.randrange(3)
    peer = peer_of(last)
    calls = [peer.start(peer.make.get(f"/{number}")) for number in range(5)]
    ended: list[object] = []
    for _ in range(20):
        peer.session.connected()
        peer.session.data_to_send()
        outcomes = peer.session.receive(granted(SESSION))
        for number in range(last + 1):
            assert sent_tokens(peer) == [(SASL_XID, OpCode.SASL, b"%d" % number)]
            assert outcomes == []
            if chance.random() < 0.2:
                break
            outcomes = peer.session.receive(token())
        else:
            assert outcomes == [SessionState.CONNECTED]
            for xid, op_code, _ in peer.sent():
                assert op_code == OpCode.GET_DATA
                if chance.random() < 0.3:
                    break
                ended += peer.session.receive(encode_reply(xid, 5, 0, DATA_BODY))
        ended += [one for one in peer.session.disconnected() if one in calls]
    assert sorted(map(id, ended)) == sorted(map(id, calls))
