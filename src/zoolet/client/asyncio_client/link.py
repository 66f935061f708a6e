"""One connection of an `AsyncClient`: passes bytes between the transport and the session.

This module does not know the life of the client: it calls `Owner` for everything except bytes.
"""

import asyncio
from typing import Protocol, cast

from zoolet.client.asyncio_client.opening import reason_of
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.session import ClientSession, Outcome


class Owner(Protocol):
    """What a connection needs of its client."""

    session: ClientSession

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Pass outcomes of the session to the program."""
        ...

    def connection_ended(self, link: "Link", reason: str) -> None:
        """Note the end of a connection."""
        ...


class Link(asyncio.Protocol):
    """A connection to a server.

    Attributes:
        was_served: whether the server has granted the session on this connection.
        began_s: the time at which the client asked for the session.
        heard_s: the time at which the server last sent something.
        sent_s: the time at which the client last sent something.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._session = owner.session
        self.was_served = False
        self._transport: asyncio.Transport | None = None
        self._reason = ""
        self._now = loop.time
        self.began_s = self.heard_s = self.sent_s = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; `begin` follows."""
        self._transport = cast("asyncio.Transport", transport)

    def begin(self) -> None:
        """Ask for the session."""
        if self._transport is None:
            self._owner.connection_ended(self, self._reason or "the connection was closed")
            return
        self.began_s = self.heard_s = self._now()
        self._session.connected()
        self.flush()

    def flush(self) -> None:
        """Send what the session has to send."""
        if self._transport is not None:
            data = self._session.data_to_send()
            if data:
                self.sent_s = self._now()
                self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Process bytes of the server."""
        self.heard_s = self._now()
        try:
            outcomes = self._session.receive(data)
        except ProtocolError as error:
            self.abort(str(error))
            return
        self._owner.deliver(outcomes)
        if not self.was_served and self._session.is_served:
            self.was_served = True
        self.flush()

    def eof_received(self) -> bool:
        """Close the connection, because the server has closed it."""
        self._reason = self._reason or "the server closed the connection"
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection."""
        self._transport = None
        reason = self._reason or (reason_of(exc) if exc else "the connection was closed")
        self._owner.connection_ended(self, reason)

    def abort(self, reason: str) -> None:
        """Close the connection at once; `connection_lost` follows."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()
