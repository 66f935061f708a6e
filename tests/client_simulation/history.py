"""What a program sees of a client, and the model that checks it.

The worlds report each call, its end, and each notice of a watch. The model knows the log of the
ensemble. It checks at once, and at the end of a run:

- Each call ends exactly once, in time, with the reply of its own request.
- No request comes to the ensemble twice. A call that fails as "not applied" was not applied.
- A notice belongs to a change that has happened, and comes before each reply that shows the change.
  A call that begins after a notice shows no older state.
- A one-shot watch gets one notice. A persistent watch gets each change, or a `Resynced`.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tests.client_simulation.ensemble import Ensemble, Reply
from zoolet.client.errors import (
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.watches import CHILD, DATA, PERSISTENT, RECURSIVE, Resynced, Watcher
from zoolet.model.codes import ErrorCode, EventType, OpCode
from zoolet.model.results import Children, Created, Event, ZnodeData
from zoolet.model.stat import Stat
from zoolet.wire.jute import pack_buffer, pack_ustring, pack_ustrings
from zoolet.wire.requests import WRITE_OP_CODES

CHILDREN: Final = EventType.NODE_CHILDREN_CHANGED
SETS_BEFORE: Final = 8
"""A notice of a client for threads can wait during this number of reconnects."""

SLOWEST_REPLY_S: Final = 1.0
"""The longest time from the sending of a reply until a waiting program has it."""

_SHOWS: Final = {
    OpCode.GET_DATA: "data",
    OpCode.EXISTS: "data",
    OpCode.SET_DATA: "data",
    OpCode.CREATE2: "data",
    OpCode.DELETE: "data",
    OpCode.GET_CHILDREN2: "child",
}
"""The kind of watch that must report what a reply shows."""

_KINDS: Final = {DATA: "data", CHILD: "child", PERSISTENT: "persistent", RECURSIVE: "recursive"}
_NOT_APPLIED: Final = (SessionExpiredError, ClientClosedError)


class Watch:
    """A watch, and what the program knows of it.

    Attributes:
        path: the watched path on the ensemble.
        kind: ``data``, ``child``, ``persistent`` or ``recursive``.
        reply: the reply that set the watch; None before the program knows it.
        shown_zxid: for a one-shot watch, the zxid of what its reply showed; 0 for no znode.
        is_over: whether the program gets no notice any more.
        is_dropped: whether the program does not want it any more.
        is_unwanted: whether the client must not have it at the end.
        owner: what the function for its notices belongs to; None if it is a plain function.
        events: the events since the reply, or since the last `Resynced`.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.reply: Reply | None = None
        self.shown_zxid = 0
        self.is_over = self.is_dropped = self.is_unwanted = False
        self.owner: object = None
        self.events: list[Event] = []
        self.bases: list[int] = []

    @property
    def is_one_shot(self) -> bool:
        return self.kind in {"data", "child"}

    @property
    def is_live(self) -> bool:
        """Whether the watch is set, and has to report changes."""
        return self.reply is not None and not self.is_over and not self.is_dropped

    def covers(self, event_type: EventType, path: str) -> bool:
        """Return whether a persistent watch gets an event."""
        if self.kind == "persistent":
            return path == self.path
        return event_type is not CHILDREN and f"{path}/".startswith(self.path.rstrip("/") + "/")


class CallRecord:
    """A call of the program.

    Attributes:
        call: the call.
        begun_zxid: the newest zxid that the program had seen before the call.
        limit_s: the time at which it must have ended; infinite if there is no limit.
        ends: how often it has ended.
        is_cancelled: whether the program has cancelled it.
    """

    def __init__(self, call: Call[object], begun_zxid: int, limit_s: float) -> None:
        self.call = call
        self.begun_zxid = begun_zxid
        self.limit_s = limit_s
        self.ends = 0
        self.is_cancelled = False
        self.watch: Watch | None = None

    def __str__(self) -> str:
        return f"{OpCode(self.call.op_code).name} {self.call.path} (xid {self.call.xid})"


