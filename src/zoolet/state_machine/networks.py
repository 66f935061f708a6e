"""Addresses and networks under the scheme ip, as text and as numbers. IPv4 and IPv6.

Source of the rules: ``IPAuthenticationProvider`` of Apache ZooKeeper 3.9.5, with the numbers that
Java's ``Integer.parseInt`` accepts. This module knows no socket: an address is text here.
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
    """An address: how many bits its kind has (IPV4_BITS or IPV6_BITS), and its number."""

    bits: int
    value: int


class Network(NamedTuple):
    """All addresses of a kind that begin alike.

    Attributes:
        bits: IPV4_BITS or IPV6_BITS.
        prefix_bits: how many leading bits count.
        prefix: the number that these bits are.
    """

    bits: int
    prefix_bits: int
    prefix: int


def parse_address(text: str) -> Address | None:
    """Return the address that ``text`` is, None if it is none.

    A text with a colon is IPv6. It has no IPv4 part (``::ffff:1.2.3.4``) and no scope, as in Apache
    ZooKeeper: a client never has such an address there.
    """
    if ":" in text:
        value = _parse_ipv6(text)
        return None if value is None else Address(IPV6_BITS, value)
    value = _parse_ipv4(text)
    return None if value is None else Address(IPV4_BITS, value)


def parse_network(text: str) -> Network | None:
    """Return the network that ``address`` or ``address/bits`` is, None if it is none."""
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
    """Return a client's address as ACLs and whoAmI know it, given what the system calls it.

    That is Java's ``getHostAddress``: an IPv4 address that came over an IPv6 socket
    (``::ffff:1.2.3.4``) is IPv4, and an IPv6 address has all its groups (``0:0:0:0:0:0:0:1``). The
    scope (``fe80::1%eth0``) is left out: no ACL can name it.
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
    """Return what Java's parseInt does; -1 if that is an error, or if it is negative."""
    number = int(text) if len(text) <= _LONGEST_NUMBER and _DECIMAL.fullmatch(text) else -1
    return number if 0 <= number <= _LARGEST_INT32 else -1


_LONGEST_NUMBER: Final = 1000
"""In digits: a longer one begins with zeros that no person writes, or is too large."""
