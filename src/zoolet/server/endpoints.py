"""The ports of a server: the ports for clients, the admin endpoint and the metrics endpoint.

This module sets the limits of the number of connections and the rules that close idle connections.
It decides which protocol serves which port. It does not depend on requests.
"""

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from zoolet.model.addresses import not_resolved
from zoolet.server.common.changed_files import LOOK_INTERVAL_MS, looks_on
from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.errors import ServerError
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.server.sockets.admission import (
    FILE_DESCRIPTORS,
    OPERATOR_CONNECTIONS,
    OPERATOR_DESCRIPTORS,
    AcceptedSocket,
    Admission,
    Limits,
)
from zoolet.server.sockets.idle_connections import IdleConnections
from zoolet.server.sockets.listening import Acceptor, open_listening_sockets
from zoolet.server.zoo_cfg.config import NO_CLIENTS, AdminConfig, Config, Listener

if TYPE_CHECKING:
    import ssl

    from zoolet.server.common.reloaded import Reloaded
    from zoolet.server.operator.guard import Guard
    from zoolet.server.operator.http import Page

log = logging.getLogger(__name__)

WrapProtocol = Callable[[asyncio.Protocol], asyncio.Protocol]

_METRICS_IDLE_S: Final = 30.0
_DEFAULT_BACKLOG: Final = 50