class History:
    """The calls and watches of one client.

    Attributes:
        story: what happened, for people.
        slack_s: how late a call may end.
        is_exact: whether notices come at once, as with asyncio. Threads may learn the end of a call
            later than another thread learns of a later notice.
        failures: the failed checks of notices.
    """

    def __init__(self, ensemble: Ensemble, chroot: str, slack_s: float, *, is_exact: bool) -> None:
        self.story: list[str] = []
        self.slack_s = slack_s
        self.is_exact = is_exact
        self.calls: list[CallRecord] = []
        self.watches: list[Watch] = []
        self._ensemble = ensemble
        self._chroot = chroot
        self.failures: list[AssertionError] = []
        self._newest_zxid = 0
        self._last_event_zxid = 0
        self._removing: dict[str, int] = {}
        self._of_watcher: dict[int, tuple[Watcher, Watch]] = {}

    @property
    def now_s(self) -> float:
        return self._ensemble.clock.now_s

    def tell(self, what: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.now_s - 1000:9.4f} {what}")

    # Calls.

    def begin(self, call: Call[object], limit_s: float) -> CallRecord:
        """Note that the program makes a call, which must end within ``limit_s``; 0 is no limit."""
        end_s = self.now_s + limit_s + self.slack_s if limit_s else float("inf")
        record = CallRecord(call, self._newest_zxid, end_s)
        self.calls.append(record)
        self.tell(f"begin {record}")
        watcher = call.watcher
        if watcher is not None:
            record.watch = watch = Watch(watcher.path, _KINDS[watcher.kind])
            watch.is_dropped = self._removing.get(watch.path, 0) > 0
            self._of_watcher[id(watcher)] = watcher, watch
            self.watches.append(watch)
            watch.owner = getattr(watcher.notify, "__self__", None)
            watcher.notify = self._noted(record, watch, watcher.notify)
        return record

    def cancelled(self, record: CallRecord) -> None:
        """Note that the program has cancelled a call."""
        self.tell(f"cancel {record}")
        record.is_cancelled = True
        if record.watch is not None:
            record.watch.is_dropped = record.watch.is_unwanted = True

    def end(self, record: CallRecord, *, is_awaited: bool = True) -> None:
        """Note that the program sees the end of a call; ``is_awaited`` if it has waited for it."""
        with self._failing(record):
            self._end(record, is_awaited)

    def _end(self, record: CallRecord, is_awaited: bool) -> None:
        call = record.call
        error = call.error
        self.tell(f"end {record}: {call.result if error is None else f'{error!r} {error}'}")
        record.ends += 1
        assert record.ends == 1, f"{record} has ended twice"
        assert self.now_s <= record.limit_s, f"{record} ended {self.now_s - record.limit_s} s late"
        if call.op_code in (OpCode.CLOSE_SESSION, OpCode.AUTH):
            return
        code = None if error is None else _code_of(error)
        if error is not None and code is None:
            return
        replies = self._ensemble.replies.get(call.xid, [])
        assert replies, f"{record} ended without a reply"
        reply = replies[0]
        is_slow = is_awaited and self.now_s > reply.sent_s + SLOWEST_REPLY_S
        assert not is_slow, f"{record} ended {self.now_s - reply.sent_s} s after its reply"
        if call.op_code != OpCode.MULTI:  # the body of its reply has the errors
            is_missing = call.op_code == OpCode.EXISTS and reply.err == ErrorCode.NO_NODE
            assert (code or 0) == (0 if is_missing else reply.err), f"{record}: {error!r}, {reply}"
        _check_result(record, reply, self._chroot)
        assert reply.zxid >= record.begun_zxid, f"{record} shows an older state than seen before"
        self._newest_zxid = max(self._newest_zxid, reply.zxid)
        self._check_shown(record, reply)
        watch = record.watch
        if watch is not None and error is None:
            watch.reply = reply
            watch.shown_zxid = _shown_zxid(call.result)
            if not watch.bases:
                watch.bases = [reply.zxid]

    def dropped(self, watcher: Watcher) -> None:
        """Note that the program does not want a watcher any more."""
        _, watch = self._of_watcher.get(id(watcher), (None, None))
        if watch is not None:
            watch.is_dropped = True

    def stopped(self, owner: object) -> None:
        """Note that the program has stopped the watch whose notices an object gets."""
        for watch in self.watches:
            watch.is_unwanted = watch.is_unwanted or watch.owner is owner

    def removes(self, path: str, *, begins: bool) -> None:
        """Note that the program begins, or ends, to remove all watches on a path."""
        path = self._full(path)
        self._removing[path] = self._removing.get(path, 0) + (1 if begins else -1)
        for watch in self.watches:
            watch.is_dropped = watch.is_dropped or watch.path == path

    @contextlib.contextmanager
    def _failing(self, record: CallRecord) -> Iterator[None]:
        """Keep the failure of a check, because the client that calls the check would catch it."""
        try:
            yield
        except AssertionError as failure:
            self.failures.append(failure)
            self.tell(f"failed for {record}: {failure}")

    def _check_shown(self, record: CallRecord, reply: Reply) -> None:
        """Check that the changes that a reply shows were reported before."""
        kind = _SHOWS.get(OpCode(record.call.op_code))
        result = record.call.result
        if kind is None or reply.err not in (0, ErrorCode.NO_NODE):
            return
        path, shown_zxid = record.call.path, _shown_zxid(result)
        if isinstance(result, Created):
            path = result.path
        elif record.call.op_code == OpCode.CREATE2:
            return  # there is no parent
        path = self._full(path)
        for watch in self.watches:
            if not watch.is_live or watch.reply is None or watch.reply.zxid > reply.zxid:
                continue
            if watch.is_one_shot:
                if (watch.kind, watch.path) == (kind, path):
                    assert watch.shown_zxid == shown_zxid, f"{record}: no notice before the reply"
            elif kind == "data":
                self._check_seen(watch, path, reply, record)

    def _check_seen(self, watch: Watch, path: str, reply: Reply, record: CallRecord) -> None:
        seen_zxid = watch.events[-1].zxid if watch.events else max(watch.bases)
        for change in reversed(self._ensemble.history):
            if change.zxid <= seen_zxid:
                return
            if change.zxid <= reply.zxid and change.path == path and change.type is not CHILDREN:
                assert not watch.covers(change.type, path), f"{record}: no event before the reply"

    # Watches.

    def _noted(
        self, record: CallRecord, watch: Watch, notify: Callable[[Event | Resynced], None]
    ) -> Callable[[Event | Resynced], None]:
        def note(what: Event | Resynced) -> None:
            with self._failing(record):
                self._note(record, watch, what)
            notify(what)

        return note

    def _note(self, record: CallRecord, watch: Watch, what: Event | Resynced) -> None:
        self.tell(f"notice for {watch.kind} {watch.path}: {what}")
        if not record.is_cancelled:
            is_refused = record.ends > 0 and record.call.error is not None
            assert not is_refused, "a notice for a watch that was not set"
            assert watch.reply is not None or not self.is_exact, "a notice before its reply"
        if watch.is_one_shot:
            assert not watch.is_over, f"two notices for a watch on {watch.path}"
            watch.is_over = True
        if isinstance(what, Resynced):
            sets = self._ensemble.watches_set_zxids
            watch.bases = sets[-1:] if self.is_exact else sets[-SETS_BEFORE:]
            watch.events.clear()
        else:
            self._note_event(watch, what)

    def _note_event(self, watch: Watch, event: Event) -> None:
        changes = self._ensemble.history
        path = self._full(event.path)
        if event.zxid == -1:  # setWatches reports a change that was missed
            assert any(change.path == path for change in changes), f"nothing has changed {path}"
            return
        assert event.zxid >= self._last_event_zxid, "an event comes after a later one"
        self._last_event_zxid = event.zxid
        self._newest_zxid = max(self._newest_zxid, event.zxid)
        found = (event.zxid, event.type, path)
        assert found in changes, f"{event} has not happened"
        if not watch.is_one_shot:
            watch.events.append(event)
            if watch.bases and not watch.is_dropped:
                self._check_complete(watch, is_end=False)

    def _check_complete(self, watch: Watch, *, is_end: bool) -> None:
        """Check that the events of a persistent watch have no gaps."""
        found = [(event.zxid, event.type, self._full(event.path)) for event in watch.events]
        for base_zxid in watch.bases:
            expected = [
                tuple(change)
                for change in self._ensemble.history
                if change.zxid > base_zxid and watch.covers(change.type, change.path)
            ]
            if found == (expected if is_end else expected[: len(found)]):
                return
        raise AssertionError(
            f"the {watch.kind} watch on {watch.path} has {found[-3:]}, which are not all changes"
            f" since {watch.bases}"
        )

    def _full(self, path: str) -> str:
        return self._chroot + path if path != "/" else self._chroot or path

    # The end.

    def check_end(self, *, is_served: bool) -> None:
        """Check the whole history; ``is_served`` if the client has got everything."""
        self.check_failures()
        for record in self.calls:
            self._check_call(record)
        self._check_protected()
        if not is_served:
            return
        for watch in self.watches:
            if not watch.is_live:
                continue
            if watch.is_one_shot:
                assert watch.shown_zxid == self._shown_now(watch), f"{watch.path}: no notice"
            else:
                self._check_complete(watch, is_end=True)

    def _shown_now(self, watch: Watch) -> int:
        record = self._ensemble.machine.tree.record_of(watch.path)
        if record is None:
            return 0
        stat = Stat.unpack(record, len(record) - 68)
        return stat.pzxid if watch.kind == "child" else stat.mzxid

    def check_wanted(self, watchers: Iterable[Watcher]) -> None:
        """Check that the client has no watcher that the program does not want any more."""
        for watcher in watchers:
            _, watch = self._of_watcher[id(watcher)]
            assert not watch.is_unwanted, f"the {watch.kind} watch on {watch.path} is left"

    def check_failures(self) -> None:
        """Raise the first failure of a check in a function that the client has called."""
        if self.failures:
            raise self.failures[0]

    def _check_call(self, record: CallRecord) -> None:
        error = record.call.error
        is_ended = record.ends == 1 or record.is_cancelled
        assert is_ended, f"{record} has not ended"
        xid = record.call.xid
        replies = self._ensemble.replies.get(xid, [])
        assert len(replies) <= 1, f"{record} was sent twice"
        if record.call.op_code not in WRITE_OP_CODES or xid <= 0:
            return
        txns = [txn for txn, _ in self._ensemble.log if txn.header.cxid == xid]
        assert len(txns) <= 1, f"{record} was applied twice"
        is_unsent = isinstance(error, DeadlineError) and "was not sent" in str(error)
        if record.ends and (is_unsent or isinstance(error, _NOT_APPLIED)):
            assert not txns, f"{record} was applied, but its error is {error!r}"
        if record.ends and error is None and record.call.op_code != OpCode.CLOSE_SESSION:
            assert txns, f"{record} succeeded, but was not applied"
            assert txns[0].header.type != OpCode.ERROR

    def _check_protected(self) -> None:
        """Check that no protected znode exists twice at the same time."""
        existing: dict[str, str] = {}
        for _, event_type, path in self._ensemble.history:
            name = path.rpartition("/")[2]
            if name.startswith("_c_") and event_type is EventType.NODE_CREATED:
                assert existing.setdefault(name[:39], path) == path, f"{path} was created twice"
            elif name.startswith("_c_") and event_type is EventType.NODE_DELETED:
                existing.pop(name[:39], None)


def _code_of(error: ZooKeeperError) -> int | None:
    """Return the code of an error that the server has sent; None if the client made it."""
    if isinstance(error, (ConnectionLossError, DeadlineError, *_NOT_APPLIED)):
        return None
    return error.code


def _shown_zxid(result: object) -> int:
    """Return the zxid of what a reply shows; 0 if it shows that there is no znode."""
    if isinstance(result, Children):
        return result.stat.pzxid
    if isinstance(result, ZnodeData | Created):
        return result.stat.mzxid
    return result.mzxid if isinstance(result, Stat) else 0


def _check_result(record: CallRecord, reply: Reply, chroot: str) -> None:
    """Check that the result of a call is what the server has sent."""
    result = record.call.result
    if record.call.error is not None:
        return
    if result is None:
        return
    if isinstance(result, ZnodeData):
        body = pack_buffer(result.data) + result.stat.pack()
    elif isinstance(result, Children):
        body = pack_ustrings(result.names) + result.stat.pack()
    elif isinstance(result, Created):
        body = pack_ustring(chroot + result.path) + result.stat.pack()
    elif isinstance(result, Stat):
        body = result.pack()
    else:
        return
    assert body == reply.body, f"{record}: the result is not that of the reply"
