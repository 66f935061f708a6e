"""Apply: change the tree and the sessions as a txn says, and collect the watch events.

There is one function per kind of txn. ``prepare`` has made all decisions before.
"""

from collections.abc import Callable, Collection
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.model.codes import (
    EventType,
    OpCode,
    Permission,
)
from zoolet.model.errors import RequestError
from zoolet.model.owner_kinds import CONTAINER, CONTAINER_OWNER, NOBODY, SESSION, owner_of_ttl
from zoolet.model.replies import TxnResult
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnBody,
    TxnHeader,
)
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.quotas import Quotas
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.watches import Watcher, WatchTable
from zoolet.state_machine.znode import data_length

# Module constants, because looking up an enum member costs more than the operations here.
_READ: Final = Permission.READ.value
_ERROR: Final = OpCode.ERROR.value
_MULTI: Final = OpCode.MULTI.value
_NODE_CREATED: Final = EventType.NODE_CREATED
_NODE_DELETED: Final = EventType.NODE_DELETED
_NODE_DATA_CHANGED: Final = EventType.NODE_DATA_CHANGED
_NODE_CHILDREN_CHANGED: Final = EventType.NODE_CHILDREN_CHANGED


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Event:
    """A watch event and its watchers; zxid is -1 if the event does not come from a single txn."""

    __slots__ = ("path", "type", "watchers", "zxid")

    def __init__(
        self,
        type: EventType,  # noqa: A002 -- the protocol's name
        path: str,
        zxid: int,
        watchers: Collection[Watcher],
    ) -> None:
        self.type = type
        self.path = path
        self.zxid = zxid
        self.watchers = watchers


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Applied:
    """The effects of a txn.

    Attributes:
        result: the result for the client that sent the request.
        touched: the paths whose reads may return something new.
        events: the watch events, in order.
    """

    __slots__ = ("events", "result", "touched")

    def __init__(self, result: TxnResult, touched: list[str], events: list[Event]) -> None:
        self.result = result
        self.touched = touched
        self.events = events


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Change:
    """A txn that is being applied, with the touched paths and events collected so far."""

    def __init__(
        self,
        tree: Tree,
        sessions: SessionTable,
        quotas: Quotas,
        data_watches: WatchTable,
        child_watches: WatchTable,
        header: TxnHeader,
    ) -> None:
        self.tree = tree
        self.sessions = sessions
        self.quotas = quotas
        self.data_watches = data_watches
        self.child_watches = child_watches
        self.header = header
        self.touched: list[str] = []
        self.events: list[Event] = []
        self._last_parent = ""

    def touch_with_parent(self, path: str, parent: str) -> None:
        """Record that a znode was created or deleted, and its parent changed."""
        self.touched.append(path)
        if parent != self._last_parent:  # the parts of a multi often have the same parent
            self._last_parent = parent
            self.touched.append(parent)

    def count(self, stats_path: str | None) -> None:
        """Record that the statistics of a quota changed; None means that none changed."""
        if stats_path is not None:
            self.touched.append(stats_path)

    def trigger(
        self,
        table: WatchTable,
        path: str,
        event_type: EventType,
        acl: StoredAcl | None = None,
        but: Collection[Watcher] = (),
    ) -> Collection[Watcher]:
        """Add an event for the watchers of ``path`` that may read it, except those in ``but``.

        ``acl`` is the last ACL of a deleted znode; None if the znode exists. Returns all watchers
        of the path.
        """
        if not table.by_path:
            return ()
        watchers = table.trigger(path)
        if acl is None:
            acl = self.tree.stored_acl_of(path)
        told = watchers
        if but or acl is not OPEN:
            told = [
                watcher
                for watcher in watchers
                if watcher not in but and (acl is OPEN or acl.allows(watcher.identities, _READ))
            ]
        if told:
            self.events.append(Event(event_type, path, self.header.zxid, told))
        return watchers


def apply(change: Change, body: TxnBody, now_ms: Callable[[], int]) -> TxnResult:
    """Apply a txn; ``now_ms`` returns the current time, from which a new session's timeout runs."""
    # In compiled code, each test compares two pointers; the most frequent types come first.
    if isinstance(body, (CreateTxn, SetDataTxn, DeleteTxn, CheckTxn, ErrorTxn)):
        return _apply_part(change, change.header.type, body)
    if isinstance(body, MultiTxn):
        return _apply_multi(change, body)
    if isinstance(body, SetAclTxn):
        return _apply_set_acl(change, body)
    if isinstance(body, CreateSessionTxn):
        change.sessions.open(change.header.client_id, body.timeout_ms, now_ms())
        return TxnResult(OpCode.CREATE_SESSION)
    return _apply_close_session(change, body)


