"""The states of a session, as one table.

Invariants: each change of the state is an entry of `NEXT_STATE`, and there is no other change. This
module imports nothing of zoolet.
"""

from collections.abc import Callable
from enum import Enum, unique
from typing import Final


@unique
class SessionState(Enum):
    """The state of a client's session."""

    CONNECTING = "connecting"
    """The client has no session yet."""

    CONNECTED = "connected"
    """A server serves the session."""

    READ_ONLY = "read-only"
    """A server without a quorum serves the session; it refuses writes."""

    SUSPENDED = "suspended"
    """The connection is lost. The session may still exist; the client tries to connect again."""

    EXPIRED = "expired"
    """The session has ended, and so its ephemerals. The client may ask for another session."""

    AUTH_FAILED = "authentication failed"
    """The server refused the login. The client does not connect again."""

    CLOSED = "closed"
    """The client is closed."""


@unique
class Stimulus(Enum):
    """What changes the state of a session."""

    GRANTED = "a server grants or resumes the session"
    GRANTED_READ_ONLY = "a read-only server grants or resumes the session"
    LOST = "the connection is lost"
    REFUSED = "the session has expired"
    RENEWED = "the client asks for another session"
    AUTH_REFUSED = "the server refuses the login"
    CLOSED = "the client closes the session"


_S = SessionState
_LIVE: Final = (_S.CONNECTING, _S.CONNECTED, _S.READ_ONLY, _S.SUSPENDED)

NEXT_STATE: Final[dict[tuple[SessionState, Stimulus], SessionState]] = {
    (_S.CONNECTING, Stimulus.GRANTED): _S.CONNECTED,
    (_S.CONNECTING, Stimulus.GRANTED_READ_ONLY): _S.READ_ONLY,
    (_S.CONNECTING, Stimulus.LOST): _S.CONNECTING,
    (_S.SUSPENDED, Stimulus.GRANTED): _S.CONNECTED,
    (_S.SUSPENDED, Stimulus.GRANTED_READ_ONLY): _S.READ_ONLY,
    (_S.SUSPENDED, Stimulus.LOST): _S.SUSPENDED,
    (_S.CONNECTED, Stimulus.LOST): _S.SUSPENDED,
    (_S.READ_ONLY, Stimulus.LOST): _S.SUSPENDED,
    **{(state, Stimulus.REFUSED): _S.EXPIRED for state in _LIVE},
    **{(state, Stimulus.AUTH_REFUSED): _S.AUTH_FAILED for state in _LIVE},
    **{(state, Stimulus.CLOSED): _S.CLOSED for state in SessionState},
    (_S.EXPIRED, Stimulus.RENEWED): _S.CONNECTING,
    (_S.EXPIRED, Stimulus.LOST): _S.EXPIRED,
    (_S.AUTH_FAILED, Stimulus.LOST): _S.AUTH_FAILED,
    (_S.CLOSED, Stimulus.LOST): _S.CLOSED,
}
"""The next state for a state and a stimulus; a pair that is not here cannot occur."""

OnState = Callable[[SessionState], None]
"""A function of the program that is called with each new state."""

SERVED: Final = frozenset({_S.CONNECTED, _S.READ_ONLY})
"""The states in which a server serves the session."""

ENDED: Final = frozenset({_S.EXPIRED, _S.AUTH_FAILED, _S.CLOSED})
"""The states without a session. After EXPIRED, the client may ask for another one."""
