"""Access control lists: who may do what with a znode."""

from typing import Final, NamedTuple

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

NULL_TEXT: Final = chr(0xD800)  # mypyc takes no literal of it
"""Stands for a null path, scheme or id in a request. No text that is decoded from UTF-8 equals it,
and no znode, ACL or reply has it: it is refused, as Apache ZooKeeper refuses a null."""

ANYONE: Final = Id("world", "anyone")


def _list_of(entry: ACL) -> AclList:
    # A list that is written out would be one object for compiled modules and another for the rest.
    return (entry,)


OPEN_ACL: Final = _list_of(ACL(int(Permission.ALL), ANYONE))
"""Everyone may do everything; what kazoo sends where a program names no ACL. Known by identity."""
READ_ONLY_ACL: Final = _list_of(ACL(int(Permission.READ), ANYONE))
