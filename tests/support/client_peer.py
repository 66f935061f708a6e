"""A client's session without a server: the test itself writes the bytes of the server."""

from typing import TypeVar, cast

from tests.support.fake_zookeeper import frames_of, granted, stat_of
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.logins import NewExchange
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.session_id import NO_SESSION, SessionId
from zoolet.client.protocol.watches import Notice, Resynced
from zoolet.model.codes import EventType, OpCode
from zoolet.model.requests import Connect
from zoolet.model.results import Event
from zoolet.wire.frames import decode_connect, encode_reply
from zoolet.wire.jute import Reader, pack_buffer
from zoolet.wire.replies import encode_event

T = TypeVar("T")

SESSION = 0x1234
DATA_BODY = pack_buffer(b"data") + stat_of(3).pack()
"""The body of a reply to getData."""


def untyped(call: Call[T]) -> Call[object]:
    """Return the call, as a session takes it."""
    return cast("Call[object]", call)


class Peer:
    """A session, its requests, and the notices of its watches.

    Attributes:
        notices: what the functions of watches were called with, by `delivered`.
    """

    def __init__(
        self,
        chroot: str = "",
        *,
        window_bytes: int = 1 << 20,
        resumed: SessionId = NO_SESSION,
        takes_read_only: bool = False,
        renews: bool = False,
        new_exchange: NewExchange | None = None,
    ) -> None:
        self.session = ClientSession(
            9000,
            chroot=chroot,
            max_outstanding_bytes=window_bytes,
            resumed=resumed,
            takes_read_only=takes_read_only,
            renews=renews,
            new_exchange=new_exchange,
        )
        self.make = RequestMaker(chroot)
        self.notices: list[Event | Resynced] = []

    def connect(self, *, read_only: bool = False) -> list[Outcome]:
        """Open a connection whose server grants the session."""
        self.connect_request()
        return self.session.receive(granted(SESSION, read_only=read_only))

    def connect_request(self) -> Connect:
        """Open a connection; return what the session asks for."""
        self.session.connected()
        [frame] = frames_of(self.session.data_to_send())
        return decode_connect(frame, 0, len(frame))

    def sent(self) -> list[tuple[int, OpCode, Reader]]:
        """Return the xid, the op code and the body of each request that is sent now."""
        readers = [Reader(frame) for frame in frames_of(self.session.data_to_send())]
        return [(reader.read_int(), OpCode(reader.read_int()), reader) for reader in readers]

    def sent_op_codes(self) -> list[OpCode]:
        """Return the op codes of the requests that are sent now, without the connect request."""
        return [op_code for _, op_code, _ in self.sent()]

    def primed(self) -> None:
        """Connect, and forget the bytes that are sent."""
        self.connect()
        self.session.data_to_send()

    def start(self, call: Call[T]) -> Call[T]:
        """Start a call."""
        assert self.session.start(untyped(call))
        return call

    def login(self, credential: bytes = b"a:b") -> Call[None]:
        """Log in."""
        call = self.make.login()
        self.session.login(untyped(call), "digest", credential)
        return call

    def reply(self, call: Call[T], body: bytes = b"", *, err: int = 0, zxid: int = 5) -> None:
        """Reply to a call, which must end with it."""
        assert self.session.receive(encode_reply(call.xid, zxid, err, body)) == [call]

    def event(self, event_type: EventType, path: str, zxid: int = 6) -> list[Outcome]:
        """Send an event."""
        return self.delivered(self.session.receive(encode_event(event_type, path, zxid)))

    def delivered(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Call the functions of watches, and return the outcomes."""
        for outcome in outcomes:
            if isinstance(outcome, Notice):
                outcome.watcher.notify(outcome.what)
        return outcomes

    def watched(self, path: str = "/a") -> Call[object]:
        """Set a watch on the data of a znode."""
        call = self.start(self.make.get(path, self.notices.append))
        self.session.data_to_send()
        self.reply(call, DATA_BODY)
        return untyped(call)
