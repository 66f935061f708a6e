"""How long the sessions of an observer's clients may be served without news from the leader.

The leader alone expires sessions, and a connection that fails tells the observer nothing. So two
rules limit the time for which a session is served:

- The connection of a session is closed if no packet of the leader came for a third of the
  session's timeout.
- A session is never served later than its last renewal that was sent to the leader, plus its
  timeout. The leader receives a renewal later than it was sent, so it expires the session later.

All times are arguments, in ms of a monotonic clock.
"""

from typing import Final

SILENT_PART: Final = 3
"""The leader may be silent for the session's timeout divided by this number."""


class Contact:
    """The last packet of the leader, and the last renewals of the sessions that are served here."""

    def __init__(self, now_ms: int) -> None:
        self._heard_ms = now_ms
        self._sessions: dict[int, tuple[int, int]] = {}
        self._touched: dict[int, None] = {}
        self._due_ms: int | None = None
        """No session is due before this time; None if this is not known."""

    def heard(self, now_ms: int) -> None:
        """Record that a packet of the leader arrived."""
        self._heard_ms = now_ms

    def silent_ms(self, now_ms: int) -> int:
        """Return the time since the last packet of the leader."""
        return now_ms - self._heard_ms

    def serve(self, session_id: int, timeout_ms: int, now_ms: int) -> None:
        """Begin to serve a session, whose creation or revalidation was sent at ``now_ms``."""
        self._sessions[session_id] = (timeout_ms, now_ms)
        if self._due_ms is not None:
            # Not None: many clients may come together, and each would cause a look at all sessions.
            self._due_ms = min(self._due_ms, self.serve_until_ms(session_id))

    def forget(self, session_id: int) -> None:
        """Stop serving a session; do nothing if it is not served."""
        self._sessions.pop(session_id, None)
        self._touched.pop(session_id, None)

    def touch(self, session_id: int) -> None:
        """Record that the client of a session sent something."""
        self._touched[session_id] = None

    def reported(self, session_id: int, now_ms: int) -> None:
        """Record that a request of a session was sent to the leader, which renews the session."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._sessions[session_id] = (session[0], now_ms)

    def take_touched(self, now_ms: int) -> list[tuple[int, int]]:
        """Return the sessions to report to the leader at ``now_ms``: ids and timeouts in ms."""
        taken = []
        for session_id in self._touched:
            session = self._sessions.get(session_id)
            if session is not None:
                self._sessions[session_id] = (session[0], now_ms)
                taken.append((session_id, session[0]))
        self._touched.clear()
        return taken

    def serve_until_ms(self, session_id: int) -> int:
        """Return the time from which a session must not be served any more.

        Raises KeyError if it is not served.
        """
        timeout_ms, reported_ms = self._sessions[session_id]
        return min(self._heard_ms + timeout_ms // SILENT_PART, reported_ms + timeout_ms)

    def due(self, now_ms: int) -> list[int]:
        """Return the sessions that must not be served any more, and forget them."""
        # Times only rise, so an earlier result is a lower bound.
        if self._due_ms is not None and now_ms < self._due_ms:
            return []
        due = []
        next_ms: int | None = None
        for session_id in self._sessions:
            until_ms = self.serve_until_ms(session_id)
            if until_ms <= now_ms:
                due.append(session_id)
            elif next_ms is None or until_ms < next_ms:
                next_ms = until_ms
        for session_id in due:
            self.forget(session_id)
        self._due_ms = next_ms
        return due
