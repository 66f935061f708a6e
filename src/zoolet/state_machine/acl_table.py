"""ACL lists as the tree keeps them: one object for each distinct list, with what checks need.

Invariants: ``AclTable.lists`` holds exactly the lists that a znode uses, but for those that a
snapshot is just bringing; ``StoredAcl.users`` is the number of these znodes. OPEN stands for
OPEN_ACL, is in no table and counts no users: it is known by identity.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import ANYONE, OPEN_ACL, AclList, Id
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.networks import parse_network

EXACT_SCHEMES: Final = frozenset({"digest", "x509"})
"""The schemes in which an entry allows exactly the identity that it names."""


@final
@mypyc_attr(acyclic=True)
class _Allowed:
    """Whom a list allows what takes one of some permissions.

    Attributes:
        anyone: whether that is everyone.
        ids: the identities that it names.
        networks: bits of the kind of address and of the prefix, to the prefixes that it names.
    """

    __slots__ = ("anyone", "ids", "networks")

    def __init__(self, entries: AclList, permission: int) -> None:
        # An empty list, which only a file can bring, allows everything (``checkACL``).
        self.anyone: bool = not entries
        self.ids: set[Id] = set()
        self.networks: dict[tuple[int, int], set[int]] = {}
        for perms, who in entries:
            if not perms & permission:
                continue
            scheme, name = who
            if scheme in EXACT_SCHEMES:
                self.ids.add(who)
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
        """Say whether one of the identities is among them."""
        if self.anyone or identities.is_super:
            return True
        # Of two sets, this goes through the smaller one.
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
    """One distinct list. Its index is made when a permission is first asked for, then kept.

    Attributes:
        entries: the list.
        users: how many znodes have it.
    """

    __slots__ = ("_allowed", "entries", "users")

    def __init__(self, entries: AclList) -> None:
        self.entries = entries
        self.users: int = 0
        self._allowed: dict[int, _Allowed] = {}

    def allows(self, identities: Identities, permission: int) -> bool:
        """Say whether one of ``identities`` has one of the permissions (bits of Permission)."""
        allowed = self._allowed.get(permission)
        if allowed is None:
            allowed = self._allowed[permission] = _Allowed(self.entries, permission)
        return allowed.includes(identities)


OPEN: Final = StoredAcl(OPEN_ACL)
"""Everyone may do everything."""


@final
class AclTable:
    """All lists that znodes have, but for the open one.

    Attributes:
        lists: from the list itself to what is kept of it.
    """

    def __init__(self) -> None:
        self.lists: dict[AclList, StoredAcl] = {}

    def find_or_add(self, entries: AclList) -> StoredAcl:
        """Return the one object for a list; OPEN for a list that equals OPEN_ACL.

        One that is new has no users: whoever gives it to a znode calls ``use``.
        """
        if entries is OPEN_ACL or entries == OPEN_ACL:
            return OPEN
        # A long list takes time to hash, so it is hashed once.
        return self.lists.setdefault(entries, StoredAcl(entries))

    def use(self, acl: StoredAcl) -> None:
        """Count one more znode that has a list, which is not OPEN."""
        acl.users += 1

    def release(self, acl: StoredAcl) -> None:
        """Count one znode less, and drop the list with the last."""
        acl.users -= 1
        if acl.users == 0:
            del self.lists[acl.entries]

    def drop_unused(self) -> None:
        """Drop the lists that a snapshot has brought and that none of its znodes has."""
        for acl in [found for found in self.lists.values() if found.users == 0]:
            del self.lists[acl.entries]
