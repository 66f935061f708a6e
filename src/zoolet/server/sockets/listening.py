"""Listening sockets: opens them and accepts connections.

asyncio and uvloop can also accept connections, but they do not report a connection that they could
not accept, and do not close its descriptor. In this module, every accepted socket ends in one of
three ways: a protocol serves and closes it, the server refuses and immediately closes it, or its
set-up fails and the server closes it. Each failure is logged; repeated messages are rate-limited.

One iteration of the event loop accepts at most ACCEPTS_PER_ITERATION connections for each listening
socket; further connections wait in the kernel's queue. This module works with asyncio's event loop
and with uvloop.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.sockets.admission import AcceptedSocket, Admission

if TYPE_CHECKING:
    import ssl

    from zoolet.server.zoo_cfg.config import Listener

log = logging.getLogger(__name__)

NewProtocol = Callable[[AcceptedSocket], asyncio.Protocol]
"""Returns the protocol that serves an accepted socket. The protocol must call the methods
``opened`` and ``closed`` of the socket."""

ACCEPTS_PER_ITERATION: Final = 32
_PAUSE_S: Final = 0.1
"""After an accept failed (no descriptor, no memory), the time until the next attempt."""

_PORT_ATTEMPTS: Final = 20
_NO_DESCRIPTORS: Final = {errno.EMFILE: "this process", errno.ENFILE: "the system"}
_GONE: Final = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.ENOTCONN, errno.EPROTO})
"""The errors of the system if a peer has disconnected before its connection is served."""

_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

_BROKEN: Final = frozenset(
    {
        *_GONE,
        errno.EPIPE,
        errno.EPROTOTYPE,  # macOS: a write while the peer closes the connection
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
    }
)
"""The errors of the system for a connection that broke."""


class ListeningSocket(NamedTuple):
    """One listening socket and its address."""

    socket: socket.socket
    host: str
    port: int


def open_listening_sockets(at: "Listener", backlog: int) -> list[ListeningSocket]:
    """Listen at an address.

    None and ``::`` mean every IPv4 and IPv6 address of this machine. A host name can have several
    addresses; this function opens one socket for each address. Port 0 means any free port, which is
    the same for all sockets. Raises OSError (socket.gaierror is a subclass).
    """
    is_everywhere = at.address is None or at.address == "::"
    wanted: list[tuple[int, str]] = (
        [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 -- zoo.cfg wants this
        if is_everywhere
        else _addresses_of(at.address or "", at.port)
    )
    for _ in range(_PORT_ATTEMPTS):
        try:
            return _open_all(wanted, at.port, backlog, may_lack_family=is_everywhere)
        except OSError as error:
            # A port that is free at the first address can be in use at the second address.
            if at.port or error.errno != errno.EADDRINUSE:
                raise
            failure = error
    raise failure


def _addresses_of(host: str, port: int) -> list[tuple[int, str]]:
    """Return the address family and the address of each address of a host name."""
    # As bytes: for a text, Python imports the large module for international names.
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, _text_of(address)) for family, _, _, _, address in found))


def _text_of(address: tuple[Any, ...]) -> str:
    host: str = address[0]
    scope = address[3] if len(address) > 3 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host


def _open_all(
    wanted: list[tuple[int, str]], port: int, backlog: int, *, may_lack_family: bool
) -> list[ListeningSocket]:
    opened: list[ListeningSocket] = []
    try:
        for family, host in wanted:
            try:
                opened.append(_open(family, host, opened[0].port if opened else port, backlog))
            except OSError as error:
                is_last_chance = not opened and (family, host) == wanted[-1]
                if not may_lack_family or is_last_chance or error.errno not in _FAMILY_MISSING:
                    raise
    except OSError:
        for listening in opened:
            listening.socket.close()
        raise
    return opened


def _open(family: int, host: str, port: int, backlog: int) -> ListeningSocket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each family has its own socket, so that an IPv4 client is seen with an IPv4 address.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        address = socket.getaddrinfo(host.encode(), port, family, socket.SOCK_STREAM)[0][4]
        listening.bind(address)
        listening.listen(backlog)
        listening.setblocking(False)
        return ListeningSocket(listening, host, listening.getsockname()[1])
    except BaseException:
        listening.close()
        raise


class Acceptor:
    """Accepts connections on listening sockets until it is closed.

    Attributes:
        sockets: the listening sockets.
    """

    def __init__(
        self,
        sockets: list[ListeningSocket],
        admission: Admission,
        new_protocol: NewProtocol,
        now_ms: Callable[[], int],
        *,
        tls: "Callable[[], ssl.SSLContext] | None" = None,
        accepts_plain: bool = False,
        handshake_timeout_ms: int = 10_000,
    ) -> None:
        """Begin to accept; the event loop must be running. ``close`` closes the sockets.

        ``tls`` returns the TLS context for a new connection; None for connections without TLS. With
        ``accepts_plain``, the first byte of a client decides whether its connection uses TLS.
        """
        self.sockets = sockets
        self._admission = admission
        self._new_protocol = new_protocol
        self._tls = tls
        self._accepts_plain = accepts_plain
        self._handshake_timeout_ms = handshake_timeout_ms
        self._limiter = LogLimiter(log, now_ms)
        self._loop = asyncio.get_running_loop()
        self._set_ups: dict[asyncio.Task[None], AcceptedSocket] = {}
        self._waiting: set[AcceptedSocket] = set()
        self._pauses: dict[ListeningSocket, asyncio.TimerHandle] = {}
        self._spare = _spare_descriptor()
        self._is_closed = False
        self._burst = 1
        for listening in sockets:
            self._resume(listening)

    def close(self) -> None:
        """Stop listening; connections that are still being set up are closed."""
        self._is_closed = True
        for pause in self._pauses.values():
            pause.cancel()
        for listening in self.sockets:
            if listening not in self._pauses:
                self._loop.remove_reader(listening.socket.fileno())
            listening.socket.close()
        self._pauses.clear()
        for set_up, accepted in tuple(self._set_ups.items()):
            # A set-up that does not wait for its client ends in this iteration or the next one. It
            # is not cancelled: uvloop would close the transport without calling connection_lost of
            # the protocol.
            if accepted in self._waiting and accepted.transport is None:
                set_up.cancel()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    # --- Accepting

    def _accept_some(self, listening: ListeningSocket) -> None:
        """Accept waiting connections; the event loop calls this method if connections wait.

        In most cases only one connection waits, so the first call accepts one connection and saves
        the system call that finds no other. Each consecutive call accepts twice as many, up to
        ACCEPTS_PER_ITERATION.
        """
        for _ in range(self._burst):
            if self._is_closed:
                return
            try:
                sock, address = listening.socket.accept()
            except (BlockingIOError, InterruptedError):
                self._burst = 1
                return
            except OSError as error:
                if error.errno in _BROKEN:
                    self._log_gone("a client")
                    continue
                self._accept_failed(listening, error)
                return
            self._take(sock, address)
        self._burst = min(2 * self._burst, ACCEPTS_PER_ITERATION)

    def _accept_failed(self, listening: ListeningSocket, error: OSError) -> None:
        """Refuse waiting connections if no descriptor is free, then pause accepting."""
        whose = _NO_DESCRIPTORS.get(error.errno or 0)
        if whose is not None:
            self._limiter.warning(
                "refusing new connections: %s has no file descriptor left. Raise the limit (ulimit"
                " -n, or LimitNOFILE in a systemd unit; fs.file-max for the system), or allow fewer"
                " connections (maxCnxns, maxClientCnxns)",
                whose,
            )
            self._admission.count_refused(self._refuse_with_spare(listening))
        else:
            self._limiter.warning(
                "cannot accept connections on %s, port %d: %s. The server tries again",
                listening.host,
                listening.port,
                error,
            )
        self._pause(listening)

    def _refuse_with_spare(self, listening: ListeningSocket) -> int:
        """Accept and close waiting connections, with a spare descriptor; return their number.

        Otherwise these clients would wait in the kernel's queue and get no error.
        """
        if self._spare is None:
            self._spare = _spare_descriptor()
            return 0
        refused = 0
        os.close(self._spare)
        self._spare = None
        with contextlib.suppress(OSError):
            for _ in range(ACCEPTS_PER_ITERATION):
                listening.socket.accept()[0].close()
                refused += 1
        self._spare = _spare_descriptor()
        return refused

    def _pause(self, listening: ListeningSocket) -> None:
        """Stop accepting for _PAUSE_S; an immediate attempt would fail again."""
        self._loop.remove_reader(listening.socket.fileno())
        self._pauses[listening] = self._loop.call_later(_PAUSE_S, self._resume, listening)

    def _resume(self, listening: ListeningSocket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening.socket.fileno(), self._accept_some, listening)

    def _take(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Serve an accepted socket, or close it; a failure affects only this connection."""
        try:
            sock.getpeername()
        except OSError:
            sock.close()
            self._log_gone(f"/{address[0]}:{address[1]}")
            return
        refusal = self._admission.refusal(sock.fileno(), address[0])
        if refusal is not None:
            sock.close()
            self._admission.count_refused(1)
            message, arguments = refusal
            self._limiter.warning(message, *arguments)
            return
        accepted = self._admission.enter(sock, (address[0], address[1]))
        try:
            protocol = self._new_protocol(accepted)
            task = self._loop.create_task(self._set_up(accepted, protocol))
        except Exception as error:  # noqa: BLE001 -- no state has changed: see the docstring
            accepted.closed()
            sock.close()
            self._limiter.warning("cannot serve the connection of %s: %r", accepted.peer, error)
            return
        self._set_ups[task] = accepted
        task.add_done_callback(self._set_ups.pop)

    async def _set_up(self, accepted: AcceptedSocket, protocol: asyncio.Protocol) -> None:
        """Give a connection its transport; a failure affects only this connection."""
        try:
            if self._is_closed:
                accepted.socket.close()  # the client could let the set-up wait
            elif not await self._connect_with_tls(accepted, protocol):
                await self._loop.connect_accepted_socket(lambda: protocol, accepted.socket)
        except Exception as error:  # noqa: BLE001 -- no state has changed: see the docstring
            if accepted.transport is None:
                self._set_up_failed(accepted, error)
        finally:
            if self._is_closed:
                accepted.abort()
            if accepted.transport is None:
                # The protocol has no transport, so the event loop does not call connection_lost.
                accepted.closed()

    async def _connect_with_tls(self, accepted: AcceptedSocket, protocol: asyncio.Protocol) -> bool:
        """Do the TLS handshake of a connection; False if the connection does not use TLS."""
        if self._tls is None:
            return False
        from zoolet.server.sockets import handshakes  # noqa: PLC0415 -- loads OpenSSL

        self._waiting.add(accepted)
        try:
            loop, timeout_ms = self._loop, self._handshake_timeout_ms
            began_s = loop.time()
            if self._accepts_plain:
                if not await handshakes.begins_with_tls(loop, accepted.socket, timeout_ms):
                    return False
                timeout_ms = max(1, timeout_ms - int(1000 * (loop.time() - began_s)))
            await handshakes.connect(loop, protocol, accepted.socket, self._tls(), timeout_ms)
        finally:
            self._waiting.discard(accepted)
        return True

    def _set_up_failed(self, accepted: AcceptedSocket, error: Exception) -> None:
        if self._tls is not None and isinstance(error, OSError):
            from zoolet.server.sockets import handshakes  # noqa: PLC0415 -- loads OpenSSL

            if isinstance(error, handshakes.NothingSentError):
                if error.is_gone:
                    self._log_gone(accepted.peer)
                else:
                    self._limiter.warning("closing the connection of %s: %s", accepted.peer, error)
                return
            self._limiter.warning(
                "the TLS handshake of %s failed: %s",
                accepted.peer,
                handshakes.cause_of(error, self._handshake_timeout_ms),
                kind=f"{type(error).__name__} {getattr(error, 'reason', '')}",
            )
        elif isinstance(error, OSError | RuntimeError):  # RuntimeError: uvloop, a closed socket
            self._log_gone(accepted.peer)
        else:
            self._limiter.warning("cannot serve the connection of %s: %r", accepted.peer, error)

    def _log_gone(self, peer: str) -> None:
        self._limiter.info(
            "the connection of %s was reset before it was served. Health checks can cause this",
            peer,
        )


def _spare_descriptor() -> int | None:
    """Return a spare descriptor, to close when no other is free; None if it cannot be opened."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def is_broken_connection(context: Mapping[str, Any]) -> bool:
    """Return whether an error that the event loop reports is only a broken connection.

    ``context`` is the argument of the loop's exception handler. The result is True only for errors
    of a transport. An exception from a method of a protocol is a fault of the server, also if it is
    an OSError.
    """
    error = context.get("exception")
    is_of_transport = "transport" in context and "protocol." not in str(context.get("message", ""))
    return (
        is_of_transport
        and isinstance(error, OSError)
        and (
            isinstance(error, ConnectionError | TimeoutError)
            or error.errno in _BROKEN
            or type(error).__module__ == "ssl"
        )
    )
