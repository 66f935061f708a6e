"""Access control lists: who may do what with a znode."""

from typing import NamedTuple

from zoolet.model.codes import Permission


class Id(NamedTuple):
    """Who: a scheme (world, auth, digest, ip, super) and a name in it."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """One entry of a list: the permissions (bits of Permission) that an Id has."""

    perms: int
    id: Id


AclList = tuple[ACL, ...]

ANYONE = Id("world", "anyone")
OPEN_ACL: AclList = (ACL(int(Permission.ALL), ANYONE),)
"""Everyone may do everything; what kazoo sends where a program names no ACL."""
READ_ONLY_ACL: AclList = (ACL(int(Permission.READ), ANYONE),)