class Endpoints:
    """The ports of one server.

    Attributes:
        clients: the clients' connections, on all client ports together.
        operators: the connections to the admin endpoint and to the metrics endpoint.
        idle: the rules that close idle connections.
        listening: for each kind of user ("clients", "admin"), the hosts and ports of its sockets.
    """

    def __init__(
        self,
        config: Config,
        processor: RequestProcessor,
        clock: Clock,
        wrap_protocol: WrapProtocol | None,
    ) -> None:
        """Prepare the endpoints without listening; for ``wrap_protocol``, see ``Server``."""
        self._config = config
        self._processor = processor
        self._now_ms = clock.monotonic_ms
        self._wrap_protocol = wrap_protocol
        self.clients = Admission(
            Limits(
                config.max_connections,
                config.max_connections_per_address,
                FILE_DESCRIPTORS + OPERATOR_DESCRIPTORS,
            ),
            self._now_ms,
            self._count_refused,
        )
        self.operators = Admission(
            Limits(
                OPERATOR_CONNECTIONS,
                0,
                FILE_DESCRIPTORS,
                name="operator's connection",
                setting="the limit of the admin and the metrics endpoint",
            ),
            self._now_ms,
        )
        self._certificates: Reloaded[ssl.SSLContext] | None = None
        self._guard: Guard | None = None
        self._operators_look: list[Callable[[], None]] = []
        self._operators_tls: Callable[[], ssl.SSLContext] | None = None
        self.listening: list[tuple[str, list[tuple[str, int]]]] = []
        self.idle = IdleConnections(
            [self.clients, self.operators],
            self._now_ms,
            processor.stats,
            sessionless_timeout_ms=config.sessionless_timeout_ms,
            client_read_timeout_ms=config.client_read_timeout_ms,
        )

    def listen_for_clients(self, started: contextlib.AsyncExitStack) -> None:
        """Serve clients until ``started`` is closed; raises ServerError if listening fails."""
        config = self._config
        context = None
        # The client port is last: when it accepts connections, the server is ready.
        if config.tls is not None:
            from zoolet.server.sockets.tls import client_certificates  # noqa: PLC0415 -- OpenSSL

            self._certificates = client_certificates(config.tls)
            context = self._certificates.current
            if config.tls.listener is not None:
                self._listen(started, config.tls.listener, "secureClientPort", context)
        if config.client_port != NO_CLIENTS:
            clients = Listener(config.client_address, config.client_port)
            is_unified = config.tls is not None and config.tls.unifies_ports
            self._listen(
                started, clients, "clientPort", context if is_unified else None, accepts_plain=True
            )

    def repetitions(self, thread: DiskThread) -> list[tuple[int, Callable[[], None]]]:
        """Return the periodic tasks, each with its interval in ms; ``thread`` reads files."""
        looks = list(self._operators_look)
        if self._certificates is not None:
            looks.append(self._certificates.look)
        return [(LOOK_INTERVAL_MS, looks_on(thread, look)) for look in looks]

    def _listen(
        self,
        started: contextlib.AsyncExitStack,
        at: Listener,
        key: str,
        context: "Callable[[], ssl.SSLContext] | None",
        *,
        accepts_plain: bool = False,
    ) -> None:
        """Serve clients at the address that ``key`` of zoo.cfg sets."""
        try:
            acceptor = self.listen_at(at, context, accepts_plain=accepts_plain)
        except socket.gaierror as error:
            name = not_resolved(str(at.address), error.strerror or str(error))
            raise ServerError(f"{name}. Correct {key}Address in zoo.cfg.") from error
        except OSError as error:
            raise ServerError(
                f"cannot listen on {at.address or 'every address'}, port {at.port}:"
                f" {error.strerror or error}. Stop the program that uses the port, or set another"
                f" {key} (or {key}Address) in zoo.cfg."
            ) from error
        started.callback(acceptor.close)
        self._note("clients" if accepts_plain else "TLS clients", acceptor)

    def _note(self, users: str, acceptor: Acceptor) -> None:
        self.listening.append((users, [(each.host, each.port) for each in acceptor.sockets]))

    def listen_at(
        self,
        at: Listener,
        context: "Callable[[], ssl.SSLContext] | None" = None,
        *,
        accepts_plain: bool = False,
    ) -> Acceptor:
        """Serve clients at an address until the returned acceptor is closed.

        ``context`` and ``accepts_plain`` are the arguments of ``Acceptor`` for TLS. Raises OSError
        if the server cannot listen at the address.
        """
        backlog = self._config.listen_backlog
        return Acceptor(
            open_listening_sockets(at, backlog if backlog > 0 else _DEFAULT_BACKLOG),
            self.clients,
            self._new_protocol,
            self._now_ms,
            tls=context,
            accepts_plain=accepts_plain,
            handshake_timeout_ms=self._config.sessionless_timeout_ms,
        )

    def _new_protocol(self, accepted: AcceptedSocket) -> asyncio.Protocol:
        """Return the protocol that serves a client's connection."""
        connection = accepted.connection = Connection(self._processor, accepted)
        # Connection has the methods of asyncio.Protocol, but does not inherit from this class.
        protocol = cast("asyncio.Protocol", connection)
        if self._wrap_protocol is not None:
            return self._wrap_protocol(protocol)
        connection.bypass_transport(accepted.socket)
        return protocol

    def _count_refused(self, count: int) -> None:
        self._processor.stats.connections_rejected += count

    def listen_for_operators(
        self,
        started: contextlib.AsyncExitStack,
        backup_pages: Callable[[AdminConfig], Mapping[str, "Page"]],
    ) -> None:
        """Serve the admin endpoint and the metrics endpoint, if zoo.cfg enables them.

        ``backup_pages`` returns the pages of the admin commands snapshot and restore.
        The modules of the endpoints are imported here, so that a server without them needs less
        memory.
        """
        admin, metrics = self._config.admin, self._config.metrics
        if admin is not None or metrics is not None:
            self._prepare_for_operators(started)
        if admin is not None:
            self._listen_for_admin(started, admin, backup_pages(admin))
        if metrics is not None:
            self._listen_for_metrics(started, metrics)

    def _listen_for_admin(
        self,
        started: contextlib.AsyncExitStack,
        admin: AdminConfig,
        pages: "Mapping[str, Page]",
    ) -> None:
        from zoolet.server.operator.admin import (  # noqa: PLC0415 -- see listen_for_operators
            admin_page,
            needed_role,
        )

        access = self._config.operators
        page = admin_page(self._processor.inspector, admin.root, pages)
        if self._guard is not None:
            page = self._guard.guarded(page, needed_role(admin.root))
        try:
            acceptor = self._serve_page(
                started,
                page,
                admin.listener,
                admin.idle_timeout_ms / 1000,
                self._operators_tls if access.admin_offers_https else None,
                accepts_plain=not access.admin_needs_https,
            )
            self._note("admin", acceptor)
        except OSError as error:
            # As in Apache ZooKeeper, this is not an error: a second server on the same machine
            # starts without another setting.
            log.warning(
                "no admin endpoint on port %d: %s. Set another admin.serverPort, or set"
                " admin.enableServer=false.",
                admin.listener.port,
                error.strerror or error,
            )

    def _listen_for_metrics(self, started: contextlib.AsyncExitStack, at: Listener) -> None:
        from zoolet.server.operator.metrics import (  # noqa: PLC0415 -- see listen_for_operators
            metrics_page,
            metrics_role,
        )

        needs_https = self._config.operators.metrics_needs_https
        page = metrics_page(self._processor.inspector)
        if self._guard is not None:
            page = self._guard.guarded(page, metrics_role)
        try:
            acceptor = self._serve_page(
                started,
                page,
                at,
                _METRICS_IDLE_S,
                self._operators_tls if needs_https else None,
                accepts_plain=not needs_https,
            )
            self._note("metrics", acceptor)
        except OSError as error:
            raise ServerError(
                f"cannot serve metrics on port {at.port}:"
                f" {error.strerror or error}. Set another metricsProvider.httpPort in zoo.cfg."
            ) from error

    def _prepare_for_operators(self, started: contextlib.AsyncExitStack) -> None:
        """Read the certificates and the users of the operators' endpoints; raises ServerError."""
        access = self._config.operators
        if access.tls is not None:
            from zoolet.server.sockets.operator_certificates import (  # noqa: PLC0415 -- OpenSSL
                operator_context,
            )

            reloaded = operator_context(access.tls)
            self._operators_tls = reloaded.current
            self._operators_look.append(reloaded.look)
        if access.users_file is not None:
            from zoolet.server.operator.guard import guard_of  # noqa: PLC0415 -- rare

            stats = self._processor.stats
            users, self._guard = guard_of(
                access.users_file, access.failure_delay_ms, stats, self._now_ms
            )
            self._operators_look.append(users.look)
            started.callback(self._guard.close)

    def _serve_page(
        self,
        started: contextlib.AsyncExitStack,
        page: "Page",
        listener: Listener,
        idle_timeout_s: float,
        tls: "Callable[[], ssl.SSLContext] | None",
        *,
        accepts_plain: bool,
    ) -> Acceptor:
        """Serve a page over HTTP or HTTPS until ``started`` is closed; raises OSError."""
        from zoolet.server.operator.http import HttpConnection  # noqa: PLC0415 -- loads a library

        sockets = open_listening_sockets(listener, _DEFAULT_BACKLOG)
        new_protocol = functools.partial(
            HttpConnection, page, self._processor.answers, idle_timeout_s
        )
        acceptor = Acceptor(
            sockets,
            self.operators,
            new_protocol,
            self._now_ms,
            tls=tls,
            accepts_plain=accepts_plain,
        )
        started.callback(acceptor.close)
        return acceptor
