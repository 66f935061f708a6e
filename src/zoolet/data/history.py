"""The history of a znode, from the transaction logs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import (
    CloseSessionTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
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


def history(path: str, txns: Iterable[tuple[TxnHeader, TxnBody]]) -> Iterator[Change]:
    """Yield the changes of a path, oldest first.

    The txn that ends a session deletes the session's ephemerals. Releases before 3.6 do not list
    them in this txn; then the last create txn in the logs tells which session owns the znode.
    """
    owner: int | None = None
    for header, body in txns:
        for part in changes_in(body):
            if isinstance(part, CloseSessionTxn):
                listed = () if part.paths is None else part.paths
                if path not in listed and owner != header.client_id:
                    continue
                owner = None
                yield Change(header, DeleteTxn(path))
            elif isinstance(part, _CHANGES) and part.path == path:
                if isinstance(part, CreateTxn):
                    owner = header.client_id if part.kind is OwnerKind.SESSION else None
                elif isinstance(part, DeleteTxn):
                    owner = None
                yield Change(header, part)


_SUFFIXES = {OwnerKind.CONTAINER: "Container", OwnerKind.TTL: "Ttl"}
_CHANGES = (CreateTxn, SetDataTxn, SetAclTxn, DeleteTxn)
