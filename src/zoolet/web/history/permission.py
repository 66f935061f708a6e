"""Who may see what an archive or a data directory knows: these know no users.

The rules (docs/decisions/0106-live-and-past.md): a znode that exists is shown only to
users who may read it now; a value only if the ACL of the znode at that time gave READ to the user
too. A znode that does not exist is shown only if its last ACL and its ancestors permit it.
Invariant: what is not known is not shown.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from zoolet.client import ACL, AsyncClient, Credential, Id, Permission, Stat
from zoolet.model import paths
from zoolet.web.clusters.readable import Denied, readable

MOST_ACLS: Final = 200_000
"""Paths whose ACLs a reader of the past remembers."""

AclOfPast = tuple[ACL, ...] | None
"""An ACL; None if it is not known."""


def identities_of(credential: Credential | None) -> frozenset[Id]:
    """Return the identities that ACLs may name for a user with this login at ZooKeeper."""
    found = {Id("world", "anyone")}
    if credential is not None and credential.scheme == "digest":
        secret = credential.secret.encode()
        digest = base64.b64encode(hashlib.sha1(secret, usedforsecurity=False).digest()).decode()
        found.add(Id("digest", f"{credential.secret.partition(':')[0]}:{digest}"))
    elif credential is not None and credential.scheme == "sasl":
        found.add(Id("sasl", credential.secret.partition(":")[0]))
    return frozenset(found)


def gives_read(acl: AclOfPast, identities: frozenset[Id]) -> bool:
    """Return whether an ACL gives READ to one of the identities; False if it is not known."""
    return acl is not None and any(
        entry.perms & Permission.READ and entry.id in identities for entry in acl
    )


def acl_in(shown: object) -> AclOfPast:
    """Return the ACL of a JSON list; None if it is none."""
    if not isinstance(shown, list):
        return None
    try:
        return tuple(
            ACL(int(entry["perms"]), Id(str(entry["scheme"]), str(entry["id"]))) for entry in shown
        )
    except (KeyError, TypeError, ValueError):
        return None


class Acls:
    """The last known ACL of each path, of a bounded number of paths."""

    def __init__(self) -> None:
        self._acls: OrderedDict[str, AclOfPast] = OrderedDict()
        self._same: dict[AclOfPast, AclOfPast] = {}

    def get(self, path: str) -> AclOfPast:
        """Return the ACL; None if it is not known."""
        return self._acls.get(path)

    def put(self, path: str, acl: AclOfPast) -> None:
        """Remember the ACL of a path."""
        self._acls[path] = self._same.setdefault(acl, acl)
        self._acls.move_to_end(path)
        if len(self._acls) > MOST_ACLS:
            self._acls.popitem(last=False)


class Judge:
    """What one user may see of the past.

    Args:
        client: the user's client.
        identities: the user's identities.
        acls: the last ACLs of znodes that do not exist any more.
    """

    def __init__(self, client: AsyncClient, identities: frozenset[Id], acls: Acls) -> None:
        self._client = client
        self.identities = identities
        self._acls = acls
        self._now: dict[str, Stat | Denied | None] = {}

    async def learn(self, wanted: Iterable[str]) -> None:
        """Ask the server which of these znodes the user may read now."""
        await self._ask(set(wanted))
        missing = [path for path, found in self._now.items() if found is None]
        await self._ask({parent for path in missing for parent in _ancestors(path)})

    async def _ask(self, wanted: set[str]) -> None:
        self._now |= await readable(self._client, wanted - self._now.keys())

    def stat(self, path: str) -> Stat | None:
        """Return the Stat of a znode that exists and that the user may read."""
        found = self._now.get(path)
        return found if isinstance(found, Stat) else None

    def may_see(self, path: str, acl: AclOfPast) -> bool:
        """Return whether the user may see that a znode existed; ``acl`` is its ACL then."""
        found = self._now.get(path, Denied.READ)
        if found is None:
            return gives_read(acl, self.identities) and self._may_list(paths.parent_of(path))
        return isinstance(found, Stat)

    def _may_list(self, path: str) -> bool:
        found = self._now.get(path, Denied.READ)
        if found is not None or path == paths.ROOT:
            return isinstance(found, Stat)
        return gives_read(self._acls.get(path), self.identities) and self._may_list(
            paths.parent_of(path)
        )

    def may_read(self, path: str, acl: AclOfPast, zxid: int) -> bool:
        """Return whether the user may see a value; ``acl`` is the ACL of the znode at that time."""
        if acl is not None:
            return gives_read(acl, self.identities)
        stat = self.stat(path)
        # An ACL that was never set again is that of all values.
        return stat is not None and stat.aversion == 0 and stat.czxid <= zxid


def _ancestors(path: str) -> list[str]:
    found = []
    while path != paths.ROOT:
        path = paths.parent_of(path)
        found.append(path)
    return found
