"""Addresses as text: host and port, including IPv6.

Only this module parses addresses, except those in ACLs (``state_machine/networks.py``). It does not
resolve names or open sockets. Source: Apache ZooKeeper's ``NetUtils``, which
accepts IPv6 addresses in brackets.
"""

from typing import NamedTuple

DEFAULT_PORT = 2181
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared, not listened on
"""The addresses that mean all IPv4 and IPv6 addresses of a machine, as in Java."""

_LARGEST_PORT = 65535


class AddressError(ValueError):
    """A text is not an address; the message says what is wrong and what the user can write."""


class Address(NamedTuple):
    """A host and its port; an IPv6 host is stored without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def format_address(host: str, port: int) -> str:
    """Return ``HOST:PORT``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_host(text: str) -> str:
    """Return the host of ``HOST``, ``::1`` or ``[::1]``; raises AddressError."""
    host = text.strip()
    if host.startswith("["):
        host, bracket, rest = host[1:].partition("]")
        if not bracket or rest or not is_ipv6(host):
            raise AddressError(f"{text!r} is not an IPv6 address in brackets: write [::1]")
    elif ":" in host and not is_ipv6(host):
        raise AddressError(f"{text!r} is not a host name, nor an IPv4 or IPv6 address")
    if not host or any(letter.isspace() or letter in "[]/,;" for letter in host):
        raise AddressError(f"{text!r} is not a host name, nor an IPv4 or IPv6 address")
    return host


def parse_port(text: str) -> int:
    """Return a port from 1 to 65535; raises AddressError."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= _LARGEST_PORT:
        raise AddressError(f"{text!r} is not a port: write a number from 1 to {_LARGEST_PORT}")
    return int(text)


def parse_address(text: str, default_port: int | None = DEFAULT_PORT) -> Address:
    """Return the host and port of ``HOST:PORT``, ``HOST``, ``[::1]:PORT``, ``[::1]`` or ``::1``.

    If the text is an IPv6 address without brackets, it has no port. Raises AddressError if the text
    is not an address, or if it has no port and ``default_port`` is None.
    """
    written = text.strip()
    if is_ipv6(written):
        host, port = written, ""
    elif written.startswith("["):
        host, bracket, port = written.partition("]")
        host += bracket
        if port and not port.startswith(":"):
            raise AddressError(f"{text!r} is not an address: write [HOST]:PORT")
        if port == ":":
            raise AddressError(f"{text!r} has no port after the colon: write [HOST]:PORT")
        port = port[1:]
    else:
        host, colon, port = written.partition(":")
        if ":" in port:
            raise AddressError(
                f"{text!r} is not an address: write HOST:PORT, and an IPv6 address as [::1]:PORT"
            )
        if colon and not port:
            raise AddressError(f"{text!r} has no port after the colon: write HOST:PORT")
    if port:
        return Address(parse_host(host), parse_port(port.strip()))
    if default_port is None:
        raise AddressError(f"{text!r} has no port: write HOST:PORT")
    return Address(parse_host(host), default_port)


def is_ipv6(text: str) -> bool:
    """Return whether a text is an IPv6 address, with or without a zone (``fe80::1%eth0``)."""
    if text.count(":") < 2:
        return False
    import ipaddress  # noqa: PLC0415 -- slow import

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def not_resolved(host: str, reason: str) -> str:
    """Return the message of all programs for a host name that cannot be resolved."""
    return f"the host name {host!r} cannot be resolved: {reason}"
