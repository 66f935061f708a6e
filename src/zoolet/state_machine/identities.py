"""The identities of a connection, stored so that an ACL check is a set look-up without a loop."""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import Id
from zoolet.state_machine.networks import Address, parse_address

SKIPS_ACL: Final = Id("super", "skipACL")
"""An identity of every connection if the server runs with skipACL; whoAmI does not show it."""


@final
@mypyc_attr(acyclic=True)
class Identities:
    """The identities of one connection. They do not change: ``with_`` returns a new object.

    Attributes:
        ids: the identities without duplicates, in the order in which the client proved them.
        known: the same identities as a set, and the further identities.
        further: identities that ACLs know although no client proves them; they are in no reply.
        schemes: the schemes of the identities.
        is_super: whether every ACL gives this connection all permissions.
        addresses: the parsed addresses of the identities of the scheme ip.
        num_proven: the number of identities that the client has proven, with ``auth`` or with a
            certificate. Its address and skipACL do not count.
        readable_list: the number of the StoredAcl that gave READ to these identities last; 0 at
            first. Neither changes, so the next check of the same list has the same result.
    """

    __slots__ = (
        "addresses",
        "further",
        "ids",
        "is_super",
        "known",
        "num_proven",
        "readable_list",
        "schemes",
    )

    def __init__(self, ids: Iterable[Id] = (), further: frozenset[Id] = frozenset()) -> None:
        self.ids: tuple[Id, ...] = tuple(dict.fromkeys(ids))
        self.further = further
        self.known: frozenset[Id] = further.union(self.ids)
        self.schemes: frozenset[str] = frozenset([who.scheme for who in self.ids])
        self.is_super: bool = "super" in self.schemes
        parsed = [parse_address(who.id) for who in self.ids if who.scheme == "ip"]
        self.addresses: list[Address] = [address for address in parsed if address is not None]
        self.num_proven: int = sum([who.scheme != "ip" and who != SKIPS_ACL for who in self.ids])
        self.readable_list: int = 0

    def with_(self, more: tuple[Id, ...], further: frozenset[Id] = frozenset()) -> "Identities":
        """Return these identities and ``more``; the same object if ``more`` contains no new one."""
        if frozenset(self.ids).issuperset(more) and self.further.issuperset(further):
            return self
        return Identities((*self.ids, *more), self.further | further)


NOBODY: Final = Identities()
"""The identities of a request that comes from no connection."""
