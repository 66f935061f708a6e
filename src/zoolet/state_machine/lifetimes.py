"""Containers and TTL znodes: their owners, and which of them the server must delete now."""

from zoolet.big_endian.buffers import read_i64_be
from zoolet.model.owner_kinds import OwnerKind, ttl_of
from zoolet.model.stat import Stat
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import MTIME


def owner_of(tree: Tree, path: str, stat: Stat) -> int:
    """Return a znode's owner as it is in a snapshot: also that of a container or TTL znode.

    The owner is a session id or a code of `OwnerKind`; 0 if there is none. Clients do not see it in
    the Stat of a container or TTL znode.
    """
    return tree.perishable.get(path) or stat.ephemeral_owner


def is_due_for_removal(tree: Tree, path: str, time_ms: int, unused_ms: int) -> bool:
    """Return whether a container or TTL znode must be deleted at ``time_ms`` since the epoch.

    A container must be deleted if it had a child and has none now. A container that never had a
    child must be deleted ``unused_ms`` after its creation; if ``unused_ms`` is 0, it is kept. A TTL
    znode must be deleted if it has no child and was not changed for its TTL
    (``ContainerManager.getCandidates``).
    """
    owner = tree.perishable.get(path)
    if owner is None or tree.has_children(path):
        return False
    record = tree.records[path]
    age_ms = time_ms - read_i64_be(record, len(record) - MTIME)
    if OwnerKind.of(owner) is OwnerKind.TTL:
        return age_ms > ttl_of(owner)
    return tree.created_under(path) > 0 or 0 < unused_ms < age_ms
