"""Access control lists: the permissions that identities have for a znode."""

from typing import Final, NamedTuple

from zoolet.model.codes import Permission


class Id(NamedTuple):
    """An identity: a scheme (world, auth, digest, ip, x509, super), and a name in this scheme."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """One entry of a list: an Id, and the permissions (bits of Permission) that it has."""

    perms: int
    id: Id


AclList = tuple[ACL, ...]

NULL_TEXT: Final = chr(0xD800)  # mypyc does not support a literal of this character
"""Represents a null path, scheme or id in a request. It differs from all text that is decoded from
UTF-8. No znode or ACL contains it: as in Apache ZooKeeper, writes with it are refused."""

ANYONE: Final = Id("world", "anyone")


def _list_of(entry: ACL) -> AclList:
    # A literal tuple would be different objects for compiled modules and for interpreted modules.
    return (entry,)


OPEN_ACL: Final = _list_of(ACL(int(Permission.ALL), ANYONE))
"""Everyone has all permissions; kazoo's default ACL. Code compares with it by identity (``is``)."""
READ_ONLY_ACL: Final = _list_of(ACL(int(Permission.READ), ANYONE))
