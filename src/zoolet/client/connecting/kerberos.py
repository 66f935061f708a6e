"""Authentication of a client with Kerberos: SASL's mechanism GSSAPI.

Source: RFC 4752, and ``ZooKeeperSaslClient``, ``SaslServerPrincipal`` and ``Login`` of Apache
ZooKeeper.

Only the first token of an authentication may need the KDC, the DNS or a file. `KerberosLogin` makes
it in a thread of its own, before the client uses a connection. The other tokens are computed
without waiting.

Invariants: no thread of the client waits in a call of the library, except those that this module
starts; each of them ends when its call ends. Imports ``console``, and the client's protocol.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import sha256
from typing import Any, Final, final

from zoolet.client.connecting.kerberos_options import KerberosOptions, parse_kerberos
from zoolet.client.protocol.logins import SaslRefusedError
from zoolet.console.extras import missing

log = logging.getLogger(__name__)

RENEWS_AT: Final = 0.8
"""The part of the lifetime of tickets after which a client with a keytab renews them, as in
``Login`` of Apache ZooKeeper."""

_LEAST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
"""The limits of the pause after a renewal that has failed."""

_NO_LAYER: Final = 1
_CHOICE: Final = bytes([_NO_LAYER, 0, 0, 0])
_LAYERS_BYTES: Final = 4

_locks: dict[str, threading.Lock] = {}
"""A lock for each cache in memory: the clients of a process with the same keytab share a cache."""


class TicketError(ValueError):
    """There is no ticket for a server; the message says why and what to do."""


@final
class KerberosExchange:
    """An authentication with GSSAPI, whose first token is made before.

    Attributes:
        refusal: what is wrong if the server refuses a token.
    """

    refusal = "the server does not accept the ticket: its log says why"

    def __init__(self, gssapi: Any, name: Any, credentials: Any) -> None:
        """Make the first token; may wait for the KDC. Raises TicketError."""
        self._raw = gssapi.raw
        self._error = gssapi.exceptions.GSSError
        self._name = name
        self._credentials = credentials
        self._mechanism = gssapi.MechType.kerberos
        flags = gssapi.RequirementFlag
        self._flags = [flags.mutual_authentication, flags.integrity]
        self._context: Any = None
        self._is_established = False
        self._has_chosen = False
        try:
            self._first = self._step(None)
        except self._error as error:
            raise TicketError(f"no ticket of Kerberos for {name}: {_reason_of(error)}") from None

    def begin(self) -> bytes:
        """Return the first token."""
        return self._first

    def answer(self, token: bytes | None) -> bytes | None:
        """Return the next token; None if the server has accepted the last one."""
        if self._has_chosen:
            if token is not None:
                raise SaslRefusedError("the server sent a token after the end of Kerberos")
            return None
        if token is None:
            raise SaslRefusedError("the server has no Kerberos, or does not accept the ticket")
        try:
            if not self._is_established:
                return self._step(token)
            layers: bytes = self._raw.unwrap(self._context, token).message
            if len(layers) != _LAYERS_BYTES or not layers[0] & _NO_LAYER:
                raise SaslRefusedError("the server wants encryption by Kerberos: use TLS instead")
            self._has_chosen = True
            chosen: bytes = self._raw.wrap(self._context, _CHOICE, confidential=False).message
        except self._error as error:
            raise SaslRefusedError(
                f"the answer of the server is not valid: {_reason_of(error)}"
            ) from None
        return chosen

    def _step(self, token: bytes | None) -> bytes:
        done = self._raw.init_sec_context(
            self._name,
            self._credentials,
            self._context,
            self._mechanism,
            self._flags,
            input_token=token,
        )
        self._context = done.context
        self._is_established = not done.more_steps
        return bytes(done.token or b"")


@final
class KerberosLogin:
    """The login of one client: its credentials, and the authentications that they prepare."""

    def __init__(self, options: KerberosOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Future[KerberosExchange]] = {}
        self._last: tuple[str, str] | None = None
        self._renew_at_s = float("inf")
        self._expires_s = 0.0
        self._prepared: KerberosExchange | None = None
        self._cache = _shared_cache(options)

    def prepare(self, host: str, ip: str) -> "Future[KerberosExchange]":
        """Begin to make the authentication with a server; return the future of it.

        ``host`` is the name of the server in the list of servers, and ``ip`` its address. The
        future raises TicketError. It may end late, if the KDC does not reply.
        """
        with self._lock:
            key = (host, ip)
            running = self._running.get(key)
            if running is None:
                running = self._start(key, lambda: self._exchange(host, ip))
            self._last = key
            return running

    def use(self, exchange: KerberosExchange) -> None:
        """Use a prepared authentication for the next connection."""
        self._prepared = exchange

    def begin(self) -> KerberosExchange:
        """Return the authentication for a connection."""
        exchange, self._prepared = self._prepared, None
        if exchange is None:
            raise SaslRefusedError("the client has no ticket of Kerberos for this connection")
        return exchange

    def look(self) -> None:
        """Renew the tickets if most of their lifetime is over. Call it often; it does not wait.

        Tickets of a cache are renewed by whoever has written it. A renewal also gets the ticket for
        the last server, so that a reconnect needs no KDC.
        """
        with self._lock:
            if time.monotonic() < self._renew_at_s or self._running or self._last is None:
                return
            key = self._last
            self._start(key, lambda: self._renew(*key))

    def _start(
        self, key: tuple[str, str], work: Callable[[], KerberosExchange]
    ) -> "Future[KerberosExchange]":
        """Do work in a thread. The caller holds the lock."""
        future: Future[KerberosExchange] = Future()
        future.set_running_or_notify_cancel()  # so that nobody can cancel it
        self._running[key] = future
        thread = threading.Thread(
            target=self._run, args=(key, future, work), name="zoolet-kerberos", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads
            del self._running[key]
            future.set_exception(TicketError(f"no thread for Kerberos: {error}"))
        return future

    def _run(
        self,
        key: tuple[str, str],
        future: "Future[KerberosExchange]",
        work: Callable[[], KerberosExchange],
    ) -> None:
        try:
            found = work()
        except TicketError as error:
            self._end(key)
            future.set_exception(error)
        except Exception as error:
            log.exception("a ticket of Kerberos could not be asked for")
            self._end(key)
            future.set_exception(TicketError(f"no ticket of Kerberos: {error!r}"))
        else:
            self._end(key)
            future.set_result(found)

    def _end(self, key: tuple[str, str]) -> None:
        with self._lock:
            del self._running[key]

    def _renew(self, host: str, ip: str) -> KerberosExchange:
        expired_s, reason = self._expires_s, "the KDC gives no new ones"
        try:
            return self._exchange(host, ip)
        except TicketError as error:
            reason = str(error)
            raise
        finally:
            left_s = self._expires_s - time.monotonic()
            if self._expires_s > expired_s:
                log.info("renewed the tickets of Kerberos; they are valid for %.0f s", left_s)
            else:
                log.warning(
                    "the tickets of Kerberos are not renewed: %s; they are valid for %.0f s",
                    reason,
                    max(0.0, left_s),
                )
                pause_s = max(_LEAST_PAUSE_S, left_s / 4) if left_s > 0 else _LONGEST_PAUSE_S
                with self._lock:
                    self._renew_at_s = time.monotonic() + min(pause_s, _LONGEST_PAUSE_S)

    def _exchange(self, host: str, ip: str) -> KerberosExchange:
        if (advice := missing("gssapi")) is not None:
            raise TicketError(f"Kerberos is not available: {advice}")
        try:
            import gssapi  # noqa: PLC0415 -- optional, and slow to import
        except ImportError as error:
            raise TicketError(
                f"the libraries of Kerberos cannot be loaded ({error}): install MIT Kerberos, for"
                " example Debian's package libgssapi-krb5-2"
            ) from None
        name = self._server_name(gssapi, host, ip)
        if not self._cache:
            return KerberosExchange(gssapi, name, self._credentials(gssapi)[0])
        with _locks[self._cache]:
            credentials, lifetime_s = self._credentials(gssapi)
            self._set_renewal(lifetime_s)
            return KerberosExchange(gssapi, name, credentials)

    def _set_renewal(self, lifetime_s: float) -> None:
        """Set the time of the next renewal, for tickets that are valid for a time from now on.

        After half of the lifetime, the library gets new tickets whenever it is asked for some. If
        it cannot, it goes on with those that it has.
        """
        now_s = time.monotonic()
        with self._lock:
            if now_s + lifetime_s > self._expires_s + _LEAST_PAUSE_S:
                self._expires_s = now_s + lifetime_s
                self._renew_at_s = now_s + lifetime_s * RENEWS_AT

    def _credentials(self, gssapi: Any) -> tuple[Any, float]:
        """Return the credentials; those of a keytab with the seconds for which they are valid."""
        options = self._options
        name = None
        if options.principal:
            name = gssapi.Name(options.principal, gssapi.NameType.kerberos_principal)
        store = {"ccache": self._cache or options.cache} if self._cache or options.cache else {}
        if options.keytab:
            store["client_keytab"] = options.keytab
        try:
            found = gssapi.Credentials(
                name=name,
                usage="initiate",
                mechs=[gssapi.MechType.kerberos],
                store=store or None,
            )
            return found, float(found.lifetime or 0) if options.keytab else 0.0
        except gssapi.exceptions.GSSError as error:
            source = f"the keytab {options.keytab}" if options.keytab else "the ticket cache"
            advice = (
                f"`klist -k {options.keytab}` shows the principals in it"
                if options.keytab
                else "get one with kinit, or give a keytab: kerberos:keytab=FILE"
            )
            whom = f" for {options.principal}" if options.principal else ""
            raise TicketError(
                f"{source} gives no ticket of Kerberos{whom}: {_reason_of(error)} ({advice})"
            ) from None

    def _server_name(self, gssapi: Any, host: str, ip: str) -> Any:
        """Return the name of a server.

        Without a realm, it is the name of a service on a host: the realm comes from krb5.conf.
        """
        options = self._options
        principal = gssapi.NameType.kerberos_principal
        if options.server:
            has_realm = "@" in options.server or not options.realm
            server = options.server if has_realm else f"{options.server}@{options.realm}"
            return gssapi.Name(server, principal)
        if options.canonicalize or host == ip:
            host = canonical(host, ip)
        if options.realm:
            return gssapi.Name(f"{options.service}/{host}@{options.realm}", principal)
        if not options.canonicalize:  # the library must not ask the DNS either
            return gssapi.Name(f"{options.service}/{host}", principal)
        return gssapi.Name(f"{options.service}@{host}", gssapi.NameType.hostbased_service)


def kerberos_login(text: str) -> KerberosLogin:
    """Return the login for the text of a credential. Raises ValueError."""
    return KerberosLogin(parse_kerberos(text))


def canonical(host: str, ip: str) -> str:
    """Return the name that the DNS gives for an address; ``host`` if it gives none.

    As in Java, the name counts only if it leads to the address again.
    """
    try:
        name, _ = socket.getnameinfo((ip, 0), socket.NI_NAMEREQD)
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return host
    return name if ip in {str(address[0]) for *_, address in found} else host


def _shared_cache(options: KerberosOptions) -> str:
    """Return the name of the cache in memory for tickets from a keytab; "" without a keytab."""
    if not options.keytab:
        return ""
    identity = sha256(f"{options.keytab}\0{options.principal}".encode()).hexdigest()
    cache = f"MEMORY:zoolet-{identity}"
    _locks.setdefault(cache, threading.Lock())
    return cache


def _reason_of(error: Any) -> str:
    """Return what Kerberos says of an error of gssapi, without the codes around it."""
    mechanism = " ".join(error.get_all_statuses(error.min_code, False)) if error.min_code else ""
    return mechanism or " ".join(error.get_all_statuses(error.maj_code, True))
