"""Shares a set of items among the members of a party.

Made by `release.client_methods` from `asyncio_client/recipes/partitioner.py`: change that module.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from zoolet.client.thread_client.primitives import (
    Deadline,
    Event,
    Holder,
    in_background,
    is_set_within,
)
from zoolet.client.thread_client.recipes.ephemeral import Ephemeral
from zoolet.client.thread_client.recipes.lock import LOCK, Lock, Kind
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.errors import (
    ClientClosedError,
    DeadlineError,
    LockLostError,
    NoNodeError,
    SessionExpiredError,
)
from zoolet.model import paths
from zoolet.model.codes import CreateMode

if TYPE_CHECKING:
    from zoolet.client.protocol.watches import Watcher

_LOCK_WAIT_S: Final = 1.0
"""How long to wait for one lock before the members are looked at again."""

Share = Callable[[str, Sequence[str], Sequence[str]], Iterable[str]]


def share_evenly(member: str, members: Sequence[str], items: Sequence[str]) -> Iterable[str]:
    """Return every Nth of the sorted items, for N members; the same as kazoo's SetPartitioner."""
    ordered = sorted(members)
    return sorted(items)[ordered.index(member) :: len(ordered)]


class _Waker(Holder):
    """Sets an event when a lock is lost."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    def cancel(self) -> None:
        self._event.set()


class SetPartitioner:
    """Shares items among members, so that each item belongs to at most one member.

    ``client.set_partitioner(path, items)`` makes it. Iterate over it: each step yields the items of
    this member. Work on them until the event `changed` is set, then begin the next step. The next
    step gives back the items that this member must not keep, and keeps the locks of the others.

    Guarantees: an item belongs to at most one member at a time, because its member holds a lock. If
    members come or go, `changed` is set, and all items are shared again after ``settle_s`` seconds
    without another change. A member whose session has expired is a member again in the next step.

    Not guaranteed: while members come or go, some items belong to nobody. As with `Lock`, a member
    may learn late that its session has expired: give `tokens` to what the items stand for. All
    members must have the same items and the same function.

    Layout: that of kazoo's ``SetPartitioner``: ``PATH/party`` has the members, and
    ``PATH/locks/ITEM`` the locks. Members of kazoo and of zoolet share the items, if their
    identifiers differ.
    """

    def __init__(
        self,
        tools: Tools,
        path: str,
        items: Iterable[str],
        identifier: str,
        settle_s: float,
        share: Share | None,
    ) -> None:
        """Make a partitioner; a program calls ``client.set_partitioner`` instead."""
        self._tools = tools
        self._path = path
        self._party_path = paths.join(path, "party")
        self._locks_path = paths.join(path, "locks")
        self._items = tuple(items)
        unique = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._identifier = identifier or unique
        self._settle_s = settle_s
        self._share: Share = share or share_evenly
        self._member: Ephemeral | None = None
        self._locks: dict[str, Lock] = {}
        self._is_stopped = False
        self._changed = Event()
        self._changed.set()
        self._watcher: Watcher | None = None

    @property
    def changed(self) -> Event:
        """The event that is set when the items must be shared again."""
        return self._changed

    @property
    def tokens(self) -> dict[str, int]:
        """The items of this member, each with the fencing token of its lock."""
        return {item: lock.token for item, lock in self._locks.items() if lock.is_held}

    def next(self, *, timeout_s: float | None = None) -> tuple[str, ...]:
        """Wait until the items must be shared again, share them, and return those of this member.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: nothing has changed in time, or the items cannot be shared in time. The
                next call goes on.
            StopIteration: the partitioner is stopped, or the client is closed.
        """
        deadline = Deadline(timeout_s, "set_partitioner", self._path)
        if not is_set_within(self._changed, deadline.left_s()):
            raise deadline.error()
        while not self._is_stopped:
            self._changed.clear()
            try:
                found = self._shared(deadline)
                if found is not None:
                    return found
            except (LockLostError, SessionExpiredError):
                self._tools.wait_for_session(deadline)
            except ClientClosedError:
                break
            except BaseException:
                self._changed.set()
                raise
        raise StopIteration

    def stop(self) -> None:
        """Give all items back, and be a member no more."""
        self._is_stopped = True
        self._changed.set()
        self._watch(None)
        locks, self._locks = self._locks, {}
        member, self._member = self._member, None
        try:
            for lock in locks.values():
                lock.release()
            if member is not None:
                member.delete()
        except BaseException:
            for lock in locks.values():
                in_background(lock.release)
            if member is not None:
                member.abandon()
            raise

    def _shared(self, deadline: Deadline) -> tuple[str, ...] | None:
        """Share the items; return None if the members have changed meanwhile."""
        member = self._joined(deadline)
        members = self._settled(member, deadline)
        if members is None:
            return None
        wanted = tuple(self._share(self._identifier, members, self._items))
        for item in [item for item in self._locks if item not in wanted]:
            self._locks.pop(item).release()
        for item in wanted:
            if not self._lock(item, deadline):
                return None
        member.check()
        return wanted

    def _joined(self, deadline: Deadline) -> Ephemeral:
        if self._member is not None and not self._member.lost.is_set():
            return self._member
        if self._member is not None:
            self._member.end()
            self._member = None
        name = f"{uuid.uuid4().hex}-{self._identifier}"
        mode = CreateMode.EPHEMERAL
        member = Ephemeral(self._tools, self._party_path, name, b"", mode)
        try:
            member.create(deadline)
            member.hold(self._changed.set)
            self._member = member
        finally:
            if self._member is None:
                member.abandon()
        return member

    def _settled(self, member: Ephemeral, deadline: Deadline) -> list[str] | None:
        """Return the members if they do not change for ``settle_s`` seconds."""
        make = self._tools.make
        changed = self._changed

        def note(_: object) -> None:
            changed.set()

        try:
            listed, watcher = self._tools.watch(
                lambda: make.children(self._party_path, note), deadline
            )
        except NoNodeError:
            raise LockLostError("", self._party_path, "its znode was deleted") from None
        self._watch(watcher)
        left_s = deadline.left_s()
        wait_s = self._settle_s if left_s is None else min(self._settle_s, left_s)
        if is_set_within(changed, wait_s):
            return None
        deadline.left_s()
        member.check()
        names = [name.partition("-")[2] for name in listed.names]
        return [name for name in names if name]

    def _lock(self, item: str, deadline: Deadline) -> bool:
        """Lock an item; return False if the members have changed meanwhile."""
        lock = self._locks.get(item)
        if lock is not None and lock.is_held:
            return not self._changed.is_set()
        if lock is not None:
            lock.release()
        path = paths.join(self._locks_path, item)
        waker = _Waker(self._changed)
        lock = Lock(self._tools, path, Kind(LOCK, (LOCK,)), self._identifier, None, waker)
        while not self._changed.is_set():
            left_s = deadline.left_s()
            try:
                lock.acquire(timeout_s=min(_LOCK_WAIT_S, left_s or _LOCK_WAIT_S))
            except DeadlineError:
                continue
            self._locks[item] = lock
            return True
        return False

    def _watch(self, watcher: "Watcher | None") -> None:
        last, self._watcher = self._watcher, watcher
        self._tools.forget(last)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[str, ...]:
        return self.next()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
