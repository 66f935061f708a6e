"""Closes idle connections, according to two rules.

1. The server disconnects a client that opens no session within ``nio.sessionlessCnxnTimeout``, even
   if the client sends other bytes.
2. The server disconnects a client that reads nothing for ``zoolet.clientReadTimeoutMs`` while bytes
   wait for it. This frees the memory of these bytes. A client that reads slowly stays connected.

Each rule is a generator that does a bounded amount of work between two yields. It yields the
estimated cost of this work in microseconds. This module must not import asyncio: the caller runs
the generators and passes the clock.

The clock may jump (after a stopped process or a suspended machine). Then a client must not be
disconnected before the server has read the bytes that the client sent. So each rule needs more than
one check before it closes a connection: between two checks, the event loop reads these bytes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from zoolet.server.common.stats import ServerStats
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.sockets.admission import AcceptedSocket, Admission

log = logging.getLogger(__name__)

CONNECTIONS_PER_STEP: Final = 200
_STEP_COST_US: Final = 500

_CHECKS_PER_SEARCH: Final = 3
"""One of three checks visits all connections; the other two visit only the connections for which
bytes waited at the last check."""

_CHECKS_BEFORE_CLOSING: Final = 3
"""The number of consecutive checks that must find that a client has read nothing."""

_SESSIONLESS_CHECKS_PER_TIMEOUT: Final = 10
_READ_CHECKS_PER_TIMEOUT: Final = 6
_LONGEST_SESSIONLESS_CHECK_MS: Final = 1000


class _Unread:
    """Bytes that wait for a client.

    Attributes:
        progress: the client's progress when it last read something (``Waiting.progress``).
        since_ms: the time of the first check that found this progress, on the monotonic clock.
        checks: the number of consecutive checks that found this progress, including the first.
    """

    __slots__ = ("checks", "progress", "since_ms")

    def __init__(self, progress: int, now_ms: int) -> None:
        self.progress = progress
        self.since_ms = now_ms
        self.checks = 1


class IdleConnections:
    """Applies the two rules to the connections of several admissions.

    Attributes:
        sessionless_interval_ms: the interval at which ``close_sessionless`` must run.
        unread_interval_ms: the interval at which ``close_unread`` must run.
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
            # A TLS handshake or the wait for the first byte; both have their own timeout.
            self._due.append(accepted)
        elif accepted.is_sessionless:
            self._stats.sessionless_closed += 1
            self._limiter.warning(
                "closing the connection of %s: the client has opened no session within %d ms"
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
                "closing the connection of %s: about %d bytes wait for the client, and it has read"
                " nothing for %d ms (zoolet.clientReadTimeoutMs)",
                accepted.peer,
                waiting.size_bytes,
                stalled_ms,
            )
            accepted.abort()


def _may_be_sessionless(accepted: AcceptedSocket) -> bool:
    """Return whether a connection needs another check: no session, or a handshake in progress."""
    return accepted.is_sessionless or accepted.transport is None
