"""The table of states, and the session in each of its states."""

from collections.abc import Callable

import pytest

from tests.support.client_peer import Peer, untyped
from tests.support.fake_zookeeper import EXPIRED, granted
from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ProtocolError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.states import ENDED, NEXT_STATE, SERVED, SessionState, Stimulus
from zoolet.wire.frames import encode_reply

REFUSED_LOGIN = encode_reply(-4, 0, -115)


def peer_in(state: SessionState) -> Peer:
    """Return a session that has come to a state, with a login that has no reply."""
    peer = Peer(takes_read_only=True)
    peer.login()
    if state is SessionState.CONNECTING:
        return peer
    if state is SessionState.EXPIRED:
        peer.session.connected()
        peer.session.receive(EXPIRED)
        return peer
    peer.connect(read_only=state is SessionState.READ_ONLY)
    if state is SessionState.SUSPENDED:
        peer.session.disconnected()
    if state is SessionState.AUTH_FAILED:
        peer.session.receive(REFUSED_LOGIN)
    if state is SessionState.CLOSED:
        peer.session.disconnected()
        peer.session.close(untyped(peer.make.close()))
    return peer


def grant(peer: Peer) -> None:
    peer.session.connected()
    peer.session.receive(granted(7))


def grant_read_only(peer: Peer) -> None:
    peer.session.connected()
    peer.session.receive(granted(7, read_only=True))


def refuse(peer: Peer) -> None:
    peer.session.connected()
    peer.session.receive(EXPIRED)


def close(peer: Peer) -> None:
    call = peer.make.close()
    peer.session.close(untyped(call))
    if peer.session.is_served:
        peer.session.data_to_send()
        peer.session.receive(encode_reply(call.xid, 9, 0))


ACTS: dict[Stimulus, Callable[[Peer], object]] = {
    Stimulus.GRANTED: grant,
    Stimulus.GRANTED_READ_ONLY: grant_read_only,
    Stimulus.LOST: lambda peer: peer.session.disconnected(),
    Stimulus.REFUSED: refuse,
    Stimulus.RENEWED: lambda peer: peer.session.renew(),
    Stimulus.AUTH_REFUSED: lambda peer: peer.session.receive(REFUSED_LOGIN),
    Stimulus.CLOSED: close,
}


@pytest.mark.parametrize(("state", "stimulus"), NEXT_STATE, ids=lambda one: one.name)
def test_the_session_follows_the_table(state: SessionState, stimulus: Stimulus) -> None:
    peer = peer_in(state)
    assert peer.session.state is state
    ACTS[stimulus](peer)
    assert peer.session.state is NEXT_STATE[state, stimulus]


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("stimulus", Stimulus)
def test_the_table_has_each_pair_that_can_occur(state: SessionState, stimulus: Stimulus) -> None:
    """A pair without an entry changes nothing, or cannot occur."""
    if (state, stimulus) in NEXT_STATE:
        return
    impossible = {Stimulus.RENEWED} | (
        {Stimulus.GRANTED, Stimulus.GRANTED_READ_ONLY} if state in SERVED else set()
    )
    if stimulus in impossible:
        with pytest.raises(KeyError):
            ACTS[stimulus](peer_in(state))
        return
    assert state in ENDED
    peer = peer_in(state)
    ACTS[stimulus](peer)
    assert peer.session.state is state


def test_the_sets_of_states() -> None:
    assert not SERVED & ENDED
    assert SERVED | ENDED | {SessionState.CONNECTING, SessionState.SUSPENDED} == set(SessionState)
    for state in SessionState:
        assert peer_in(state).session.is_served == (state in SERVED)
        assert (state, Stimulus.LOST) in NEXT_STATE
        assert NEXT_STATE[state, Stimulus.CLOSED] is SessionState.CLOSED


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (SessionState.EXPIRED, SessionExpiredError),
        (SessionState.AUTH_FAILED, AuthFailedError),
        (SessionState.CLOSED, ClientClosedError),
    ],
)
def test_a_call_fails_at_once_after_the_end(
    state: SessionState, error: type[ZooKeeperError]
) -> None:
    peer = peer_in(state)
    call = peer.make.get("/a")
    assert not peer.session.start(untyped(call))
    assert type(call.error) is error
    login = peer.login()
    assert type(login.error) is error
    assert not peer.session.has_outstanding


@pytest.mark.parametrize("state", [state for state in SessionState if state in ENDED])
def test_bytes_after_the_end_are_ignored(state: SessionState) -> None:
    peer = peer_in(state)
    for frame in (encode_reply(1, 99, 0), encode_reply(-8, 99, 0), REFUSED_LOGIN, EXPIRED):
        assert peer.session.receive(frame) == []
    assert peer.session.receive(granted(9)) == []
    assert peer.session.session.id != 9
    assert peer.session.last_zxid < 99
    assert peer.session.data_to_send() == b""
    with pytest.raises(ProtocolError):
        peer.session.receive(b"\xff\xff\xff\xff")


def test_each_new_state_is_an_outcome_once() -> None:
    peer = Peer()
    assert peer.session.disconnected() == []
    assert peer.connect() == [SessionState.CONNECTED]
    assert peer.session.disconnected() == [SessionState.SUSPENDED]
    assert peer.session.disconnected() == []
    assert peer.connect(read_only=True) == [SessionState.READ_ONLY]
    assert peer.session.disconnected() == [SessionState.SUSPENDED]
    peer.session.connected()
    assert peer.session.receive(EXPIRED) == [SessionState.EXPIRED]
    assert peer.session.renew() == [SessionState.CONNECTING]
    closing = peer.make.close()
    assert peer.session.close(untyped(closing)) == [SessionState.CLOSED, closing]
