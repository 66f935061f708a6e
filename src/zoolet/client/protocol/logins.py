"""The logins of a client: an exchange of SASL, then ``auth`` requests, again on each connection.

Imports ``model``, ``wire``, and the client's errors and protocol. The mechanisms of SASL are
elsewhere (`zoolet.client.connecting.sasl`), because most clients do not need them.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, final

from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.calls import SENT, Call
from zoolet.client.protocol.frames import auth_frame, sasl_frame

SASL_XID: Final = 0
"""The xid of the tokens of SASL. No call has it."""


class SaslRefusedError(Exception):
    """The server refused the authentication, or did not prove that it knows the password."""


class SaslExchange(Protocol):
    """One authentication with SASL; each mechanism has a class with these methods.

    It is a protocol, because classes that are not compiled cannot inherit from a compiled class.
    """

    @property
    def refusal(self) -> str:
        """What is wrong if the server refuses the authentication."""

    def begin(self) -> bytes:
        """Return the first token."""

    def answer(self, token: bytes | None) -> bytes | None:
        """Return the next token for a token of the server; None if the client is authenticated.

        Raises:
            SaslRefusedError: the server's token is not acceptable; the message says why.
        """


NewExchange = Callable[[], SaslExchange]


@final
class Logins:
    """The logins of a client, in the order in which they are sent on each connection.

    Attributes:
        exchange: the authentication with SASL on this connection; None if it has ended or there is
            none.
    """

    def __init__(self, new_exchange: NewExchange | None) -> None:
        self.exchange: SaslExchange | None = None
        self._new_exchange = new_exchange
        self._frames: list[bytes] = []
        self._calls: deque[Call[object] | None] = deque()

    def begin(self) -> bytes:
        """Begin the authentication on a new connection; return its frame, b"" if there is none."""
        if self._new_exchange is None:
            return b""
        self.exchange = self._new_exchange()
        return sasl_frame(SASL_XID, self.exchange.begin())

    def end(self) -> None:
        """Forget the authentication, because the connection has ended."""
        self.exchange = None

    def answer(self, xid: int, err: int, token: bytes | None) -> bytes:
        """Return the frame for a token of the server; b"" if the client is authenticated now.

        Raises:
            SaslRefusedError: the server refused the authentication.
            ProtocolError: the server replied to another request.
        """
        exchange = self.exchange
        if exchange is None or xid != SASL_XID:
            raise ProtocolError("", "", f"the server replied to xid {xid} before the login")
        if err:
            raise SaslRefusedError(f"{exchange.refusal} (error {err})")
        answer = exchange.answer(token)
        if answer is None:
            self.exchange = None
            return b""
        return sasl_frame(SASL_XID, answer)

    def add(self, call: Call[object], scheme: str, credential: bytes) -> bytes:
        """Add a login, whose call ends with its reply; return its frame."""
        frame = auth_frame(scheme, credential)
        self._frames.append(frame)
        call.phase = SENT
        self._calls.append(call)
        return frame

    def frames(self) -> list[bytes]:
        """Return the frames to send on a new connection."""
        # The calls of earlier logins that got no reply come first, in the same order.
        for _ in range(len(self._frames) - len(self._calls)):
            self._calls.appendleft(None)
        return self._frames

    def replied(self) -> Call[object] | None:
        """Return the call of the login to which the server has replied; None if it has ended."""
        if not self._calls:
            raise ProtocolError("", "", "the server sent a reply to no login")
        return self._calls.popleft()

    def calls(self) -> list[Call[object]]:
        """Return the calls of the logins that have no reply yet."""
        return [call for call in self._calls if call is not None]

    def drop_calls(self) -> list[Call[object]]:
        """Remove and return the calls of the logins that have no reply yet."""
        found = self.calls()
        self._calls.clear()
        return found
