"""The state machine as a whole: what the server asks, in the order in which it asks it.

``prepare`` turns a write into a txn; whoever called appends it to the log and calls ``apply`` at
once, so that the next prepare sees it. Nothing of what ``apply`` returns may leave the process
before the log is synced: that is the caller's part. Recovery calls ``apply`` alone.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from zoolet.core import access
from zoolet.core.prepare import Asker, View, prepare
from zoolet.core.quotas import Quotas
from zoolet.core.rules import Rules
from zoolet.core.sessions import SessionTable
from zoolet.core.tree import Tree, Znode
from zoolet.core.watches import WatchTable
from zoolet.model import paths
from zoolet.model.acl import AclList, Id
from zoolet.model.codes import (
    AddWatchMode,
    ErrorCode,
    EventType,
    OpCode,
    Permission,
    WatcherType,
    WatchMode,
)
from zoolet.model.errors import RequestError
from zoolet.model.owners import CONTAINER_OWNER, owner_of_ttl
from zoolet.model.replies import TxnResult
from zoolet.model.requests import (
    CloseSession,
    CreateSession,
    DeleteContainer,
    SetWatches,
    WatchesOf,
    WriteRequest,
)
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnHeader,
)

_JAVA_BLANKS = "".join(map(chr, range(ord(" ") + 1)))
"""What Java's String.trim takes off: blanks and all control characters."""


class Watcher(Protocol):
    """Whoever watches; an event about a znode that it may not read is not for it."""

    @property
    def identities(self) -> Sequence[Id]:
        """Who it has proven to be."""
        ...


class Event(NamedTuple):
    """A watch event and whom it goes to; zxid is -1 where no single txn caused it."""

    type: EventType
    path: str
    zxid: int
    watchers: Collection[Watcher]


class Applied(NamedTuple):
    """What a txn did.

    Attributes:
        result: what its asker is told.
        touched: the paths about which a reader could now learn something new.
        events: the watch events it caused, in order.
    """

    result: TxnResult
    touched: Collection[str]
    events: Sequence[Event]


