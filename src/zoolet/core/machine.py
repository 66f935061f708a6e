"""The state machine as a whole: what the server asks, in the order in which it asks it.

``prepare`` turns a write into a txn; whoever called appends it to the log and calls ``apply`` at
once, so that the next prepare sees it. Nothing of what ``apply`` returns may leave the process
before the log is synced: that is the caller's part. Recovery calls ``apply`` alone.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final, final

from mypy_extensions import mypyc_attr

from zoolet.core import access
from zoolet.core.acl_table import OPEN, StoredAcl
from zoolet.core.identities import Identities
from zoolet.core.prepare import Requester, View, prepare
from zoolet.core.quotas import Quotas
from zoolet.core.rules import Rules
from zoolet.core.sessions import SessionTable
from zoolet.core.tree import MZXID, PZXID, Tree, data_length
from zoolet.core.watches import Watcher, WatchTable
from zoolet.model import paths
from zoolet.model.acl import AclList
from zoolet.model.big_endian import read_i64_be
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
from zoolet.model.owner_kinds import CONTAINER_OWNER, owner_of_ttl
from zoolet.model.replies import TxnResult
from zoolet.model.requests import (
    CloseSession,
    CreateSession,
    DeleteContainer,
    Multi,
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

# Looked up once: a member of an enum costs more than what is done with it here.
_READ: Final = Permission.READ.value
_ADMIN: Final = Permission.ADMIN.value
_ERROR: Final = OpCode.ERROR.value
_MULTI: Final = OpCode.MULTI.value
_NODE_CREATED: Final = EventType.NODE_CREATED
_NODE_DELETED: Final = EventType.NODE_DELETED
_NODE_DATA_CHANGED: Final = EventType.NODE_DATA_CHANGED
_NODE_CHILDREN_CHANGED: Final = EventType.NODE_CHILDREN_CHANGED

_BYTES_OF_A_PART: Final = 16
_BEFORE_ALL: Final = -(1 << 63)
"""Less than every zxid."""

_JAVA_BLANKS = "".join(map(chr, range(ord(" ") + 1)))
"""What Java's String.trim takes off: blanks and all control characters."""


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Event:
    """A watch event and whom it goes to; zxid is -1 where no single txn caused it."""

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
    """What a txn did.

    Attributes:
        result: what its asker is told.
        touched: the paths about which a reader could now learn something new.
        events: the watch events it caused, in order.
    """

    __slots__ = ("events", "result", "touched")

    def __init__(self, result: TxnResult, touched: list[str], events: list[Event]) -> None:
        self.result = result
        self.touched = touched
        self.events = events


def _start() -> int:
    """Return the time at which all clocks stand while nothing but the log is looked at."""
    return 0


