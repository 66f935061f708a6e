"""The identities of a connection, kept so that a check costs a set look-up and no loop."""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import Id
from zoolet.state_machine.networks import Address, parse_address

SKIPS_ACL: Final = Id("super", "skipACL")
"""What every connection is where the server runs with skipACL; whoAmI does not show it."""


@final
@mypyc_attr(acyclic=True)
class Identities:
    """The identities of one connection. It never changes: one more makes another object.

    Attributes:
        ids: each once, in the order in which they were proven.
        known: the same ids, to look them up.
        schemes: the schemes of the ids.
        is_super: whether every ACL lets this connection in.
        addresses: those of the ids under the scheme ip.
        num_proven: how many ids the client has proven, by ``auth`` or with a certificate. Its
            address and skipACL do not count.
    """

    __slots__ = ("addresses", "ids", "is_super", "known", "num_proven", "schemes")

    def __init__(self, ids: Iterable[Id] = ()) -> None:
        self.ids: tuple[Id, ...] = tuple(dict.fromkeys(ids))
        self.known: frozenset[Id] = frozenset(self.ids)
        self.schemes: frozenset[str] = frozenset([who.scheme for who in self.ids])
        self.is_super: bool = "super" in self.schemes
        parsed = [parse_address(who.id) for who in self.ids if who.scheme == "ip"]
        self.addresses: list[Address] = [address for address in parsed if address is not None]
        self.num_proven: int = sum([who.scheme != "ip" and who != SKIPS_ACL for who in self.ids])

    def with_(self, more: tuple[Id, ...]) -> "Identities":
        """Return these identities and ``more``; the same object if all are known."""
        return self if self.known.issuperset(more) else Identities((*self.ids, *more))


NOBODY: Final = Identities()
"""Of a request that comes from no connection."""
