"""ACLs as text: ``scheme:id:permissions[,...]``, such as ``world:anyone:cdrwa``. Imports model."""

import re
from typing import Final

from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.codes import Permission

PERMISSIONS: Final = {
    "c": Permission.CREATE,
    "d": Permission.DELETE,
    "r": Permission.READ,
    "w": Permission.WRITE,
    "a": Permission.ADMIN,
}
"""The letters of permissions, in the order in which Apache ZooKeeper prints them."""

_ENTRY = re.compile("([^:,]+):(.*?):([cdrwa]+)(?:,|$)")


class AclError(ValueError):
    """A text is not an ACL; the message explains the correct form."""


def format_permissions(permissions: int) -> str:
    """Return the letters of permissions, such as ``cdrwa``."""
    return "".join(letter for letter, bit in PERMISSIONS.items() if permissions & bit)


def parse_acl(text: str) -> AclList:
    """Parse ``scheme:id:permissions[,...]``.

    An id may contain colons and commas, for example with the scheme x509. It ends before a colon
    that is followed by permissions.

    Raises:
        AclError: the text does not have this form.
    """
    entries: list[ACL] = []
    position = 0
    while position < len(text) or not entries:
        found = _ENTRY.match(text, position)
        if found is None:
            raise AclError(
                f"{text[position:]!r} is not an ACL: write scheme:id:permissions, with permissions"
                " from the letters cdrwa, as in world:anyone:cdrwa"
            )
        permissions = sum(int(PERMISSIONS[letter]) for letter in set(found[3]))
        entries.append(ACL(permissions, Id(found[1], found[2])))
        position = found.end()
    return tuple(entries)


def format_acl(acl: AclList) -> str:
    """Return an ACL as text in the format of parse_acl."""
    return ",".join(
        f"{entry.id.scheme}:{entry.id.id}:{format_permissions(entry.perms)}" for entry in acl
    )
