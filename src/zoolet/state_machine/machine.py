"""The state machine as a whole: what the server asks, in the order in which it asks it.

``prepare`` turns a write into a txn; whoever called appends it to the log and calls ``apply`` at
once, so that the next prepare sees it. Nothing of what ``apply`` returns may leave the process
before the log is synced: that is the caller's part. Recovery calls ``apply`` alone.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, final

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

# Looked up once: a member of an enum costs more than what is done with it here.
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
"""What Java's String.trim takes off: blanks and all control characters."""


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
            view = self._view
            view.begin(self.rules)
            body = prepare(self.tree, self.sessions, view, asker, request)
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
        change = Change(
            self.tree, self.sessions, self.quotas, self.data_watches, self.child_watches, header
        )
        result = apply(change, body, now_ms)
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
