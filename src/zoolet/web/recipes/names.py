"""The names that recipes give to their znodes. No I/O.

Sources: ``kazoo/recipe/`` of kazoo 2.11; ``curator-recipes`` and ``ProtectedUtils`` of Curator 5.9;
``lock.go`` of go-zookeeper/zk; `zoolet.client.asyncio_client.recipes`. A sequence number is a
signed number of 32 bits, with at least 10 characters (ZooKeeper Programmer's Guide, "Sequence
Nodes"): after 2147483647 comes -2147483648.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from zoolet.web.recipes.kinds import Library

READY: Final = "ready"
LEASE_HOLDER: Final = "lease_holder"
ENTRIES: Final = "entries"
TAKEN: Final = "taken"
LOCKS: Final = "locks"
LEASES: Final = "leases"
PARTY: Final = "party"
GATE: Final = "-__lock__"
"""What the lock of a semaphore has behind the path of the semaphore."""

ONCE: Final = "-__once__"
"""What the markers of zoolet's exact writes have behind the path of a recipe."""

_HEX: Final = "[0-9a-f]{32}"
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SEQUENCE: Final = "([0-9]{10}|-[0-9]{9,10})"
_CONTENDER: Final = re.compile(
    rf"(?:({_HEX})|_c_({_UUID})-|_c_({_HEX})-)"
    rf"(__lock__|__rlock__|lock-|__READ__|__WRIT__|latch-|lease-){_SEQUENCE}"
)
_ITEM: Final = re.compile(
    r"(?:(entry)-([0-9]{3})-|queue-(?:([01][0-9A-F]{8})|\|([0-9A-F]{11})\||\|([^|]+)\|)?|(qn)-)"
    rf"{_SEQUENCE}"
)
_MEMBER: Final = re.compile(rf"{_HEX}(?:(__party__)|-(.+))?", re.DOTALL)
_ONLY_UUID: Final = re.compile(_UUID)
_SEQUENCES: Final = range(-(2**31), 2**31)


class Role(Enum):
    """What a name says about its znode."""

    LOCK = auto()
    READ = auto()
    WRITE = auto()
    LATCH = auto()
    LEASE = auto()
    ITEM = auto()
    PARTY = auto()
    SHALLOW_PARTY = auto()
    HEX = auto()
    UUID = auto()


CONTENDERS: Final = frozenset({Role.LOCK, Role.READ, Role.WRITE, Role.LATCH})


class Name(NamedTuple):
    """A name that a recipe has made.

    Attributes:
        name: the name.
        role: what it says.
        library: the library that makes such names.
        sequence: its sequence number; 0 if it has none.
        digits: the sequence number as text, which kazoo and Curator sort by; "" if it has none.
        priority: the priority of an item; None if it has none.
        due_ms: when a consumer may take an item, in ms since 1970; None for at once.
        label: the id of an item, or the identifier of a member in its name; "" if it has none.
    """

    name: str
    role: Role
    library: Library
    sequence: int = 0
    digits: str = ""
    priority: int | None = None
    due_ms: int | None = None
    label: str = ""


_FORMS: Final = {
    ("hex", "__lock__"): (Role.LOCK, Library.KAZOO),
    ("hex", "__rlock__"): (Role.READ, Library.KAZOO),
    ("uuid", "__lock__"): (Role.LOCK, Library.ZOOLET),
    ("uuid", "__rlock__"): (Role.READ, Library.ZOOLET),
    ("uuid", "lock-"): (Role.LOCK, Library.CURATOR),
    ("uuid", "__READ__"): (Role.READ, Library.CURATOR),
    ("uuid", "__WRIT__"): (Role.WRITE, Library.CURATOR),
    ("uuid", "latch-"): (Role.LATCH, Library.CURATOR),
    ("uuid", "lease-"): (Role.LEASE, Library.CURATOR),
    ("protected hex", "lock-"): (Role.LOCK, Library.GO),
}
"""What the two parts before the sequence number say."""


def name_of(name: str) -> Name | None:
    """Return what a name says; None for a name that no recipe makes."""
    found = _CONTENDER.fullmatch(name)
    if found is not None:
        return _contender(name, found)
    found = _ITEM.fullmatch(name)
    if found is not None:
        return _item(name, found)
    found = _MEMBER.fullmatch(name)
    if found is not None:
        is_party, label = found.groups()
        role = Role.PARTY if is_party else Role.SHALLOW_PARTY if label else Role.HEX
        return Name(name, role, Library.KAZOO_OR_ZOOLET, label=label or "")
    if _ONLY_UUID.fullmatch(name) is not None:
        return Name(name, Role.UUID, Library.CURATOR)
    return None


def _contender(name: str, found: re.Match[str]) -> Name | None:
    by_hex, by_uuid, _, marker, digits = found.groups()
    prefix = "hex" if by_hex else "uuid" if by_uuid else "protected hex"
    form = _FORMS.get((prefix, marker))
    if form is None or int(digits) not in _SEQUENCES:
        return None
    return Name(name, *form, int(digits), digits)


def _item(name: str, found: re.Match[str]) -> Name | None:
    entry, priority, signed, due, label, _, digits = found.groups()
    if int(digits) not in _SEQUENCES:
        return None
    library = Library.KAZOO_OR_ZOOLET if entry else Library.CURATOR
    number = None if priority is None else int(priority)
    if signed is not None:  # Curator: 1 or 0 for the sign, then the 32 bits of the priority
        number = int(signed[1:], 16) - (0 if signed[0] == "1" else 1 << 32)
    return Name(
        name,
        Role.ITEM,
        library,
        int(digits),
        digits,
        number,
        None if due is None else int(due, 16),
        label or "",
    )
