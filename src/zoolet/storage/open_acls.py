"""ACLs that a snapshot refers to but does not contain; they are found in the txns after it.

Apache ZooKeeper writes a snapshot while it applies txns: first the table of ACLs, then the znodes.
If a znode is created or gets another ACL in between, it refers to an ACL that is not in the table
(ZOOKEEPER-4846). The txn that did this has a greater zxid than the snapshot, so it is in the logs.
"""

from typing import TYPE_CHECKING

from zoolet.model.codes import OpCode
from zoolet.model.txns import (
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetAclTxn,
    SubTxn,
    TxnBody,
)
from zoolet.state_machine.tree import Tree

if TYPE_CHECKING:
    from zoolet.model.acl import AclList


class OpenAcls:
    """Znodes whose ACL is not known yet (open here; this is not OPEN_ACL).

    Attributes:
        are_open: whether there is such a znode.
    """

    def __init__(self, tree: Tree, numbers: dict[str, int]) -> None:
        """``numbers`` maps a znode's path to the number of its ACL (``Snapshot.open_acls``)."""
        self._tree = tree
        self._numbers = dict(numbers)
        self.are_open = bool(numbers)

    def settle(self, body: TxnBody) -> None:
        """Find ACLs in a txn that was just applied to the tree.

        If the txn creates a znode that is in the snapshot, the znode gets the ACL of the txn
        (``DataTree.createNode``).
        """
        found: dict[str, AclList] = {}
        for part in changes_in(body):
            if not isinstance(part, _SETTLING) or part.path not in self._numbers:
                continue
            if isinstance(part, (SetAclTxn, DeleteTxn)):
                del self._numbers[part.path]
                found.pop(part.path, None)
            else:
                found[part.path] = part.acl
        for path, acl in found.items():
            del self._numbers[path]
            node = self._tree.find(path)
            if node is not None:
                self._tree.set_acl(path, acl, node.stat.aversion)
        self.are_open = bool(self._numbers)

    def reason_unusable(self) -> str | None:
        """Return why the tree is unusable, or None; must be called when all txns are applied."""
        still_open = [path for path in self._numbers if path in self._tree.records]
        if not still_open:
            return None
        path = still_open[0]
        others = f" (and {len(still_open) - 1} others)" if len(still_open) > 1 else ""
        return (
            f"the znode {path!r}{others} names ACL number {self._numbers[path]}, which is neither"
            " in the snapshot nor in the logs after it"
        )


_SETTLING = (CreateTxn, SetAclTxn, DeleteTxn)


def changes_in(body: TxnBody) -> tuple[SubTxn | TxnBody, ...]:
    """Return the changes of a txn; an empty tuple if it is a refused multi."""
    if not isinstance(body, MultiTxn):
        return (body,)
    if any(op_code == OpCode.ERROR for op_code, _ in body.txns):
        return ()
    return tuple(part for _, part in body.txns)
