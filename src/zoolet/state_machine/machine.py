"""The state machine as a whole: the calls of the server for writes, reads and watches.

``prepare`` turns a write into a txn. The caller appends the txn to the log and calls ``apply``
before the next ``prepare``, so that the next request sees the change. The caller must not send
anything that ``apply`` returns to a client before the log is synced. Recovery calls only ``apply``.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, final

from zoolet.big_endian.buffers import read_i64_be
from zoolet.model import paths
from zoolet.model.acl import AclList
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
from zoolet.model.requests import (
    SetWatches,
    WatchesOf,
    WriteRequest,
)
from zoolet.model.txns import (
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SubTxn,
    Txn,
    TxnHeader,
)
from zoolet.state_machine import access
from zoolet.state_machine.acl_table import OPEN
from zoolet.state_machine.apply import Applied, Change, Event, apply
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.prepare import prepare
from zoolet.state_machine.quotas import Quotas
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester, View
from zoolet.state_machine.watches import Watcher, WatchTable
from zoolet.state_machine.znode import MZXID, PZXID

# Module constants, because looking up an enum member costs more than the operations here.
_READ: Final = Permission.READ.value
_ADMIN: Final = Permission.ADMIN.value
_NODE_CREATED: Final = EventType.NODE_CREATED
_NODE_DELETED: Final = EventType.NODE_DELETED
_NODE_DATA_CHANGED: Final = EventType.NODE_DATA_CHANGED
_NODE_CHILDREN_CHANGED: Final = EventType.NODE_CHILDREN_CHANGED

_BYTES_OF_A_PART: Final = 16
_BEFORE_ALL: Final = -(1 << 63)
"""Less than every zxid."""

_JAVA_BLANKS = "".join(map(chr, range(ord(" ") + 1)))
"""The characters that Java's String.trim removes: blanks and all control characters."""


def _start() -> int:
    """Return 0, the time for callers that only read the log, without a clock."""
    return 0