class StateMachine:
    """The database: tree, sessions and watches, and the zxid of the last txn applied.

    Attributes:
        warnings: what an operator should hear of; whoever tells it takes it out.
    """

    def __init__(
        self, tree: Tree, sessions: SessionTable, zxid: int = 0, rules: Rules | None = None
    ) -> None:
        """Begin with this state; ``rules`` may be set later, while nothing is prepared."""
        self.tree = tree
        self.sessions = sessions
        self.zxid = zxid
        self.rules = rules or Rules()
        self.quotas = Quotas(tree)
        self.warnings: list[str] = []
        self.data_watches: WatchTable[Watcher] = WatchTable()
        self.child_watches: WatchTable[Watcher] = WatchTable()

    # -- writes ------------------------------------------------------------------------------------

    def prepare(
        self, asker: Asker, cxid: int, op_code: OpCode, request: WriteRequest, time_ms: int
    ) -> Txn:
        """Return the txn that ``request`` becomes: the change, or an ErrorTxn where it is refused.

        ``time_ms`` is since the epoch.
        """
        try:
            if not isinstance(request, CreateSession | CloseSession | DeleteContainer):
                self.sessions.live(asker.session_id)
            view = View(self.tree.nodes, self.quotas, self.rules)
            body = prepare(self.tree, view, asker, request)
            self.warnings += view.warnings
        except RequestError as error:
            return self.refuse(asker.session_id, cxid, error.code, time_ms)
        return Txn(TxnHeader(asker.session_id, cxid, self.zxid + 1, time_ms, op_code), body)

    def refuse(self, session_id: int, cxid: int, code: ErrorCode, time_ms: int) -> Txn:
        """Return the txn of a request that is refused whatever the state: it takes a zxid too."""
        header = TxnHeader(session_id, cxid, self.zxid + 1, time_ms, OpCode.ERROR)
        return Txn(header, ErrorTxn(code))

    def apply(self, txn: Txn, now_ms: int = 0) -> Applied:
        """Make the change; ``now_ms``, of a clock that only rises, starts a new session's timeout.

        A txn that the tree has already (after a snapshot that was taken while txns went on) is
        applied as far as it goes, and its result carries the error.
        """
        header, body = txn
        change = _Change(self, header)
        if isinstance(body, CreateSessionTxn):
            self.sessions.open(header.client_id, body.timeout_ms, now_ms)
            result = TxnResult(OpCode.CREATE_SESSION)
        elif isinstance(body, CloseSessionTxn):
            result = change.close_session(body)
        elif isinstance(body, MultiTxn):
            result = change.multi(body)
        elif isinstance(body, SetAclTxn):
            result = change.set_acl(body)
        else:
            result = change.part(header.type, body)
        self.zxid = max(self.zxid, header.zxid)
        return Applied(result, change.touched, change.events)

    # -- reads -------------------------------------------------------------------------------------

    def readable(self, path: str, identities: Sequence[Id]) -> Znode:
        """Return a znode that may be read; raises RequestError (NO_NODE, NO_AUTH)."""
        node = self.tree.nodes.get(path)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        access.check(node.acl, identities, Permission.READ, path)
        return node

    def acl_of(self, path: str, identities: Sequence[Id]) -> tuple[AclList, Znode]:
        """Return the ACL to show: without digests to those who may not administer the znode."""
        node = self.tree.nodes.get(path)
        if node is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        access.check(node.acl, identities, Permission.READ | Permission.ADMIN, path)
        if access.is_allowed(node.acl, identities, Permission.ADMIN):
            return node.acl, node
        return access.hide_digests(node.acl), node

    def count_below(self, path: str, identities: Sequence[Id]) -> int:
        """Count the znodes below a path, at every depth; raises RequestError."""
        self.readable(path, identities)
        if path == paths.ROOT:
            return len(self.tree) - 1
        below = f"{path}/"
        return sum(other.startswith(below) for other in self.tree.nodes)

    def ephemerals_of(self, session_id: int, prefix: str) -> list[str]:
        """Return the paths of a session's ephemerals that begin with ``prefix``."""
        if prefix.strip(_JAVA_BLANKS) in {"", paths.ROOT}:
            prefix = ""
        return [path for path in self.tree.ephemerals_of(session_id) if path.startswith(prefix)]

    # -- watches -----------------------------------------------------------------------------------

    def add_watch(self, path: str, watcher: Watcher, mode: AddWatchMode) -> None:
        """Watch a path for good; with PERSISTENT_RECURSIVE, everything below it too."""
        if mode is AddWatchMode.PERSISTENT_RECURSIVE:
            self.data_watches.add(path, watcher, WatchMode.PERSISTENT_RECURSIVE)
        else:
            self.data_watches.add(path, watcher, WatchMode.PERSISTENT)
            self.child_watches.add(path, watcher, WatchMode.PERSISTENT)

    def check_watches(self, request: WatchesOf, watcher: Watcher) -> None:
        """Return if a watcher has such a watch; raises RequestError (NO_WATCHER)."""
        path = request.path
        if not any(table.holds(path, watcher, mode) for table, mode in self._kinds(request.type)):
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def remove_watches(self, request: WatchesOf, watcher: Watcher) -> None:
        """Drop such watches of a watcher; raises RequestError (NO_WATCHER) where there is none."""
        path = request.path
        removed = [table.remove(path, watcher, mode) for table, mode in self._kinds(request.type)]
        if True not in removed:
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def _kinds(
        self, watcher_type: WatcherType
    ) -> list[tuple[WatchTable[Watcher], WatchMode | None]]:
        """Return where, and in which mode, watches of a type are (``DataTree.removeWatch``)."""
        data, child = self.data_watches, self.child_watches
        kinds: dict[WatcherType, list[tuple[WatchTable[Watcher], WatchMode | None]]] = {
            WatcherType.CHILDREN: [(child, WatchMode.STANDARD)],
            WatcherType.DATA: [(data, WatchMode.STANDARD)],
            WatcherType.PERSISTENT: [(child, WatchMode.PERSISTENT), (data, WatchMode.PERSISTENT)],
            WatcherType.PERSISTENT_RECURSIVE: [(data, WatchMode.PERSISTENT_RECURSIVE)],
            WatcherType.ANY: [(child, None), (data, None)],
        }
        return kinds[watcher_type]

    def set_watches(self, request: SetWatches, watcher: Watcher) -> list[Event]:
        """Take a reconnected client's watches over; return what it missed meanwhile.

        What changed after ``relative_zxid`` is told at once, the rest is watched on
        (``DataTree.setWatches``).
        """
        events: list[Event] = []

        def watch_or_tell(path: str, table: WatchTable[Watcher], missed: EventType | None) -> None:
            if missed is None:
                table.add(path, watcher)
            else:
                events.append(Event(missed, path, -1, (watcher,)))

        since = request.relative_zxid
        for path in request.data_watches:
            watch_or_tell(path, self.data_watches, self._missed_data(path, since))
        for path in request.exist_watches:
            missed = EventType.NODE_CREATED if path in self.tree.nodes else None
            watch_or_tell(path, self.data_watches, missed)
        for path in request.child_watches:
            watch_or_tell(path, self.child_watches, self._missed_children(path, since))
        for path in request.persistent_watches:
            self.add_watch(path, watcher, AddWatchMode.PERSISTENT)
        for path in request.persistent_recursive_watches:
            self.add_watch(path, watcher, AddWatchMode.PERSISTENT_RECURSIVE)
        return events

    def _missed_data(self, path: str, since_zxid: int) -> EventType | None:
        node = self.tree.nodes.get(path)
        if node is None:
            return EventType.NODE_DELETED
        return EventType.NODE_DATA_CHANGED if node.stat.mzxid > since_zxid else None

    def _missed_children(self, path: str, since_zxid: int) -> EventType | None:
        node = self.tree.nodes.get(path)
        if node is None:
            return EventType.NODE_DELETED
        return EventType.NODE_CHILDREN_CHANGED if node.stat.pzxid > since_zxid else None

    def forget_watcher(self, watcher: Watcher) -> None:
        """Drop the watches of a connection that is gone."""
        self.data_watches.forget(watcher)
        self.child_watches.forget(watcher)


