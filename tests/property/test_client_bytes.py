"""Whatever bytes a server sends, a client's session raises only ProtocolError."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.client_peer import untyped
from tests.support.fake_zookeeper import frames_of, granted
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.batches import Multi
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.session import ClientSession
from zoolet.wire.frames import encode_reply


@given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
def test_any_bytes_raise_only_protocol_errors(pieces: list[bytes], is_framed: bool) -> None:
    """For each piece, in a session with calls, logins and watches of all kinds."""
    session, make = ClientSession(9000, chroot="/app"), RequestMaker("/app")
    session.connected()
    session.receive(granted(7))
    for path in ("/", "/a"):
        session.start(untyped(make.get(path, print)))
        session.start(untyped(make.children(path, print)))
    session.login(untyped(make.login()), "digest", b"a:b")
    session.data_to_send()
    try:
        for piece in pieces:
            framed = len(piece).to_bytes(4, "big") + piece if is_framed else piece
            session.receive(framed)
    except ProtocolError:
        session.disconnected()
        assert not session.outstanding_bytes


XIDS = st.sampled_from([-1, -2, -4, -8, 0, 1, 2, 3, 4, 5])
FRAMES = st.builds(
    encode_reply, XIDS, st.integers(-5, 99), st.sampled_from([0, -101]), st.binary(max_size=90)
)


@given(st.lists(FRAMES, max_size=8))
def test_any_frames_raise_only_protocol_errors(frames: list[bytes]) -> None:
    """Frames with the header of a reply reach the code that reads bodies."""
    session, make = ClientSession(9000), RequestMaker()
    session.connected()
    calls: list[Call[object]] = [
        untyped(make.get("/a", print)),
        untyped(make.multi(Multi().delete("/a"))),
        untyped(make.get_acl("/a")),
        untyped(make.who_am_i()),
        untyped(make.close()),
    ]
    for call in calls:
        session.start(call)
    ended = session.receive(granted(7))
    assert len(frames_of(session.data_to_send())) == 6
    try:
        for frame in frames:
            ended += session.receive(frame)
    except ProtocolError:
        pass
    ended += session.disconnected()
    ended += session.close(untyped(make.close()))
    found = [one for one in ended if isinstance(one, Call)]
    assert len(found) == len({id(one) for one in found})
    assert all(call in found for call in calls)
