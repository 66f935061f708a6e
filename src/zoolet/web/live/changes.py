"""All changes of a znode or of a subtree, with values before and after.

ZooKeeper's events have no values. So the feed reads the data after an event, and remembers the data
of some znodes for the next change. Invariants: the number of changes and of values in memory is
bounded; a value that may belong to a later change is not shown as that of an earlier one.
"""

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from zoolet.client import (
    AsyncClient,
    Event,
    EventType,
    NoAuthError,
    NoNodeError,
    Resynced,
    Stat,
    ZnodeData,
    ZooKeeperError,
)
from zoolet.model import paths
from zoolet.web.clusters.clients import Connection
from zoolet.web.live.feeds import COALESCE_S, Feed, OnEnd, Open
from zoolet.web.values.short import Short, short

MOST_CHANGES: Final = 1000
"""Changes that a feed keeps for browsers that reconnect."""

MOST_AT_ONCE: Final = 200
"""Of more changes in one moment, only the last ones are shown."""

MOST_KNOWN: Final = 1000
"""Znodes whose data a feed remembers."""

_BUSY_S: Final = 2.0
_FIRST_READ: Final = 500
_FIRST_BYTES: Final = 8 << 20
_OUTSTANDING: Final = 8

KINDS: Final = {
    EventType.NODE_CREATED: "created",
    EventType.NODE_DELETED: "deleted",
    EventType.NODE_DATA_CHANGED: "data",
    EventType.NODE_CHILDREN_CHANGED: "children",
}
"""The name of each kind of change; ``missing`` is the name of a gap."""


class Change(NamedTuple):
    """A change.

    Attributes:
        number: counts the changes of a feed, from 1.
        time_ms: when it happened, or when the page learned of it, in ms since the epoch.
        kind: one of `KINDS`, or ``missing``.
        path: the znode.
        zxid: the zxid; -1 if the server does not send it.
        version: the version of the data, or of the children; None if it is not known.
        old: the data before; None if they are not known.
        new: the data after; None if they are not known.
        note: why a value is not shown, or what is missing.
    """

    number: int
    time_ms: int
    kind: str
    path: str
    zxid: int
    version: int | None
    old: Short | None
    new: Short | None
    note: str


