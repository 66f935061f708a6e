"""Closing connections on which nothing happens.

Two rules. A client that opens no session within ``nio.sessionlessCnxnTimeout`` is closed, whatever
it sends meanwhile. A client that reads nothing for ``zoolet.clientReadTimeoutMs`` while bytes wait
for it is closed, and their memory is freed; a client that reads slowly stays.

Each rule is a generator that does a bounded amount of work between two values. Each value is the
estimated cost in microseconds of what was done. Must not import asyncio: the caller runs the
generators and gives the clock.

A clock that jumps (a stopped process, a suspended machine) must close nobody who had no chance to
be heard. So each rule wants more than one check before it closes: between two checks the event loop
has read what had arrived.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from zoolet.server.common.log_limiter import LogLimiter
from zoolet.server.common.stats import ServerStats
from zoolet.server.network.admission import AcceptedSocket, Admission

log = logging.getLogger(__name__)

CONNECTIONS_PER_STEP: Final = 200
_STEP_COST_US: Final = 500

_CHECKS_PER_SEARCH: Final = 3
"""One check of three looks at each connection; the other two, at those for which something waited
before."""

_CHECKS_BEFORE_CLOSING: Final = 3
"""How many checks in a row have to find that a client has read nothing."""

_SESSIONLESS_CHECKS_PER_TIMEOUT: Final = 10
_READ_CHECKS_PER_TIMEOUT: Final = 6
_LONGEST_SESSIONLESS_CHECK_MS: Final = 1000


class _Unread:
    """Bytes that wait for a client.

    Attributes:
        progress: how far the client was when it had last read something (``Waiting.progress``).
        since_ms: when that was seen.
        checks: how many checks in a row have found the same progress, with the first.
    """

    __slots__ = ("checks", "progress", "since_ms")

    def __init__(self, progress: int, now_ms: int) -> None:
        self.progress = progress
        self.since_ms = now_ms
        self.checks = 1


class IdleConnections:
    """The rules, for the connections of some admissions.

    Attributes:
        sessionless_interval_ms: how often ``close_sessionless`` is to run.
        unread_interval_ms: how often ``close_unread`` is to run.
    """

    def __init__(
        self,
        admissions: Sequence[Admission],
        now_ms: Callable[[], int],
        stats: ServerStats,
        *,
        sessionless_timeout_ms: int,
        client_read_timeout_ms: int,
    ) -> None:
        self.sessionless_interval_ms = min(
            _LONGEST_SESSIONLESS_CHECK_MS,
            max(1, sessionless_timeout_ms // _SESSIONLESS_CHECKS_PER_TIMEOUT),
        )
        self.unread_interval_ms = max(1, client_read_timeout_ms // _READ_CHECKS_PER_TIMEOUT)
        self._admissions = admissions
        self._now_ms = now_ms
        self._stats = stats
        self._sessionless_timeout_ms = sessionless_timeout_ms
        self._client_read_timeout_ms = client_read_timeout_ms
        self._limiter = LogLimiter(log, now_ms)
        self._due: list[AcceptedSocket] = []
        self._unread: dict[AcceptedSocket, _Unread] = {}
        self._unread_checks = 0

    def close_sessionless(self) -> Iterator[int]:
        """Close the connections that were due at the last check and still have no session."""
        due, self._due = self._due, []
        checked = 0
        for accepted in due:
            self._close_if_sessionless(accepted)
            checked += 1
            if checked % CONNECTIONS_PER_STEP == 0:
                yield _STEP_COST_US
        accepted_before_ms = self._now_ms() - self._sessionless_timeout_ms
        for admission in self._admissions:
            recent = admission.recent
            while recent and recent[0].accepted_ms <= accepted_before_ms:
                accepted = recent.popleft()
                if _may_be_sessionless(accepted) and accepted.is_counted:
                    self._due.append(accepted)
                checked += 1
                if checked % CONNECTIONS_PER_STEP == 0:
                    yield _STEP_COST_US

    def _close_if_sessionless(self, accepted: AcceptedSocket) -> None:
        if not accepted.is_counted or accepted.is_aborted:
            return
        if accepted.transport is None:
            self._due.append(accepted)  # in its TLS handshake, which has a timeout of its own
        elif accepted.is_sessionless:
            self._stats.sessionless_closed += 1
            self._limiter.warning(
                "closing the connection of %s: it has opened no session within %d ms"
                " (nio.sessionlessCnxnTimeout)",
                accepted.peer,
                self._sessionless_timeout_ms,
            )
            accepted.abort()

    def close_unread(self) -> Iterator[int]:
        """Close the connections whose clients have read nothing for too long."""
        is_search = self._unread_checks % _CHECKS_PER_SEARCH == 0
        self._unread_checks += 1
        checked = 0
        for connections in (
            [tuple(each.open) for each in self._admissions] if is_search else [tuple(self._unread)]
        ):
            for accepted in connections:
                if accepted.may_be_unread:
                    self._check_reading(accepted)
                checked += 1
                if checked % CONNECTIONS_PER_STEP == 0:
                    yield _STEP_COST_US
        if is_search:
            self._unread = {each: was for each, was in self._unread.items() if each.is_counted}

    def _check_reading(self, accepted: AcceptedSocket) -> None:
        if accepted.transport is None or accepted.is_aborted:
            self._unread.pop(accepted, None)
            return
        unread = self._unread.get(accepted)
        if unread is None and accepted.has_read_all():
            return
        waiting, now_ms = accepted.waiting(), self._now_ms()
        if not waiting.size_bytes:
            if unread is not None:
                del self._unread[accepted]
            return
        if unread is None or waiting.progress != unread.progress:
            self._unread[accepted] = _Unread(waiting.progress, now_ms)
            return
        unread.checks += 1
        stalled_ms = now_ms - unread.since_ms
        is_over = stalled_ms >= self._client_read_timeout_ms
        if is_over and unread.checks > _CHECKS_BEFORE_CLOSING:
            self._stats.unread_closed += 1
            self._limiter.warning(
                "closing the connection of %s: about %d bytes wait for it, and it has read nothing"
                " for %d ms (zoolet.clientReadTimeoutMs)",
                accepted.peer,
                waiting.size_bytes,
                stalled_ms,
            )
            accepted.abort()


def _may_be_sessionless(accepted: AcceptedSocket) -> bool:
    """Say whether a connection has to be looked at again: no session, or still in its handshake."""
    return accepted.is_sessionless or accepted.transport is None
