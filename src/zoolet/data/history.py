"""The history of a znode or of a subtree, from txns."""

from collections.abc import Iterator
from typing import NamedTuple

from zoolet.model import paths
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import (
    CloseSessionTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnHeader,
)
from zoolet.storage.open_acls import changes_in


class Change(NamedTuple):
    """A change of a znode.

    Attributes:
        header: the header of the txn.
        what: the part of the txn that changes the znode.
    """

    header: TxnHeader
    what: CreateTxn | SetDataTxn | SetAclTxn | DeleteTxn

    @property
    def name(self) -> str:
        """The kind: Create, CreateContainer, CreateTtl, SetData, SetAcl or Delete."""
        name = type(self.what).__name__.removesuffix("Txn")
        if isinstance(self.what, CreateTxn):
            name += _SUFFIXES.get(self.what.kind, "")
        return name


class History:
    """Finds the changes of a znode, or of a subtree, in txns that come in their order.

    The txn that ends a session deletes the session's ephemerals. Releases before 3.6 do not list
    them in this txn; then the last create txn that was seen tells which session owns a znode.
    """

    def __init__(self, path: str, *, is_recursive: bool = False) -> None:
        """``is_recursive``: also find the changes of all znodes below ``path``."""
        self._path = path
        self._below = paths.join(path, "") if is_recursive else None
        self._owners: dict[str, int] = {}
        self._owned: dict[int, dict[str, None]] = {}

    def changes_of(self, txn: Txn) -> Iterator[Change]:
        """Yield the changes that a txn makes."""
        header = txn.header
        for part in changes_in(txn.body):
            if isinstance(part, CloseSessionTxn):
                owned = self._owned.get(header.client_id, {})
                listed = [path for path in part.paths or () if self._concerns(path)]
                for path in dict.fromkeys((*listed, *owned)):
                    self._disown(path)
                    yield Change(header, DeleteTxn(path))
            elif isinstance(part, _CHANGES) and self._concerns(part.path):
                if isinstance(part, (CreateTxn, DeleteTxn)):
                    self._disown(part.path)
                if isinstance(part, CreateTxn) and part.kind is OwnerKind.SESSION:
                    self._owners[part.path] = header.client_id
                    self._owned.setdefault(header.client_id, {})[part.path] = None
                yield Change(header, part)

    def _concerns(self, path: str) -> bool:
        return path == self._path or (self._below is not None and path.startswith(self._below))

    def _disown(self, path: str) -> None:
        owner = self._owners.pop(path, None)
        if owner is not None:
            del self._owned[owner][path]
            if not self._owned[owner]:
                del self._owned[owner]


_SUFFIXES = {OwnerKind.CONTAINER: "Container", OwnerKind.TTL: "Ttl"}
_CHANGES = (CreateTxn, SetDataTxn, SetAclTxn, DeleteTxn)
