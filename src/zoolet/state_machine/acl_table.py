"""The ACL lists of the tree: one object for each distinct list, with an index for the checks.

Invariants: ``AclTable.lists`` contains exactly the lists that a znode uses; while a snapshot is
being loaded, it may contain more. ``StoredAcl.users`` is the number of znodes that use the list.
OPEN represents OPEN_ACL; it is not in the table and its users are not counted. Code compares with
OPEN by identity (``is``).
"""

import itertools
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.model.acl import ANYONE, OPEN_ACL, AclList, Id
from zoolet.model.codes import Permission
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import parse_network

EXACT_SCHEMES: Final = frozenset({"digest", "sasl", "x509"})
"""The schemes in which an entry gives its permissions to the identity that the entry names.

An entry of the scheme sasl also gives them to SASL_SUPER (``SASLAuthenticationProvider.matches``).
"""
SASL_SUPER: Final = Id("sasl", "super")

_READ: Final = Permission.READ.value

_NUMBERS: Final = itertools.count(1)


@final
@mypyc_attr(acyclic=True)
class _Allowed:
    """The identities to which a list gives at least one of the given permissions.

    Attributes:
        anyone: whether the list gives a permission to everyone.
        ids: the identities that the list names.
        networks: (address bits, prefix bits) to the network prefixes that the list names.
    """

    __slots__ = ("anyone", "ids", "networks")

    def __init__(self, entries: AclList, permission: int) -> None:
        # Only a log or snapshot can contain an empty list, which allows everything (``checkACL``).
        self.anyone: bool = not entries
        self.ids: set[Id] = set()
        self.networks: dict[tuple[int, int], set[int]] = {}
        for perms, who in entries:
            if not perms & permission:
                continue
            scheme, name = who
            if scheme in EXACT_SCHEMES:
                self.ids.add(who)
                if scheme == SASL_SUPER.scheme:
                    self.ids.add(SASL_SUPER)
            elif scheme == "ip":
                self._add_network(name)
            elif who == ANYONE:
                self.anyone = True

    def _add_network(self, name: str) -> None:
        network = parse_network(name)
        if network is not None:
            bits, prefix_bits, prefix = network
            self.networks.setdefault((bits, prefix_bits), set()).add(prefix)

    def includes(self, identities: Identities) -> bool:
        """Return whether at least one of the identities is allowed."""
        if self.anyone or identities.is_super:
            return True
        # isdisjoint iterates over the smaller of two sets.
        if not self.ids.isdisjoint(identities.known):
            return True
        if self.networks:
            for address_bits, value in identities.addresses:
                for (bits, prefix_bits), prefixes in self.networks.items():
                    if bits == address_bits and value >> bits - prefix_bits in prefixes:
                        return True
        return False


@final
@mypyc_attr(acyclic=True)
class StoredAcl:
    """One distinct list. The index of a permission is built at its first check, then kept.

    Attributes:
        entries: the list.
        number: identifies this object; no other one in the process ever has the same number.
        users: the number of znodes that have this list.
        is_public: whether the list gives everyone READ, if it has users.
    """

    __slots__ = ("_allowed", "entries", "is_public", "number", "users")

    def __init__(self, entries: AclList) -> None:
        self.entries = entries
        self.number: int = next(_NUMBERS)
        self.users: int = 0
        self.is_public = False
        self._allowed: dict[int, _Allowed] = {}

    def allows(self, identities: Identities, permission: int) -> bool:
        """Return whether the list gives an identity one of the permissions (Permission bits)."""
        allowed = self._allowed.get(permission)
        if allowed is None:
            allowed = self._allowed[permission] = _Allowed(self.entries, permission)
        return allowed.includes(identities)


OPEN: Final = StoredAcl(OPEN_ACL)
"""The ACL that gives everyone all permissions."""


@final
class AclTable:
    """All lists of znodes, except OPEN_ACL.

    Attributes:
        lists: list to the StoredAcl with this list.
        num_private: the number of znodes that not everyone may read. It is 0 in most trees: every
            tree has one other ACL, that of /zookeeper/config, which everyone may read.
    """

    def __init__(self) -> None:
        self.lists: dict[AclList, StoredAcl] = {}
        self.num_private: i64 = 0

    def find_or_add(self, entries: AclList) -> StoredAcl:
        """Return the StoredAcl of a list; OPEN if the list equals OPEN_ACL.

        A new StoredAcl has no users: a caller that gives it to a znode must call ``use``.
        """
        if entries is OPEN_ACL or entries == OPEN_ACL:
            return OPEN
        # setdefault hashes the list only one time: hashing a long list is slow.
        return self.lists.setdefault(entries, StoredAcl(entries))

    def use(self, acl: StoredAcl) -> None:
        """Count one more znode that uses the list; ``acl`` must not be OPEN."""
        if acl.users == 0:
            acl.is_public = not acl.entries or any(
                who == ANYONE and perms & _READ for perms, who in acl.entries
            )
        acl.users += 1
        self.num_private += 0 if acl.is_public else 1

    def release(self, acl: StoredAcl) -> None:
        """Count one less znode that uses the list; drop the list when no znode uses it."""
        acl.users -= 1
        self.num_private -= 0 if acl.is_public else 1
        if acl.users == 0:
            del self.lists[acl.entries]

    def drop_unused(self) -> None:
        """Drop the lists that a loaded snapshot contains but none of its znodes uses."""
        for acl in [found for found in self.lists.values() if found.users == 0]:
            del self.lists[acl.entries]