class ChangesFeed(Feed):
    """The changes of a znode, or of its subtree.

    Args:
        path, open_connection, on_end, recursive: see `Feed`.
        time_s: the clock of the system.
    """

    def __init__(
        self,
        path: str,
        open_connection: Open,
        on_end: OnEnd,
        time_s: Callable[[], float],
        *,
        recursive: bool,
    ) -> None:
        self.id = secrets.token_hex(4)
        self.changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self.number = 0
        self.is_ready = False
        self._time_s = time_s
        self._is_busy = False
        self._values: OrderedDict[str, Short] = OrderedDict()
        super().__init__(path, open_connection, on_end, recursive=recursive)

    @property
    def coalesce_s(self) -> float:
        """If there are too many changes to show, the feed reads less often."""
        return _BUSY_S if self._is_busy else COALESCE_S

    def known(self) -> list[list[Change]]:
        """Return that the watch is set, which a list without changes says."""
        return [[]] if self.is_ready else []

    def since(self, last: str) -> tuple[list[Change], bool]:
        """Return the changes after an event id, and whether these are all of them.

        The id of an event is that of the feed, a hyphen and the number of the last change.
        """
        feed, _, number = last.partition("-")
        if feed != self.id or not number.isascii() or not number.isdigit():
            return [], False
        seen = int(number[:18])
        found = [change for change in self.changes if change.number > seen]
        return found, seen + len(found) >= self.number

    async def update(self, connection: Connection, events: list[Event | Resynced], /) -> None:
        """Read the values of the changed znodes, and tell the changes."""
        client = connection.client
        if not self.is_ready:
            await self._read_first(client)
            self.is_ready = True
            self.tell([])
        found = [event for event in events if isinstance(event, Event)]
        made: list[Change] = []
        if len(found) < len(events):
            made.append(self._gap("The connection was lost, or too many changes came at once."))
            await self._read_first(client)
        if len(found) > MOST_AT_ONCE:
            left_out = len(found) - MOST_AT_ONCE
            made.append(self._gap(f"{left_out:,} changes in a moment are not shown."))
            for event in found[:-MOST_AT_ONCE]:
                self._values.pop(event.path, None)
            found = found[-MOST_AT_ONCE:]
        made += await self._changes(client, found)
        self._is_busy = any(change.kind == "missing" for change in made)
        self.changes.extend(made)
        if made:
            self.tell(made)

    async def _changes(self, client: AsyncClient, events: list[Event]) -> list[Change]:
        wanted = dict.fromkeys(
            event.path for event in events if event.type is not EventType.NODE_DELETED
        )
        results: dict[str, ZnodeData | ZooKeeperError] = {}
        async for path, result in client.read_many(wanted, outstanding=_OUTSTANDING):
            if not isinstance(result, ZnodeData | NoAuthError | NoNodeError):
                raise result
            results[path] = result
        last = {event.path: place for place, event in enumerate(events)}
        return [
            self._change(event, results.get(event.path), is_last=last[event.path] == place)
            for place, event in enumerate(events)
        ]

    def _change(
        self, event: Event, result: ZnodeData | ZooKeeperError | None, *, is_last: bool
    ) -> Change:
        kind, path = KINDS[event.type], event.path
        change = self._next(kind, path)._replace(zxid=event.zxid)
        if event.type is EventType.NODE_CHILDREN_CHANGED:
            stat = result.stat if isinstance(result, ZnodeData) else None
            return change._replace(version=stat.cversion if stat is not None and is_last else None)
        old = self._values.pop(path, None) if kind != "created" else None
        if kind == "deleted":
            return change._replace(old=old)
        if isinstance(result, ZnodeData) and _belongs(result.stat, event, is_last=is_last):
            new = short(result.data)
            self._know(path, new)
            return change._replace(
                time_ms=result.stat.mtime, version=result.stat.version, old=old, new=new
            )
        note = "a later change has replaced the value"
        if isinstance(result, NoAuthError):
            note = "the server does not permit to read the value"
        return change._replace(old=old, note=note)

    def _know(self, path: str, value: Short) -> None:
        self._values[path] = value
        self._values.move_to_end(path)
        if len(self._values) > MOST_KNOWN:
            self._values.popitem(last=False)

    def _next(self, kind: str, path: str) -> Change:
        self.number += 1
        now_ms = int(self._time_s() * 1000)
        return Change(self.number, now_ms, kind, path, -1, None, None, None, "")

    def _gap(self, note: str) -> Change:
        return self._next("missing", self.path)._replace(note=note)

    async def _read_first(self, client: AsyncClient) -> None:
        """Read the data of the first znodes of the subtree, so that old values are known."""
        self._values.clear()
        level, size, num_read = [self.path], 0, 0
        while level and num_read < _FIRST_READ and size < _FIRST_BYTES:
            listed: list[tuple[str, Stat]] = []
            async for path, result in client.read_many(level, outstanding=_OUTSTANDING):
                if isinstance(result, ZnodeData):
                    self._know(path, short(result.data))
                    listed.append((path, result.stat))
                    size += result.stat.data_length
                num_read += 1
                if size > _FIRST_BYTES:
                    return
            level = []
            if not self._recursive:
                return
            for path, stat in listed:
                room = _FIRST_READ - num_read - len(level)
                if 0 < stat.num_children <= room:
                    level += await _children(client, path)


async def _children(client: AsyncClient, path: str) -> list[str]:
    try:
        names, _ = await client.children(path)
    except (NoNodeError, NoAuthError):
        return []
    return [paths.join(path, name) for name in names]


def _belongs(stat: Stat, event: Event, *, is_last: bool) -> bool:
    """Return whether the data that were read are those of an event."""
    return stat.mzxid == event.zxid if event.zxid > 0 else is_last