class _Change:
    """One txn being applied: what it touches and whom it concerns gathers here."""

    def __init__(self, machine: StateMachine, header: TxnHeader) -> None:
        self._machine = machine
        self._tree = machine.tree
        self._header = header
        self.touched: list[str] = []
        self.events: list[Event] = []

    def part(self, op_code: OpCode, body: SubTxn) -> TxnResult:
        """Apply a change that may also be part of a multi."""
        try:
            return self._APPLY[type(body)](self, op_code, body)
        except RequestError as error:
            return TxnResult(op_code, error.code, error.path)

    def multi(self, body: MultiTxn) -> TxnResult:
        """Apply all parts, or none where one of them was refused (``DataTree.processTxn``)."""
        if any(op_code is OpCode.ERROR for op_code, _ in body.txns):
            return TxnResult(OpCode.MULTI, parts=_refused_parts(body))
        parts = tuple([self.part(op_code, part) for op_code, part in body.txns])
        return TxnResult(OpCode.MULTI, parts=parts)

    def set_acl(self, txn: SetAclTxn) -> TxnResult:
        try:
            node = self._tree.set_acl(txn.path, txn.acl, txn.version)
        except RequestError as error:
            return TxnResult(OpCode.SET_ACL, error.code, error.path)
        self.touched.append(txn.path)
        return TxnResult(OpCode.SET_ACL, path=txn.path, stat=node.packed_stat)

    def close_session(self, txn: CloseSessionTxn) -> TxnResult:
        """Delete what the txn lists and whatever else the session owns."""
        session_id = self._header.client_id
        listed = txn.paths or ()
        for path in dict.fromkeys((*listed, *self._tree.ephemerals_of(session_id))):
            self.part(OpCode.DELETE, DeleteTxn(path))
        self._machine.sessions.close(session_id)
        return TxnResult(OpCode.CLOSE_SESSION)

    def _create(self, op_code: OpCode, txn: CreateTxn) -> TxnResult:
        return self._create_znode(op_code, txn, self._header.client_id if txn.ephemeral else 0)

    def _create_container(self, op_code: OpCode, txn: CreateContainerTxn) -> TxnResult:
        return self._create_znode(op_code, txn, CONTAINER_OWNER)

    def _create_ttl(self, op_code: OpCode, txn: CreateTtlTxn) -> TxnResult:
        return self._create_znode(op_code, txn, owner_of_ttl(txn.ttl_ms))

    def _create_znode(
        self, op_code: OpCode, txn: CreateTxn | CreateContainerTxn | CreateTtlTxn, owner: int
    ) -> TxnResult:
        header = self._header
        node = self._tree.create(
            txn.path,
            txn.data,
            txn.acl,
            owner,
            txn.parent_cversion,
            header.zxid,
            header.time_ms,
        )
        # Before the quotas: where the znode is a quota's statistics, they replace its data.
        result = TxnResult(op_code, path=txn.path, stat=node.packed_stat)
        self._count(self._machine.quotas.created(txn.path, node))
        parent = paths.parent_of(txn.path) or paths.ROOT
        self._touch_with_parent(txn.path)
        self._trigger(self._machine.data_watches, txn.path, EventType.NODE_CREATED, node)
        self._trigger(
            self._machine.child_watches,
            parent,
            EventType.NODE_CHILDREN_CHANGED,
            self._tree.nodes[parent],
        )
        return result

    def _delete(self, op_code: OpCode, txn: DeleteTxn) -> TxnResult:
        path = txn.path
        node = self._tree.delete(path, self._header.zxid)
        parent = paths.parent_of(path) or paths.ROOT
        self._touch_with_parent(path)
        machine = self._machine
        self._count(machine.quotas.deleted(path, node))
        told = self._trigger(machine.data_watches, path, EventType.NODE_DELETED, node)
        self._trigger(machine.child_watches, path, EventType.NODE_DELETED, node, but=told)
        self._trigger(
            machine.child_watches,
            parent,
            EventType.NODE_CHILDREN_CHANGED,
            self._tree.nodes[parent],
        )
        return TxnResult(op_code, path=path)

    def _set_data(self, op_code: OpCode, txn: SetDataTxn) -> TxnResult:
        header = self._header
        quotas = self._machine.quotas
        before = self._tree.nodes.get(txn.path) if quotas.limited else None
        bytes_before = 0 if before is None else before.stat.data_length
        node = self._tree.set_data(txn.path, txn.data, txn.version, header.zxid, header.time_ms)
        result = TxnResult(op_code, path=txn.path, stat=node.packed_stat)
        if quotas.limited:
            self._count(quotas.changed(txn.path, node.stat.data_length - bytes_before))
        self.touched.append(txn.path)
        self._trigger(self._machine.data_watches, txn.path, EventType.NODE_DATA_CHANGED, node)
        return result

    def _check(self, op_code: OpCode, txn: CheckTxn) -> TxnResult:
        return TxnResult(op_code, path=txn.path)

    def _error(self, op_code: OpCode, txn: ErrorTxn) -> TxnResult:
        return TxnResult(op_code, txn.err)

    _APPLY: ClassVar[dict[type, Callable[["_Change", OpCode, Any], TxnResult]]] = {
        CreateTxn: _create,
        CreateContainerTxn: _create_container,
        CreateTtlTxn: _create_ttl,
        DeleteTxn: _delete,
        SetDataTxn: _set_data,
        CheckTxn: _check,
        ErrorTxn: _error,
    }

    def _count(self, stats_path: str | None) -> None:
        """Note that a quota's statistics have changed."""
        if stats_path is not None:
            self.touched.append(stats_path)

    def _touch_with_parent(self, path: str) -> None:
        parent = paths.parent_of(path)
        self.touched += (path, parent) if parent else (path, "", paths.ROOT)

    def _trigger(
        self,
        table: WatchTable[Watcher],
        path: str,
        event_type: EventType,
        node: Znode,
        but: Collection[Watcher] = (),
    ) -> Collection[Watcher]:
        """Add the event for those who watch ``path`` and may read ``node``, except ``but``.

        Returns all who watched.
        """
        watchers = table.trigger(path)
        told = [
            watcher
            for watcher in watchers
            if watcher not in but
            and access.is_allowed(node.acl, watcher.identities, Permission.READ)
        ]
        if told:
            self.events.append(Event(event_type, path, self._header.zxid, told))
        return watchers


def _refused_parts(body: MultiTxn) -> tuple[TxnResult, ...]:
    """Say of each part of a refused multi what the original says of it.

    Those before the refused part would have succeeded (0), those after it were not tried.
    """
    parts = []
    code = int(ErrorCode.OK)
    for _, part in body.txns:
        if isinstance(part, ErrorTxn):
            code = part.err
        parts.append(TxnResult(OpCode.ERROR, code))
    return tuple(parts)
