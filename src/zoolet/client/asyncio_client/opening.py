"""Opens the connections of an `AsyncClient`: host names, TLS, and the reasons of failures.

This module does not know the session. Invariant: each failure is an OpenError with a reason for
people. Imports ``client/connecting``, ``model`` and asyncio.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address, not_resolved

if TYPE_CHECKING:
    import ssl

    from zoolet.client.connecting.kerberos import KerberosLogin

_OF_SSL: Final = re.compile(r"^\[[A-Z0-9_: ]+\] | \(_ssl\.c:\d+\)$")
"""What the ssl module adds to the reason: an identifier, and a line of its own source."""


class OpenError(Exception):
    """A connection cannot be opened; the message is the reason."""


async def resolve(address: Address, limit_s: float) -> list[str]:
    """Return the IP addresses of a host, which is asked for again at each call.

    Raises:
        OpenError: the name cannot be resolved.
    """
    try:
        ip_address(address.host)
    except ValueError:
        pass
    else:
        return [address.host]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise OpenError(not_resolved(address.host, f"no answer within {limit_s:g} s")) from None
    except (OSError, UnicodeError) as error:
        raise OpenError(not_resolved(address.host, reason_of(error))) from error
    return list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in found))


async def prepare_login(kerberos: "KerberosLogin", host: str, ip: str, limit_s: float) -> None:
    """Get the ticket for a server. A thread does this, because the KDC may be slow.

    Raises:
        OpenError: there is no ticket.
    """
    prepared = kerberos.prepare(host, ip)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the program has ended the loop meanwhile
            loop.call_soon_threadsafe(done.set)

    prepared.add_done_callback(wake)
    try:
        async with asyncio.timeout(limit_s):
            await done.wait()
        kerberos.use(prepared.result())
    except TimeoutError:
        raise OpenError(f"no ticket of Kerberos within {limit_s:g} s") from None
    except ValueError as error:
        raise OpenError(str(error)) from error


async def open_connection(
    factory: Callable[[], asyncio.Protocol],
    ip: str,
    address: Address,
    tls: TlsFiles | None,
    limit_s: float,
) -> asyncio.Transport:
    """Open a connection to one IP address of a server.

    Raises:
        OpenError: the server does not accept the connection, or the TLS handshake fails.
    """
    context = context_of(tls)
    name = address.host if context else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            transport, _ = await loop.create_connection(
                factory, ip, address.port, ssl=context, server_hostname=name
            )
    except TimeoutError:
        raise OpenError(f"no connection within {limit_s:g} s") from None
    except (OSError, ValueError) as error:  # ValueError: a host that no certificate can name
        is_handshake = context is not None and isinstance(error, ConnectionError)
        if is_handshake and not isinstance(error, ConnectionRefusedError):
            reason = "the server ended the TLS handshake; perhaps it serves plain text"
            raise OpenError(reason) from error
        raise OpenError(reason_of(error)) from error
    return transport


def context_of(tls: TlsFiles | None) -> "ssl.SSLContext | None":
    """Return the TLS context for the files of a client; raises OpenError."""
    if tls is None:
        return None
    from zoolet.client.connecting import tls as contexts  # noqa: PLC0415 -- slow import

    try:
        return contexts.context_of(tls)
    except (OSError, ValueError) as error:
        reason = f"the client's certificate files cannot be used: {reason_of(error)}"
        raise OpenError(reason) from error


def reason_of(error: Exception) -> str:
    """Return the reason of a failure, for people."""
    # Only these have the system's error number: gaierror and SSLError have numbers of their own.
    has_number = isinstance(error, ConnectionError) or type(error) is OSError
    if has_number and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
    return _OF_SSL.sub("", text)