def _apply_part(change: Change, op_code: int, body: SubTxn) -> TxnResult:
    """Apply a change that may also be a part of a multi."""
    try:
        if isinstance(body, CreateTxn):
            return _create(change, op_code, body)
        if isinstance(body, SetDataTxn):
            return _set_data(change, op_code, body)
        if isinstance(body, DeleteTxn):
            return _delete(change, op_code, body)
        if isinstance(body, CheckTxn):
            return TxnResult(op_code, path=body.path)
        return TxnResult(op_code, body.err)
    except RequestError as error:
        return TxnResult(op_code, error.code, error.path)


def _apply_multi(change: Change, body: MultiTxn) -> TxnResult:
    """Apply all parts, or no part if one of them was refused (``DataTree.processTxn``)."""
    for op_code, _ in body.txns:
        if op_code == _ERROR:
            return TxnResult(_MULTI, parts=_refused_parts(body))
    parts = tuple([_apply_part(change, op_code, part) for op_code, part in body.txns])
    return TxnResult(_MULTI, parts=parts)


def _apply_set_acl(change: Change, txn: SetAclTxn) -> TxnResult:
    """Replace the ACL of a znode."""
    try:
        record = change.tree.set_acl(txn.path, txn.acl, txn.version)
    except RequestError as error:
        return TxnResult(OpCode.SET_ACL, error.code, error.path)
    change.touched.append(txn.path)
    return TxnResult(OpCode.SET_ACL, path=txn.path, record=record)


def _apply_close_session(change: Change, txn: CloseSessionTxn) -> TxnResult:
    """Delete the znodes that the txn lists and all other ephemerals of the session."""
    session_id = change.header.client_id
    listed = txn.paths or ()
    for path in dict.fromkeys((*listed, *change.tree.ephemerals_of(session_id))):
        _apply_part(change, OpCode.DELETE, DeleteTxn(path))
    change.sessions.close(session_id)
    return TxnResult(OpCode.CLOSE_SESSION)


def _create(change: Change, op_code: int, txn: CreateTxn) -> TxnResult:
    header, tree, path = change.header, change.tree, txn.path
    parent = tree.parents.of(path)
    record = tree.create(
        path,
        parent,
        txn.data,
        txn.acl,
        0 if txn.kind is NOBODY else _owner_of(txn, header),
        txn.parent_cversion,
        header.zxid,
        header.time_ms,
    )
    # Keep this before the count: if the znode is a quota's statistics, the count replaces its
    # data.
    result = TxnResult(op_code, path=path, record=record)
    change.count(change.quotas.created(path, data_length(record)))
    change.touch_with_parent(path, parent)
    change.trigger(change.data_watches, path, _NODE_CREATED)
    change.trigger(change.child_watches, parent, _NODE_CHILDREN_CHANGED)
    return result


def _owner_of(txn: CreateTxn, header: TxnHeader) -> int:
    """Return the new znode's ephemeralOwner: a session id, the mark of a container, or a TTL."""
    if txn.kind is SESSION:
        return header.client_id
    return CONTAINER_OWNER if txn.kind is CONTAINER else owner_of_ttl(txn.ttl_ms)


def _delete(change: Change, op_code: int, txn: DeleteTxn) -> TxnResult:
    path, tree = txn.path, change.tree
    if path in tree.directories:
        # There may be children if a snapshot was written while txns were applied: later txns create
        # them, below a new znode with this path. They are deleted here and created again.
        for child in tuple(tree.children_of(path)):
            _delete(change, op_code, DeleteTxn(child))
    parent = tree.parents.of(path)
    record, acl = tree.delete(path, parent, change.header.zxid)
    change.touch_with_parent(path, parent)
    change.count(change.quotas.deleted(path, data_length(record)))
    told = change.trigger(change.data_watches, path, _NODE_DELETED, acl)
    change.trigger(
        change.child_watches, path, _NODE_DELETED, acl, but=frozenset(told) if told else ()
    )
    change.trigger(change.child_watches, parent, _NODE_CHILDREN_CHANGED)
    return TxnResult(op_code, path=path)


def _set_data(change: Change, op_code: int, txn: SetDataTxn) -> TxnResult:
    header, path = change.header, txn.path
    size_before = change.tree.size_bytes
    record = change.tree.set_data(path, txn.data, txn.version, header.zxid, header.time_ms)
    result = TxnResult(op_code, path=path, record=record)
    if change.quotas.limited.size:
        change.count(change.quotas.changed(path, change.tree.size_bytes - size_before))
    change.touched.append(path)
    change.trigger(change.data_watches, path, _NODE_DATA_CHANGED)
    return result


def _refused_parts(body: MultiTxn) -> tuple[TxnResult, ...]:
    """Return the results that Apache ZooKeeper gives to the parts of a refused multi.

    The parts before the refused part get 0: they would have succeeded. The refused part gets its
    error code. The later parts were not tried: they get the codes of their own ErrorTxn.
    """
    parts = []
    code = 0
    for _, part in body.txns:
        if isinstance(part, ErrorTxn):
            code = part.err
        parts.append(TxnResult(_ERROR, code))
    return tuple(parts)
