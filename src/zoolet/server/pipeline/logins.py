"""Requests with which a client authenticates: ``auth`` and ``sasl``.

Source: ``ZooKeeperServer.processPacket`` and ``processSasl`` of Apache ZooKeeper.

A client whose authentication with SASL fails gets its reply after a delay, so that guessing a
password takes long. Until then, the server reads nothing more from the client.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from zoolet.model.acl import Id
from zoolet.model.codes import ErrorCode
from zoolet.server.common.changed_files import LOOK_INTERVAL_MS, looks_on
from zoolet.server.connections.batches import NOTHING
from zoolet.state_machine import access
from zoolet.wire.replies import encode_token
from zoolet.wire.requests import decode_auth, decode_sasl

if TYPE_CHECKING:
    from zoolet.server.common.clock import Clock
    from zoolet.server.common.disk_thread import DiskThread
    from zoolet.server.common.stats import ServerStats
    from zoolet.server.connections.connection import Connection
    from zoolet.server.logs.log_limiter import LogLimiter
    from zoolet.server.pipeline.group_commit import GroupCommit
    from zoolet.server.pipeline.outbox import Outbox
    from zoolet.server.sasl.exchanges import Exchange
    from zoolet.server.sasl.logins import SaslLogins
    from zoolet.server.zoo_cfg.config import Config
    from zoolet.wire.jute import Reader

SUPER: Final = Id("super", "")
_FAILED_INTERVAL_MS: Final = 50


class _Failed(NamedTuple):
    """A failed authentication whose reply is sent at a time of the monotonic clock."""

    at_ms: int
    connection: "Connection"
    xid: int


class Logins:
    """Authenticates the clients of a server.

    Args:
        config: the settings.
        sasl: the authentication with SASL; None if the server has no users of SASL.

    Attributes:
        sasl_logins: the same authentication.
    """

    def __init__(
        self,
        config: "Config",
        sasl: "SaslLogins | None",
        commit: "GroupCommit",
        outbox: "Outbox",
        clock: "Clock",
        stats: "ServerStats",
        limited: "LogLimiter",
    ) -> None:
        self._config = config
        self.sasl_logins = sasl
        self._commit = commit
        self._outbox = outbox
        self._clock = clock
        self._stats = stats
        self._limited = limited
        self._failed: deque[_Failed] = deque()

    def repetitions(self, thread: "DiskThread") -> list[tuple[int, Callable[[], None]]]:
        """Return the periodic tasks, each with its interval in ms; ``thread`` reads files."""
        sasl = self.sasl_logins
        if sasl is None:
            return []
        found: list[tuple[int, Callable[[], None]]] = [(_FAILED_INTERVAL_MS, self.look)]
        if sasl.users.has_files:
            found.append((LOOK_INTERVAL_MS, looks_on(thread, sasl.users.look)))
        return found

    def auth(self, connection: "Connection", xid: int, reader: "Reader") -> None:
        """Authenticate a client with the scheme digest or ip."""
        request = decode_auth(reader)
        proven = access.authenticate(
            request.scheme, request.auth, connection.address, self._config.digests
        )
        most = self._config.rules.most_identities
        identities = connection.identities.with_(proven)
        is_one_too_many = identities is not connection.identities and identities.num_proven > most
        accepted = bool(proven) and not is_one_too_many
        self._reply(connection, xid, 0 if accepted else ErrorCode.AUTH_FAILED)
        if accepted:
            connection.identities = identities
            return
        self._stats.auth_failures += 1
        connection.finish()
        if is_one_too_many:
            self._limited.warning(
                "closing the connection of %s: the client authenticated more identities than"
                " zoolet.maxIdentitiesPerConnection allows (%d)",
                connection.peer,
                most,
            )
        else:
            self._limited.warning(
                "closing the connection of %s: the client failed to authenticate with the scheme"
                " %r",
                connection.peer,
                request.scheme,
            )

    def sasl(self, connection: "Connection", xid: int, reader: "Reader") -> None:
        """Take a token of SASL; without users, reply without a token, as Apache does."""
        from zoolet.server.sasl.exchanges import (  # noqa: PLC0415 -- rare
            NoReplyError,
            SaslError,
        )

        token = decode_sasl(reader)
        if token is None:
            self._limited.warning(
                "closing the connection of %s: the client sent a null SASL token", connection.peer
            )
            connection.abort()
            return
        if self.sasl_logins is None:
            self._reply(connection, xid, 0, encode_token(None))
            return
        exchange = connection.exchange
        if exchange is None:
            exchange = connection.exchange = self.sasl_logins.begin(token)
        try:
            answer = exchange.step(token)
        except NoReplyError as malformed:
            self._limited.warning("closing the connection of %s: %s", connection.peer, malformed)
            connection.abort()
        except SaslError as error:
            self._refuse(self.sasl_logins, connection, xid, error)
        else:
            self._accept(self.sasl_logins, connection, exchange)
            self._reply(connection, xid, 0, encode_token(answer))

    @staticmethod
    def _accept(sasl: "SaslLogins", connection: "Connection", exchange: "Exchange") -> None:
        """Add the identity of a client that is authenticated now."""
        name = exchange.identity
        if name is None:
            return
        proven: tuple[Id, ...] = (Id("sasl", name),)
        if name in sasl.super_users:
            proven = (*proven, SUPER)
        connection.identities = connection.identities.with_(proven, sasl.further)

    def _refuse(
        self, sasl: "SaslLogins", connection: "Connection", xid: int, error: Exception
    ) -> None:
        self._stats.auth_failures += 1
        self._limited.warning("%s failed to authenticate with SASL: %s", connection.peer, error)
        connection.is_paused = True
        at_ms = self._clock.monotonic_ms() + sasl.failure_delay_ms
        self._failed.append(_Failed(at_ms, connection, xid))

    def look(self) -> None:
        """Reply to clients whose authentication has failed, when their delay is over."""
        now_ms = self._clock.monotonic_ms()
        while self._failed and self._failed[0].at_ms <= now_ms:
            _, connection, xid = self._failed.popleft()
            if connection.is_open:
                self._reply_failed(connection, xid)

    def _reply_failed(self, connection: "Connection", xid: int) -> None:
        sasl = self.sasl_logins
        if sasl is not None and sasl.keeps_failed_clients:
            self._reply(connection, xid, 0, encode_token(None))
            connection.flush()
            connection.resume()
            return
        is_required = "sasl" in self._config.required_schemes
        code = ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH if is_required else ErrorCode.AUTH_FAILED
        self._reply(connection, xid, code, encode_token(None))
        connection.finish()
        connection.flush()

    def _reply(self, connection: "Connection", xid: int, err: int, body: bytes = b"") -> None:
        batch = self._commit.batch_to_wait_for(connection, NOTHING)
        self._outbox.reply(batch, connection, xid, 0, err, body)
