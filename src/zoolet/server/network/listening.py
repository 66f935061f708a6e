"""Listening sockets: opening them, and accepting the connections that wait there.

asyncio and uvloop can do both, but they say nothing about a connection that they could not accept,
and keep its descriptor. Here every accepted socket ends in one of three ways: a protocol serves it
and closes it, it is refused and closed at once, or its set-up fails and it is closed. Each failure
is logged, and repeated ones are rate-limited.

Accepting is bounded: one iteration of the event loop accepts at most ACCEPTS_PER_ITERATION
connections per listening socket; the others wait in the kernel's queue. Works on asyncio's event
loop and on uvloop.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zoolet.server.common.log_limiter import LogLimiter
from zoolet.server.network.admission import AcceptedSocket, Admission

if TYPE_CHECKING:
    import ssl

    from zoolet.server.zoo_cfg.config import Listener

log = logging.getLogger(__name__)

NewProtocol = Callable[[AcceptedSocket], asyncio.Protocol]
"""Returns what serves a connection. It calls ``opened`` and ``closed`` of what it is given."""

ACCEPTS_PER_ITERATION: Final = 32
HANDSHAKES_PER_COLLECTION: Final = 32
"""After this many failed handshakes the garbage is collected: asyncio's have buffers of 256 KB."""
_PAUSE_S: Final = 0.1
"""How long nothing is accepted after the system had no descriptor or memory for a connection."""

_PORT_ATTEMPTS: Final = 20
_NO_DESCRIPTORS: Final = {errno.EMFILE: "this process", errno.ENFILE: "the system"}
_GONE: Final = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.ENOTCONN, errno.EPROTO})
"""What the system says of a peer that is gone before its connection is served."""

_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

_BROKEN: Final = frozenset(
    {
        *_GONE,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
    }
)
"""What the system says of a connection that broke."""


class ListeningSocket(NamedTuple):
    """One listening socket and its address."""

    socket: socket.socket
    host: str
    port: int


def open_listening_sockets(at: "Listener", backlog: int) -> list[ListeningSocket]:
    """Listen at an address; None and ``::`` are every address of this machine, in both families.

    A host name can stand for several addresses, and gets a socket for each. Port 0 is any free
    port, the same for all. Raises OSError; socket.gaierror is one.
    """
    is_everywhere = at.address is None or at.address == "::"
    wanted: list[tuple[int, str]] = (
        [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 -- what was asked for
        if is_everywhere
        else _addresses_of(at.address or "", at.port)
    )
    for _ in range(_PORT_ATTEMPTS):
        try:
            return _open_all(wanted, at.port, backlog, may_lack_family=is_everywhere)
        except OSError as error:
            # The free port of the first address can be taken at the second.
            if at.port or error.errno != errno.EADDRINUSE:
                raise
            failure = error
    raise failure


def _addresses_of(host: str, port: int) -> list[tuple[int, str]]:
    """Return the family and the address of everything that a host name stands for."""
    # As bytes: Python has a text encoded by the rules for international names, a large module.
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
            # Each family has its own socket, so that an IPv4 client has its IPv4 address.
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
        sockets: where it listens.
    """

    def __init__(
        self,
        sockets: list[ListeningSocket],
        admission: Admission,
        new_protocol: NewProtocol,
        now_ms: Callable[[], int],
        *,
        tls: "ssl.SSLContext | None" = None,
        handshake_timeout_ms: int = 10_000,
    ) -> None:
        """Begin to accept; the event loop has to run. Closes the sockets when it is closed."""
        self.sockets = sockets
        self._admission = admission
        self._new_protocol = new_protocol
        self._tls = tls
        self._handshake_timeout_ms = handshake_timeout_ms
        self._failed_handshakes = 0
        self._limiter = LogLimiter(log, now_ms)
        self._loop = asyncio.get_running_loop()
        self._set_ups: dict[asyncio.Task[None], AcceptedSocket] = {}
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
            # Without TLS it ends in this iteration or the next. It is not cancelled: uvloop would
            # close a transport that its protocol has just got, and never say that it is gone.
            if self._tls is not None and accepted.transport is None:
                set_up.cancel()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    # -- accepting ---------------------------------------------------------------------------------

    def _accept_some(self, listening: ListeningSocket) -> None:
        """Accept what waits, up to the bound: what the event loop calls if something waits.

        Mostly one connection waits, so the first call accepts one and saves the system call that
        finds none. Each further call in a row accepts twice as many.
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
        """Refuse the newest connection if descriptors are missing, then wait a moment."""
        whose = _NO_DESCRIPTORS.get(error.errno or 0)
        if whose is not None:
            self._limiter.warning(
                "refusing new connections: %s has no file descriptor left. Allow more (ulimit -n,"
                " or LimitNOFILE in a systemd unit; fs.file-max for the system), or fewer"
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
        """Accept with a descriptor that was kept for this, and close at once; returns how many.

        Otherwise these clients would wait in the kernel's queue without knowing why.
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
        """Accept nothing for a moment: the loop would call again at once, and in vain."""
        self._loop.remove_reader(listening.socket.fileno())
        self._pauses[listening] = self._loop.call_later(_PAUSE_S, self._resume, listening)

    def _resume(self, listening: ListeningSocket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening.socket.fileno(), self._accept_some, listening)

    def _take(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Serve an accepted socket, or close it; what fails here ends this connection alone."""
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
        """Give a connection its transport; what fails here ends this connection alone."""
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: protocol, accepted.socket)
            else:
                from zoolet.server.network import handshakes  # noqa: PLC0415 -- loads OpenSSL

                await handshakes.connect(
                    self._loop,
                    lambda: protocol,
                    accepted.socket,
                    self._tls,
                    self._handshake_timeout_ms,
                )
        except Exception as error:  # noqa: BLE001 -- no state has changed: see the docstring
            if accepted.transport is None:
                self._set_up_failed(accepted, error)
        finally:
            if self._is_closed:
                accepted.abort()
            if accepted.transport is None:
                # The protocol never had a transport, so nobody tells it that it is gone.
                accepted.closed()

    def _set_up_failed(self, accepted: AcceptedSocket, error: Exception) -> None:
        if self._tls is not None and isinstance(error, OSError):
            from zoolet.server.network import handshakes  # noqa: PLC0415 -- loads OpenSSL

            self._failed_handshakes += 1
            if self._failed_handshakes % HANDSHAKES_PER_COLLECTION == 0:
                gc.collect(1)
            self._limiter.warning(
                "the TLS handshake of %s failed: %s",
                accepted.peer,
                handshakes.cause_of(error, self._handshake_timeout_ms),
                kind=f"{type(error).__name__} {getattr(error, 'reason', '')}",
            )
        elif isinstance(error, OSError | RuntimeError):  # the latter is uvloop's for a closed one
            self._log_gone(accepted.peer)
        else:
            self._limiter.warning("cannot serve the connection of %s: %r", accepted.peer, error)

    def _log_gone(self, peer: str) -> None:
        self._limiter.info(
            "the connection of %s was reset before it was served. A health check may do this", peer
        )


def _spare_descriptor() -> int | None:
    """Return a descriptor to give up when there is none for a connection; None: there is none."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def is_broken_connection(context: Mapping[str, Any]) -> bool:
    """Say whether what an event loop reports is only a connection that broke.

    ``context`` is what the loop gives its exception handler. True only for the transport's own
    errors: whatever a protocol's method raises is a fault of the server, also an OSError.
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
