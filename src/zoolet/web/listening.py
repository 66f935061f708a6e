"""Connections of browsers: how many there are, and how long one may do nothing.

Invariants: connections that send no request, or that read no response, end; a process without free
descriptors refuses connections, and goes on with the work for the others.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 1000
"""Above this number of connections, requests are answered with the status 503."""

MOST_OPEN: Final = 2 * MOST_CONNECTIONS
"""Above this number, a new connection is closed at once."""

HEAD_S: Final = 30.0
"""The line and the headers of a request must arrive within this time."""

READ_S: Final = 120.0
"""A browser that reads nothing of a response for this time loses its connection."""

_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
_BACKLOG: Final = 128
_LOG_S: Final = 60.0


class Listener(socket.socket):
    """A socket that listens. Without a free descriptor, it closes each new connection at once.

    asyncio would leave it in the queue, and write thousands of tracebacks in a second.
    """

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._logged_s = -_LOG_S

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            ConnectionAbortedError: it was closed, because there was no descriptor for it.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
            self._refuse()
            raise ConnectionAbortedError from None

    def _refuse(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            super().accept()[0].close()
        except OSError:
            time.sleep(0.01)  # other threads take the descriptors: do not use a whole core for this
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_S:
            self._logged_s = now_s
            log.error("no free descriptor: new connections are refused. Raise ulimit -n")

    def close(self) -> None:
        """Close the socket."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()


def listening(host: str, port: int) -> Listener:
    """Return a socket that listens at an address.

    Raises:
        OSError: the address cannot be used.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = Listener(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address[:2])
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class BrowserProtocol(H11Protocol):
    """A connection of a browser; one that stands still ends."""

    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_OPEN:
            transport.abort()
        else:
            self._note_head()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._note_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        for timer in (self._head, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the browser does not read."""
        super().pause_writing()
        self._reading = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the browser reads on."""
        if self._reading is not None:
            self._reading.cancel()
        super().resume_writing()

    def _note_head(self) -> None:
        """Begin the time of the next request, or end it if the request has begun."""
        waits = self.conn.their_state is h11.IDLE
        if waits and self._head is None:
            self._head = self.loop.call_later(HEAD_S, self.transport.abort)
        elif not waits and self._head is not None:
            self._head.cancel()
            self._head = None
