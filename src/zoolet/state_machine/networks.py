"""IPv4 and IPv6 addresses and networks of the scheme ip, as text and as numbers.

Source of the rules: ``IPAuthenticationProvider`` of Apache ZooKeeper 3.9.5, with the numbers that
Java's ``Integer.parseInt`` accepts. This module uses no sockets: every address is given as text.
"""

import ipaddress
import re
from typing import Final, NamedTuple

IPV4_BITS: Final = 32
IPV6_BITS: Final = 128

_GROUPS: Final = 8
_LONGEST_GROUP: Final = 4
_DECIMAL = re.compile(r"[+-]?\d+")
_HEXADECIMAL = re.compile(r"[+-]?[\da-fA-F]+")
_LARGEST_INT32 = (1 << 31) - 1


class Address(NamedTuple):
    """An address: the number of its bits (IPV4_BITS or IPV6_BITS), and its value as a number."""

    bits: int
    value: int


class Network(NamedTuple):
    """All addresses of a kind with the same leading bits.

    Attributes:
        bits: the number of bits of an address, IPV4_BITS or IPV6_BITS.
        prefix_bits: the number of leading bits that are the same.
        prefix: the value of these bits as a number.
    """

    bits: int
    prefix_bits: int
    prefix: int


def parse_address(text: str) -> Address | None:
    """Return the address in ``text``; None if ``text`` is not an address.

    A text with a colon is an IPv6 address. As in Apache ZooKeeper, an IPv4 part
    (``::ffff:1.2.3.4``) and a scope are invalid: the address of a client never has these parts.
    """
    if ":" in text:
        value = _parse_ipv6(text)
        return None if value is None else Address(IPV6_BITS, value)
    value = _parse_ipv4(text)
    return None if value is None else Address(IPV4_BITS, value)


def parse_network(text: str) -> Network | None:
    """Return the network in ``address`` or ``address/bits``; None if the text is not a network."""
    text, slash, length = text.partition("/")
    address = parse_address(text)
    if address is None:
        return None
    bits, value = address
    prefix_bits = _number(length) if slash else bits
    if not 0 <= prefix_bits <= bits:
        return None
    return Network(bits, prefix_bits, value >> bits - prefix_bits)


def client_address(host: str) -> str:
    """Return a client's address as ACLs and whoAmI show it; a socket gives it as ``host``.

    The result is that of Java's ``getHostAddress``: an IPv4 address that arrives over an IPv6
    socket (``::ffff:1.2.3.4``) is IPv4, and an IPv6 address has all its groups
    (``0:0:0:0:0:0:0:1``). The scope (``fe80::1%eth0``) is left out: no ACL can name a scope.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    if mapped is not None:
        return str(mapped)
    number = int(address)
    return ":".join([f"{number >> 16 * group & 0xFFFF:x}" for group in reversed(range(_GROUPS))])


def _parse_ipv4(text: str) -> int | None:
    value = 0
    parts = text.split(".")
    for part in parts:
        number = _number(part)
        if not 0 <= number <= 255:
            return None
        value = value << 8 | number
    return value if len(parts) == 4 else None


def _parse_ipv6(text: str) -> int | None:
    sides = text.split("::")
    groups = [side.split(":") if side else [] for side in sides]
    count = sum(map(len, groups))
    if len(sides) == 1:
        if count != _GROUPS:
            return None
    elif len(sides) > 2 or count >= _GROUPS:
        return None
    else:
        groups.insert(1, ["0"] * (_GROUPS - count))
    value = 0
    for side in groups:
        for group in side:
            if len(group) > _LONGEST_GROUP or not _HEXADECIMAL.fullmatch(group):
                return None
            value = value << 16 | int(group, 16) & 0xFFFF
    return value


def _number(text: str) -> int:
    """Return the number as Java's parseInt does; -1 if parseInt fails or the number is negative."""
    number = int(text) if len(text) <= _LONGEST_NUMBER and _DECIMAL.fullmatch(text) else -1
    return number if 0 <= number <= _LARGEST_INT32 else -1


_LONGEST_NUMBER: Final = 1000
"""In digits: a longer number has leading zeros that no person writes, or it is too large."""
