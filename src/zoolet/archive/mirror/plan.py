"""Plans the writes that bring copies to the state of znodes that were read in the source.

Invariants: a znode is created after its parent, and deleted after its children. A znode whose
parent is missing in the target is left for later, and the parent is read again. No I/O. Imports
``model`` and other modules of its package.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from zoolet.archive.mirror.records.rows import DIFFERENT, Found, Row
from zoolet.archive.mirror.records.subtree import parent_of
from zoolet.model.acl import AclList


class Copies(Protocol):
    """The znodes of the target, as the mirror knows them."""

    def row(self, relative: str) -> Row | None:
        """Return the row of a znode; None if the target does not have it."""

    def subtree(self, relative: str, most: int) -> list[tuple[str, Row]]:
        """Return up to ``most`` znodes of a subtree, each after its descendants."""


class Write(NamedTuple):
    """An operation of a multi.

    Attributes:
        relative: the path.
        row: the row after the write; None if the znode is deleted.
        version: the version that the copy must have; None if it must not exist.
        data: the data, for a create or a set.
        acl: the ACL, for a create.
    """

    relative: str
    row: Row | None
    version: int | None
    data: bytes | None = None
    acl: AclList = ()


class AclChange(NamedTuple):
    """A change of a copy's ACL, which has the version ``copy_aversion`` before."""

    relative: str
    acl: AclList
    aversion: int
    copy_aversion: int


class Plan(NamedTuple):
    """What is to be written.

    Attributes:
        acls: changes of ACLs, which come first: ZooKeeper has no multi with them.
        writes: the operations, in their order.
        later: paths that must be read again.
    """

    acls: list[AclChange]
    writes: list[Write]
    later: list[str]


def plan_emptying(
    found: Mapping[str, Found | None], copies: Copies, most: int, *, keeps_root: bool
) -> list[Write]:
    """Return deletions below a znode that was created again; none if each subtree is small.

    A plan can replace a znode only together with all its copied descendants. If it deleted a larger
    subtree in parts, the next plan would create descendants below the old copy again. The paths of
    these deletions must be read again: copies of the new descendants may be among them.
    """
    for relative, znode in found.items():
        if _is_replaced(relative, znode, copies, keeps_root=keeps_root):
            listed = copies.subtree(relative, most + 1)
            if len(listed) > most:
                return [Write(path, None, row.copy_version) for path, row in listed[:most]]
    return []


def make_plan(
    found: Mapping[str, Found | None], copies: Copies, most: int, *, keeps_root: bool
) -> Plan:
    """Plan the writes for znodes of the source; None is a znode that does not exist there.

    Args:
        found: the znodes by their relative paths.
        copies: the znodes of the target.
        most: the most znodes that are deleted.
        keeps_root: whether the root of the target can be neither deleted nor created.
    """
    plan = Plan([], [], [])
    deleted = _deletions(found, copies, most, plan.later, keeps_root=keeps_root)
    for relative in sorted(deleted, reverse=True):
        plan.writes.append(Write(relative, None, deleted[relative].copy_version))
    created = set[str]()
    for relative in sorted(found):
        znode = found[relative]
        if znode is None or relative in plan.later:
            continue
        row = None if relative in deleted else copies.row(relative)
        if znode.acl is None and (row is None or row.aversion != znode.stat.aversion):
            # The copy has changed since the znode was read, when its ACL was not needed.
            plan.later.append(relative)
            continue
        if row is not None:
            _change(plan, relative, znode, row)
            continue
        parent = parent_of(relative)
        if parent is None or parent in created or _has(copies, deleted, parent):
            created.add(relative)
            acl = znode.acl or ()
            plan.writes.append(Write(relative, Row.created(znode.stat), None, znode.data, acl))
        else:
            plan.later.extend((parent, relative))
    return plan


def _has(copies: Copies, deleted: Mapping[str, Row], relative: str) -> bool:
    return relative not in deleted and copies.row(relative) is not None


def _deletions(
    found: Mapping[str, Found | None],
    copies: Copies,
    most: int,
    later: list[str],
    *,
    keeps_root: bool,
) -> dict[str, Row]:
    """Return the copies to delete; add paths whose subtrees are too large to ``later``."""
    deleted: dict[str, Row] = {}
    for relative, znode in found.items():
        is_replaced = _is_replaced(relative, znode, copies, keeps_root=keeps_root)
        if copies.row(relative) is None or (znode is not None and not is_replaced):
            continue
        left = most - len(deleted)
        listed = copies.subtree(relative, left + 1) if left > 0 else []
        if len(listed) > left or left <= 0:
            later.append(relative)
        deleted.update(listed[:left])
        if is_replaced:
            # Copies of the new descendants may be among them.
            later.extend(path for path, _ in listed[:left] if path not in found)
    if keeps_root:
        deleted.pop("", None)
    return deleted


def _is_replaced(relative: str, znode: Found | None, copies: Copies, *, keeps_root: bool) -> bool:
    """Whether the source's znode was deleted and created again since the copy was made."""
    row = copies.row(relative)
    if znode is None or row is None or (keeps_root and not relative):
        return False
    return row.czxid > DIFFERENT and not row.is_same_znode(znode.stat)


def _change(plan: Plan, relative: str, znode: Found, row: Row) -> None:
    stat = znode.stat
    if znode.acl is not None and row.aversion != stat.aversion:
        plan.acls.append(AclChange(relative, znode.acl, stat.aversion, row.copy_aversion))
        row = row._replace(aversion=stat.aversion, copy_aversion=row.copy_aversion + 1)
    if not row.has_same_data(stat):
        plan.writes.append(Write(relative, row.set_from(stat), row.copy_version, znode.data))