@final
class StateMachine:
    """The database: tree, sessions and watches, and the zxid of the last txn applied.

    Attributes:
        warnings: what an operator should hear of; whoever tells it takes it out.
        is_changing: whether a change is under way. If it is still set after an exception, the state
            may be half changed, and nothing more may be acknowledged.
        replaced_zxid: the zxid at which ``replace`` was called last; 0: it was not.
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
        self._view = View(tree, self.quotas)
        self.warnings: list[str] = []
        self.is_changing = False
        self.data_watches: WatchTable = WatchTable()
        self.child_watches: WatchTable = WatchTable()
        self.replaced_zxid = 0

    def replace(self, tree: Tree, sessions: SessionTable, zxid: int) -> None:
        """Hold another state from now on, whose last zxid is ``zxid``; all watches are gone.

        A client that comes back cannot tell by zxids what has changed: ``set_watches`` tells it
        all.
        """
        self.tree = tree
        self.sessions = sessions
        self.zxid = self.replaced_zxid = zxid
        self.quotas = Quotas(tree)
        self._view = View(tree, self.quotas)
        self.data_watches = WatchTable()
        self.child_watches = WatchTable()

    def shrink(self) -> None:
        """Let all tables need no more memory than for what they hold."""
        self.tree.shrink()
        self.sessions.shrink()
        self.data_watches.shrink()
        self.child_watches.shrink()

    # -- writes ------------------------------------------------------------------------------------

    def prepare(
        self, asker: Requester, cxid: int, op_code: int, request: WriteRequest, time_ms: int
    ) -> Txn:
        """Return the txn that ``request`` becomes: the change, or an ErrorTxn where it is refused.

        ``time_ms`` is since the epoch.
        """
        try:
            if not isinstance(request, (CreateSession, CloseSession, DeleteContainer)):
                self.sessions.live(asker.session_id)
            view = self._view
            view.begin(self.rules, in_multi=isinstance(request, Multi))
            body = prepare(self.tree, view, asker, request)
            if view.warning:
                self.warnings.append(view.warning)
        except RequestError as error:
            return self.refuse(asker.session_id, cxid, error.code, time_ms)
        return Txn(TxnHeader(asker.session_id, cxid, self.zxid + 1, time_ms, op_code), body)

    def refuse(self, session_id: int, cxid: int, code: ErrorCode, time_ms: int) -> Txn:
        """Return the txn of a request that is refused whatever the state: it takes a zxid too."""
        header = TxnHeader(session_id, cxid, self.zxid + 1, time_ms, OpCode.ERROR)
        return Txn(header, ErrorTxn(code))

    def delete_ephemerals(self, session_id: int, at_most: int, time_ms: int) -> Txn:
        """Return a txn that deletes the oldest ephemerals of a session.

        It deletes ``at_most`` of them, or fewer if the txn would be larger than a txn may be.
        """
        parts: list[tuple[int, SubTxn]] = []
        room_bytes = self.rules.max_txn_bytes // 2
        for path in islice(self.tree.ephemerals.get(session_id, ()), at_most):
            room_bytes -= paths.size_bytes(path) + _BYTES_OF_A_PART
            if parts and room_bytes < 0:
                break
            parts.append((OpCode.DELETE, DeleteTxn(path)))
        header = TxnHeader(session_id, 0, self.zxid + 1, time_ms, OpCode.MULTI)
        return Txn(header, MultiTxn(tuple(parts)))

    def apply(self, txn: Txn, now_ms: Callable[[], int] = _start) -> Applied:
        """Make the change; ``now_ms``, a clock that only rises, starts a new session's timeout.

        A txn that the tree has already (after a snapshot that was taken while txns went on) is
        applied as far as it goes, and its result carries the error.
        """
        header, body = txn.header, txn.body
        change = _Change(self, header)
        if isinstance(body, CreateSessionTxn):
            self.sessions.open(header.client_id, body.timeout_ms, now_ms())
            result = TxnResult(OpCode.CREATE_SESSION)
        elif isinstance(body, CloseSessionTxn):
            result = _apply_close_session(change, body)
        elif isinstance(body, MultiTxn):
            result = _apply_multi(change, body)
        elif isinstance(body, SetAclTxn):
            result = _apply_set_acl(change, body)
        else:
            result = _apply_part(change, header.type, body)
        self.zxid = max(self.zxid, header.zxid)
        return Applied(result, change.touched, change.events)

    # -- reads -------------------------------------------------------------------------------------

    def readable(self, path: str, identities: Identities) -> bytes:
        """Return the record of a znode that may be read; raises RequestError (NO_NODE, NO_AUTH)."""
        record = self.tree.record_of(path)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        acls = self.tree.acls
        if acls and path in acls:
            access.check(acls[path], identities, _READ, path)
        return record

    def acl_of(self, path: str, identities: Identities) -> tuple[AclList, bool, bytes]:
        """Return a znode's ACL, whether its digests must be hidden, and the znode's record.

        They must be hidden from clients without ADMIN permission. Raises RequestError (NO_NODE,
        NO_AUTH).
        """
        record = self.tree.record_of(path)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        acl = self.tree.stored_acl_of(path)
        access.check(acl, identities, _READ | _ADMIN, path)
        return acl.entries, not acl.allows(identities, _ADMIN), record

    def count_below(self, path: str, identities: Identities) -> int:
        """Return the number of znodes below a path, at every depth; raises RequestError.

        For "", Apache counts the root as well (``DataTree.getAllChildrenNumber``).
        """
        self.readable(path or paths.ROOT, identities)
        return self.tree.count_below(path) if path else len(self.tree)

    def ephemerals_of(self, session_id: int, prefix: str) -> list[str]:
        """Return the paths of a session's ephemerals that begin with ``prefix``."""
        prefix = self.plain_prefix(prefix)
        return [path for path in self.tree.ephemerals_of(session_id) if path.startswith(prefix)]

    @staticmethod
    def plain_prefix(prefix: str) -> str:
        """Return the prefix that getEphemerals looks for: none, if it is the root or blank."""
        return "" if prefix.strip(_JAVA_BLANKS) in {"", paths.ROOT} else prefix

    # -- watches -----------------------------------------------------------------------------------

    def watch_data(self, path: str, watcher: Watcher) -> None:
        """Watch a znode, there or not, once; raises RequestError (THROTTLED)."""
        self._watch(path, watcher, WatchMode.STANDARD, self.data_watches)

    def watch_children(self, path: str, watcher: Watcher) -> None:
        """Watch a znode's list of children, once; raises RequestError (THROTTLED)."""
        self._watch(path, watcher, WatchMode.STANDARD, self.child_watches)

    def add_watch(self, path: str, watcher: Watcher, mode: AddWatchMode) -> None:
        """Watch a path for good; with PERSISTENT_RECURSIVE, everything below it too.

        Raises RequestError (THROTTLED).
        """
        if mode is AddWatchMode.PERSISTENT_RECURSIVE:
            self._watch(path, watcher, WatchMode.PERSISTENT_RECURSIVE, self.data_watches)
        else:
            tables = (self.data_watches, self.child_watches)
            self._watch(path, watcher, WatchMode.PERSISTENT, *tables)

    def _watch(self, path: str, watcher: Watcher, mode: WatchMode, *tables: WatchTable) -> None:
        """Add to all tables, or to none where ``Rules.most_watches`` would be passed."""
        most = self.rules.most_watches
        if watcher.num_watches + len(tables) > most:
            more = sum([not table.holds(path, watcher) for table in tables])
            if watcher.num_watches + more > most:
                raise RequestError(ErrorCode.THROTTLED, path)
        self.is_changing = True
        for table in tables:
            table.add(path, watcher, mode)
        self.is_changing = False

    def check_watches(self, request: WatchesOf, watcher: Watcher) -> None:
        """Return if a watcher has such a watch; raises RequestError (NO_WATCHER)."""
        path = request.path
        if not any(table.holds(path, watcher, mode) for table, mode in self._kinds(request.type)):
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def remove_watches(self, request: WatchesOf, watcher: Watcher) -> None:
        """Drop such watches of a watcher; raises RequestError (NO_WATCHER) where there is none."""
        path = request.path
        kinds = self._kinds(request.type)
        self.is_changing = True
        removed = [table.remove(path, watcher, mode) for table, mode in kinds]
        self.is_changing = False
        if True not in removed:
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def _kinds(self, watcher_type: WatcherType) -> list[tuple[WatchTable, WatchMode | None]]:
        """Return where, and in which mode, watches of a type are (``DataTree.removeWatch``)."""
        data, child = self.data_watches, self.child_watches
        kinds: dict[WatcherType, list[tuple[WatchTable, WatchMode | None]]] = {
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
        (``DataTree.setWatches``). As with a live event, nothing is told of a znode that the watcher
        may not read: it is watched on, whatever has changed. That a znode is missing is no secret:
        every read tells it. Raises RequestError where they are too many, and some are set.
        """
        events: list[Event] = []

        def watch_or_tell(path: str, table: WatchTable, missed: EventType | None) -> None:
            if missed is None:
                self._watch(path, watcher, WatchMode.STANDARD, table)
            else:
                events.append(Event(missed, path, -1, (watcher,)))

        since = request.relative_zxid
        if since < self.replaced_zxid:
            since = -1
        for path in request.data_watches:
            missed = self._missed(path, MZXID, since, _NODE_DATA_CHANGED, watcher)
            watch_or_tell(path, self.data_watches, missed)
        for path in request.exist_watches:
            missed = self._missed(path, MZXID, _BEFORE_ALL, _NODE_CREATED, watcher)
            is_missing = missed is _NODE_DELETED
            watch_or_tell(path, self.data_watches, None if is_missing else missed)
        for path in request.child_watches:
            missed = self._missed(path, PZXID, since, _NODE_CHILDREN_CHANGED, watcher)
            watch_or_tell(path, self.child_watches, missed)
        for path in request.persistent_watches:
            self.add_watch(path, watcher, AddWatchMode.PERSISTENT)
        for path in request.persistent_recursive_watches:
            self.add_watch(path, watcher, AddWatchMode.PERSISTENT_RECURSIVE)
        return events

    def _missed(
        self, path: str, zxid_at: int, since_zxid: int, change: EventType, watcher: Watcher
    ) -> EventType | None:
        """Return the event that a watcher of a path has missed; None: none that it may know of.

        ``change`` is the event if the zxid in the Stat at ``zxid_at`` is past ``since_zxid``.
        """
        path = path or paths.ROOT
        record = self.tree.record_of(path)
        if record is None:
            return _NODE_DELETED
        if read_i64_be(record, len(record) - zxid_at) <= since_zxid:
            return None
        acl = self.tree.stored_acl_of(path)
        return change if acl is OPEN or acl.allows(watcher.identities, _READ) else None

    def forget_watcher(self, watcher: Watcher) -> Iterator[int]:
        """Drop the watches of a connection that is gone.

        It does so in steps; each yields its estimated cost in microseconds.
        """
        for table in (self.data_watches, self.child_watches):
            self.is_changing = True
            for cost_us in table.forget(watcher):
                self.is_changing = False
                yield cost_us
                self.is_changing = True
            self.is_changing = False


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class _Change:
    """One txn being applied: what it touches and whom it concerns gathers here."""

    def __init__(self, machine: StateMachine, header: TxnHeader) -> None:
        self.machine = machine
        self.tree = machine.tree
        self.header = header
        self.touched: list[str] = []
        self.events: list[Event] = []
        self._last_parent = ""

    def touch_with_parent(self, path: str, parent: str) -> None:
        """Note a znode that came or went."""
        self.touched.append(path)
        if parent != self._last_parent:  # the parts of a multi often have the same one
            self._last_parent = parent
            self.touched.append(parent)

    def count(self, stats_path: str | None) -> None:
        """Note that a quota's statistics have changed."""
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
        """Add the event for those who watch ``path`` and may read it, except ``but``.

        ``acl`` is that of a znode that is gone. Returns all who watched.
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


def _apply_part(change: _Change, op_code: int, body: SubTxn) -> TxnResult:
    """Apply a change that may also be part of a multi."""
    # Not a table: compiled, this calls each directly, and a multi applies thousands in a turn.
    try:
        match body:
            case CreateTxn():
                result = _create(change, op_code, body)
            case SetDataTxn():
                result = _set_data(change, op_code, body)
            case DeleteTxn():
                result = _delete(change, op_code, body)
            case CheckTxn():
                result = TxnResult(op_code, path=body.path)
            case CreateContainerTxn():
                result = _create_container(change, op_code, body)
            case CreateTtlTxn():
                result = _create_ttl(change, op_code, body)
            case ErrorTxn():
                result = TxnResult(op_code, body.err)
    except RequestError as error:
        result = TxnResult(op_code, error.code, error.path)
    return result


def _apply_multi(change: _Change, body: MultiTxn) -> TxnResult:
    """Apply all parts, or none where one of them was refused (``DataTree.processTxn``)."""
    for op_code, _ in body.txns:
        if op_code == _ERROR:
            return TxnResult(_MULTI, parts=_refused_parts(body))
    parts = tuple([_apply_part(change, op_code, part) for op_code, part in body.txns])
    return TxnResult(_MULTI, parts=parts)


def _apply_set_acl(change: _Change, txn: SetAclTxn) -> TxnResult:
    try:
        record = change.tree.set_acl(txn.path, txn.acl, txn.version)
    except RequestError as error:
        return TxnResult(OpCode.SET_ACL, error.code, error.path)
    change.touched.append(txn.path)
    return TxnResult(OpCode.SET_ACL, path=txn.path, record=record)


def _apply_close_session(change: _Change, txn: CloseSessionTxn) -> TxnResult:
    """Delete what the txn lists and whatever else the session owns."""
    session_id = change.header.client_id
    listed = txn.paths or ()
    for path in dict.fromkeys((*listed, *change.tree.ephemerals_of(session_id))):
        _apply_part(change, OpCode.DELETE, DeleteTxn(path))
    change.machine.sessions.close(session_id)
    return TxnResult(OpCode.CLOSE_SESSION)


def _create(change: _Change, op_code: int, txn: CreateTxn) -> TxnResult:
    owner = change.header.client_id if txn.ephemeral else 0
    return _create_znode(change, op_code, txn.path, txn.data, txn.acl, owner, txn.parent_cversion)


def _create_container(change: _Change, op_code: int, txn: CreateContainerTxn) -> TxnResult:
    return _create_znode(
        change, op_code, txn.path, txn.data, txn.acl, CONTAINER_OWNER, txn.parent_cversion
    )


def _create_ttl(change: _Change, op_code: int, txn: CreateTtlTxn) -> TxnResult:
    owner = owner_of_ttl(txn.ttl_ms)
    return _create_znode(change, op_code, txn.path, txn.data, txn.acl, owner, txn.parent_cversion)


def _create_znode(
    change: _Change,
    op_code: int,
    path: str,
    data: bytes | None,
    acl: AclList,
    owner: int,
    parent_cversion: int,
) -> TxnResult:
    header, machine, tree = change.header, change.machine, change.tree
    parent = tree.parents.of(path)
    record = tree.create(
        path, parent, data, acl, owner, parent_cversion, header.zxid, header.time_ms
    )
    # Before the quotas: where the znode is a quota's statistics, they replace its data.
    result = TxnResult(op_code, path=path, record=record)
    change.count(machine.quotas.created(path, data_length(record)))
    change.touch_with_parent(path, parent)
    change.trigger(machine.data_watches, path, _NODE_CREATED)
    change.trigger(machine.child_watches, parent, _NODE_CHILDREN_CHANGED)
    return result


def _delete(change: _Change, op_code: int, txn: DeleteTxn) -> TxnResult:
    path, machine, tree = txn.path, change.machine, change.tree
    parent = tree.parents.of(path)
    record, acl = tree.delete(path, parent, change.header.zxid)
    change.touch_with_parent(path, parent)
    change.count(machine.quotas.deleted(path, data_length(record)))
    told = change.trigger(machine.data_watches, path, _NODE_DELETED, acl)
    change.trigger(
        machine.child_watches, path, _NODE_DELETED, acl, but=frozenset(told) if told else ()
    )
    change.trigger(machine.child_watches, parent, _NODE_CHILDREN_CHANGED)
    return TxnResult(op_code, path=path)


def _set_data(change: _Change, op_code: int, txn: SetDataTxn) -> TxnResult:
    header, machine, path = change.header, change.machine, txn.path
    size_before = change.tree.size_bytes
    record = change.tree.set_data(path, txn.data, txn.version, header.zxid, header.time_ms)
    result = TxnResult(op_code, path=path, record=record)
    if machine.quotas.limited.size:
        change.count(machine.quotas.changed(path, change.tree.size_bytes - size_before))
    change.touched.append(path)
    change.trigger(machine.data_watches, path, _NODE_DATA_CHANGED)
    return result


def _refused_parts(body: MultiTxn) -> tuple[TxnResult, ...]:
    """Say of each part of a refused multi what Apache ZooKeeper says of it.

    Those before the refused part would have succeeded (0), those after it were not tried.
    """
    parts = []
    code = 0
    for _, part in body.txns:
        if isinstance(part, ErrorTxn):
            code = part.err
        parts.append(TxnResult(_ERROR, code))
    return tuple(parts)