@final
class StateMachine:
    """The database: tree, sessions and watches, and the zxid of the last applied txn.

    Attributes:
        warnings: the warnings for the operator; the code that logs a warning removes it.
        is_changing: whether a change is in progress. If it is still set after an exception, the
            state may be half changed, and the server must not acknowledge anything more.
        replaced_zxid: the zxid of the last call of ``replace``; 0 if it was never called.
    """

    def __init__(
        self, tree: Tree, sessions: SessionTable, zxid: int = 0, rules: Rules | None = None
    ) -> None:
        """Start with this state; callers may set ``rules`` later, before the first prepare."""
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
        """Replace the state by another one, whose last zxid is ``zxid``, and drop all watches.

        A client that reconnects cannot tell by zxids what has changed, so ``set_watches`` reports
        everything as changed.
        """
        self.tree = tree
        self.sessions = sessions
        self.zxid = self.replaced_zxid = zxid
        self.quotas = Quotas(tree)
        self._view = View(tree, self.quotas)
        self.data_watches = WatchTable()
        self.child_watches = WatchTable()

    def shrink(self) -> None:
        """Reduce all tables to the memory that their entries need."""
        self.tree.shrink()
        self.sessions.shrink()
        self.data_watches.shrink()
        self.child_watches.shrink()

    # --- Writes

    def prepare(
        self, asker: Requester, cxid: int, op_code: int, request: WriteRequest, time_ms: int
    ) -> Txn:
        """Return the txn for ``request``: its change, or an ErrorTxn if the request is refused.

        ``time_ms`` is the time since the epoch.
        """
        try:
            view = self._view
            view.begin(self.rules)
            body = prepare(self.tree, self.sessions, view, asker, request)
            if view.warning:
                self.warnings.append(view.warning)
        except RequestError as error:
            return self.refuse(asker.session_id, cxid, error.code, time_ms)
        return Txn(TxnHeader(asker.session_id, cxid, self.zxid + 1, time_ms, op_code), body)

    def refuse(self, session_id: int, cxid: int, code: ErrorCode, time_ms: int) -> Txn:
        """Return the txn of a request that the server refuses in any state; it has its own zxid."""
        header = TxnHeader(session_id, cxid, self.zxid + 1, time_ms, OpCode.ERROR)
        return Txn(header, ErrorTxn(code))

    def delete_ephemerals(self, session_id: int, at_most: int, time_ms: int) -> Txn:
        """Return a txn that deletes the oldest ephemerals of a session.

        The txn deletes ``at_most`` ephemerals, or fewer if it would exceed half the maximum txn
        size.
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
        """Apply a txn; ``now_ms``, a monotonic clock, gives the start of a new session's timeout.

        A snapshot that was written while txns were applied may contain the change already. Then
        only the missing part of the change is applied, and the result has an error (NODE_EXISTS,
        NO_NODE).
        """
        header, body = txn.header, txn.body
        change = Change(
            self.tree, self.sessions, self.quotas, self.data_watches, self.child_watches, header
        )
        result = apply(change, body, now_ms)
        self.zxid = max(self.zxid, header.zxid)
        return Applied(result, change.touched, change.events)

    # --- Reads

    def readable(self, path: str, identities: Identities) -> bytes:
        """Return a readable znode's record; raises RequestError (NO_NODE, NO_AUTH)."""
        record = self.tree.record_of(path)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        self.check_readable(path, identities)
        return record

    def check_readable(self, path: str, identities: Identities) -> None:
        """Check that a znode may be read; raises RequestError (NO_AUTH)."""
        tree = self.tree
        if tree.acl_table.num_private:
            acl = tree.acls.get(path)
            if acl is not None and acl.number != identities.readable_list:
                access.check(acl, identities, _READ, path)
                identities.readable_list = acl.number

    def acl_of(self, path: str, identities: Identities) -> tuple[AclList, bool, bytes]:
        """Return a znode's ACL, whether its digests must be hidden, and the znode's record.

        The digests must be hidden from clients without ADMIN permission. Raises RequestError
        (NO_NODE, NO_AUTH).
        """
        record = self.tree.record_of(path)
        if record is None:
            raise RequestError(ErrorCode.NO_NODE, path)
        acl = self.tree.stored_acl_of(path)
        access.check(acl, identities, _READ | _ADMIN, path)
        return acl.entries, not acl.allows(identities, _ADMIN), record

    def count_below(self, path: str, identities: Identities) -> int:
        """Return the number of znodes below a path, at every depth.

        For "", Apache ZooKeeper also counts the root (``DataTree.getAllChildrenNumber``). Raises
        RequestError (NO_NODE, NO_AUTH).
        """
        self.readable(path or paths.ROOT, identities)
        return self.tree.count_below(path) if path else len(self.tree)

    def ephemerals_of(self, session_id: int, prefix: str) -> list[str]:
        """Return the paths of a session's ephemerals that begin with ``prefix``."""
        prefix = self.plain_prefix(prefix)
        return [path for path in self.tree.ephemerals_of(session_id) if path.startswith(prefix)]

    @staticmethod
    def plain_prefix(prefix: str) -> str:
        """Return the prefix that getEphemerals compares; "" if the prefix is the root or blank."""
        return "" if prefix.strip(_JAVA_BLANKS) in {"", paths.ROOT} else prefix

    # --- Watches

    def watch_data(self, path: str, watcher: Watcher) -> None:
        """Set a standard watch; the znode need not exist. Raises RequestError (THROTTLED)."""
        self._watch(path, watcher, WatchMode.STANDARD, self.data_watches)

    def watch_children(self, path: str, watcher: Watcher) -> None:
        """Set a standard watch on a znode's children; raises RequestError (THROTTLED)."""
        self._watch(path, watcher, WatchMode.STANDARD, self.child_watches)

    def add_watch(self, path: str, watcher: Watcher, mode: AddWatchMode) -> None:
        """Set a persistent watch on a path; with PERSISTENT_RECURSIVE, also on all paths below it.

        Raises RequestError (THROTTLED).
        """
        if mode is AddWatchMode.PERSISTENT_RECURSIVE:
            self._watch(path, watcher, WatchMode.PERSISTENT_RECURSIVE, self.data_watches)
        else:
            tables = (self.data_watches, self.child_watches)
            self._watch(path, watcher, WatchMode.PERSISTENT, *tables)

    def _watch(self, path: str, watcher: Watcher, mode: WatchMode, *tables: WatchTable) -> None:
        """Add the watch to all tables, or to none if ``Rules.most_watches`` would be exceeded."""
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
        """Check that the watcher has a watch of this path and type.

        Raises RequestError (NO_WATCHER).
        """
        path = request.path
        if not any(
            table.holds(path, watcher, mode) for table, mode in self._kinds(request.watcher_type)
        ):
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def remove_watches(self, request: WatchesOf, watcher: Watcher) -> None:
        """Remove the watcher's watches of this path and type.

        Raises RequestError (NO_WATCHER) if there are none.
        """
        path = request.path
        kinds = self._kinds(request.watcher_type)
        self.is_changing = True
        removed = [table.remove(path, watcher, mode) for table, mode in kinds]
        self.is_changing = False
        if True not in removed:
            raise RequestError(ErrorCode.NO_WATCHER, path)

    def _kinds(self, watcher_type: WatcherType) -> list[tuple[WatchTable, WatchMode | None]]:
        """Return the tables and modes of the watches of a type (``DataTree.removeWatch``)."""
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
        """Set the watches of a reconnected client; return the events that the client missed.

        For a change after ``relative_zxid``, an event is returned; for every other path, the watch
        is set (``DataTree.setWatches``). A client gets no event of a znode that it cannot read:
        there, the watch is set even if the znode has changed. The client does get the event that a
        znode does not exist, because every read tells it too. Raises RequestError (THROTTLED) if
        there are too many watches; then some of them are set.
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
        """Return the event that the watcher missed; None if there is none that it may receive.

        The event is ``change`` if the zxid at ``zxid_at`` in the Stat is greater than
        ``since_zxid``, and NODE_DELETED if the znode does not exist.
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
        """Remove all watches of a closed connection.

        The work is done in steps: each step yields its estimated cost in microseconds.
        """
        for table in (self.data_watches, self.child_watches):
            self.is_changing = True
            for cost_us in table.forget(watcher):
                self.is_changing = False
                yield cost_us
                self.is_changing = True
            self.is_changing = False
