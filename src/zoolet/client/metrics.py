"""What a client reports of its work to a program, which can count and measure it.

Imports ``model`` and the client's protocol.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.protocol.watches import Notice, Resynced
from zoolet.model.codes import EventType

if TYPE_CHECKING:
    from zoolet.client.session_log import SessionLog

SUCCEEDED: Final = "ok"
CANCELLED: Final = "cancelled"


class ClientMetrics:
    """Receives what a client does; `ClientOptions.metrics` takes an object of a subclass.

    Each method does nothing. A subclass replaces those that it needs. They are called in the event
    loop of an `AsyncClient`, and in several threads by a `Client`. They must be short, and must not
    use the client. The log reports their exceptions, which have no other effect. One object can
    serve several clients.
    """

    def call_began(self, request: str, path: str) -> object:
        """Note the beginning of a call; the result is given to `call_ended`.

        ``request`` is the name of the client's method, for example ``get``; ``path`` is the path
        that the program gave, "" if there is none. Each call that began ends, so their difference
        is the number of outstanding calls. Each attempt of a repeated call is a call.
        """

    def call_ended(self, began: object, request: str, duration_s: float, outcome: str) -> None:
        """Note the end of a call.

        ``began`` is the result of `call_began`. ``outcome`` is ``ok``, ``cancelled``, or the name
        of the class of the error, for example ``NoNodeError``.
        """

    def bytes_sent(self, count: int) -> None:
        """Note bytes that were given to the connection."""

    def bytes_received(self, count: int) -> None:
        """Note bytes that came from the connection."""

    def connected(self, address: str) -> None:
        """Note that a server serves the session: at the start, and after each reconnect."""

    def state_changed(self, state: SessionState) -> None:
        """Note the new state of the session."""

    def event_received(self, event_type: EventType) -> None:
        """Note an event for one watch of the program."""

    def resynced(self) -> None:
        """Note that one watch may have missed events, because the connection was lost."""


def report(log: "SessionLog", method: Callable[..., object], *arguments: object) -> object:
    """Call a method of a ClientMetrics; log its exception, and then return None."""
    try:
        return method(*arguments)
    except Exception:
        log.exception("the metrics of the program failed: %r", method)
        return None


Report = tuple[Callable[..., object], tuple[object, ...]]
"""A method of a ClientMetrics to call, and its arguments."""


def reports_of(
    metrics: ClientMetrics, outcome: Notice | SessionState, address: object
) -> list[Report]:
    """Return what to report for an outcome of a session whose connection has this address."""
    if isinstance(outcome, Notice):
        if isinstance(outcome.what, Resynced):
            return [(metrics.resynced, ())]
        return [(metrics.event_received, (outcome.what.type,))]
    found: list[Report] = [(metrics.state_changed, (outcome,))]
    if outcome in SERVED:
        found.append((metrics.connected, (str(address),)))
    return found


def outcome_of(error: BaseException | None) -> str:
    """Return the outcome of a call that ended with an error, or without one."""
    return SUCCEEDED if error is None else type(error).__name__
