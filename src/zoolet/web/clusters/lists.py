"""Lists of children: each is fetched once and shared by all users of a client.

A list is sorted and filtered in steps, so that other requests are answered meanwhile. Each request
asks the server for the Stat first: it costs no list, and shows whether the list is still current
and whether the ACL has changed. Invariant: the number of names in memory is bounded.
"""

import asyncio
import bisect
import heapq
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from zoolet.client import AsyncClient, NoNodeError, Stat
from zoolet.web.clusters.clients import Connection

MOST_NAMES: Final = 5_000_000
"""Most children of a znode whose list the page fetches."""

_KEPT_NAMES: Final = 5_000_000
_STEP: Final = 20_000
_LOOK_STEP: Final = 100_000
"""Names that are looked at without a pause; larger than `_STEP`, as each name takes less time."""

_MOST_FILTERS: Final = 4
_NAME_BYTES: Final = 4


class TooManyChildrenError(Exception):
    """A znode has more children than the page lists; the message says what to do."""


class Page(NamedTuple):
    """A part of a list.

    Attributes:
        id: identifies the state of the list.
        total: the number of names that the filter selects.
        start: the position of the first name.
        names: the names, in order.
        reply_bytes: the size of the server's reply with all names, in bytes.
        is_current: whether the server still has this list.
        found_at: the position of the name that was asked for; -1 if it is not in the list.
    """

    id: str
    total: int
    start: int
    names: list[str]
    reply_bytes: int
    is_current: bool
    found_at: int


@dataclass(slots=True)
class _List:
    """The names of a list: unsorted first, and sorted as soon as ``sorting`` has ended."""

    id: str
    names: list[str]
    reply_bytes: int
    sorting: "asyncio.Task[None] | None" = None
    filters: "OrderedDict[str, array[int]]" = field(default_factory=OrderedDict)


class ChildLists:
    """The lists of all clients."""

    def __init__(self) -> None:
        self._lists: OrderedDict[tuple[int, str], _List] = OrderedDict()
        self._fetches: dict[tuple[int, str, str], asyncio.Task[_List]] = {}

    async def page(
        self,
        connection: Connection,
        path: str,
        *,
        start: int,
        count: int,
        wanted: str = "",
        filter_text: str = "",
        find: str = "",
    ) -> Page:
        """Return a part of the list of children.

        Args:
            connection: the client to use.
            path: the znode.
            start: the position of the first name.
            count: the most names to return.
            wanted: the id of the list from which the caller has other parts; "" for the newest.
            filter_text: only names with this text, in upper or lower case, are selected.
            find: a name whose position is returned too.

        Raises:
            NoNodeError: the znode does not exist.
            NoAuthError: the client may not list the children.
            TooManyChildrenError: the list is too long.
        """
        found, is_current = await self._list(connection, path, wanted)
        if found.sorting is not None and not start and not filter_text and not find:
            names = await _first(count, found.names)
            return Page(found.id, len(found.names), 0, names, found.reply_bytes, is_current, -1)
        if found.sorting is not None:
            await asyncio.shield(found.sorting)
        return await _part(found, start, count, filter_text, find, is_current=is_current)

    async def _list(self, connection: Connection, path: str, wanted: str) -> tuple[_List, bool]:
        """Return the list of this id, or else the newest, and whether the server still has it."""
        stat = await connection.client.exists(path)
        if stat is None:
            raise NoNodeError("getChildren", path)
        key, current = (connection.number, path), id_of(stat)
        found = self._lists.get(key)
        # A changed ACL may have taken the permission to see the list.
        is_same_acl = found is not None and found.id.split("-")[2:] == current.split("-")[2:]
        if found is None or not is_same_acl or found.id not in {wanted, current}:
            found = await self._fetched(connection, path, stat)
        self._lists[key] = found
        self._lists.move_to_end(key)
        self._limit()
        return found, found.id == current

    async def newest(self, connection: Connection, path: str) -> tuple[str, list[str]]:
        """Return the id of the newest list and all its names in order; do not change them.

        Raises the errors of `page`.
        """
        found, _ = await self._list(connection, path, "")
        if found.sorting is not None:
            await asyncio.shield(found.sorting)
        return found.id, found.names

    def forget(self, number: int) -> None:
        """Forget the lists of a connection that is closed."""
        for key in [key for key in self._lists if key[0] == number]:
            del self._lists[key]

    async def _fetched(self, connection: Connection, path: str, stat: Stat) -> _List:
        """Fetch a list; requests at the same time share the fetch."""
        if stat.num_children > MOST_NAMES:
            raise TooManyChildrenError(
                f"{path} has {stat.num_children:,} children; the page lists up to {MOST_NAMES:,}."
                " Enter the path of a child, or use zoolet shell"
            )
        key = (connection.number, path, id_of(stat))
        task = self._fetches.get(key)
        if task is None:
            task = asyncio.create_task(_fetch(connection.client, path))
            self._fetches[key] = task
            task.add_done_callback(lambda _: self._fetches.pop(key, None))
        return await asyncio.shield(task)

    def _limit(self) -> None:
        total = sum(len(found.names) for found in self._lists.values())
        while total > _KEPT_NAMES and len(self._lists) > 1:
            _, dropped = self._lists.popitem(last=False)
            total -= len(dropped.names)


async def _fetch(client: AsyncClient, path: str) -> _List:
    received, stat = await client.children(path)
    names: list[str] = []
    characters = 0
    for start in range(0, len(received), _LOOK_STEP):
        part = received[start : start + _LOOK_STEP]
        names += part
        characters += sum(map(len, part))
        await asyncio.sleep(0)
    found = _List(id_of(stat), names, characters + _NAME_BYTES * len(names))
    if len(names) <= _STEP:
        names.sort()
    else:
        found.sorting = asyncio.create_task(_sort(found))
    return found


async def _first(count: int, names: list[str]) -> list[str]:
    """Return the first names of a list that is not sorted."""
    first: list[str] = []
    for start in range(0, len(names), _LOOK_STEP):
        first = heapq.nsmallest(count, [*first, *names[start : start + _LOOK_STEP]])
        await asyncio.sleep(0)
    return first


async def _sort(found: _List) -> None:
    """Sort in steps of a few milliseconds.

    Parts of the list are sorted first. All of them are then cut at the same names, and what is
    between two cuts is merged. There are as many cuts as parts, so that a step has few names.
    """
    names = found.names
    runs = []
    for start in range(0, len(names), _STEP):
        runs.append(sorted(names[start : start + _STEP]))
        await asyncio.sleep(0)
    samples = sorted(name for run in runs for name in run[:: max(1, len(run) // len(runs))])
    in_order: list[str] = []
    begins = [0] * len(runs)
    for cut in [*samples[:: len(runs)], None]:
        merged: list[str] = []
        for number, run in enumerate(runs):
            end = len(run) if cut is None else bisect.bisect_left(run, cut, begins[number])
            merged += run[begins[number] : end]
            begins[number] = end
        merged.sort()  # merges parts that are in order
        in_order += merged
        await asyncio.sleep(0)
    found.names = in_order
    found.sorting = None


async def _part(
    found: _List, start: int, count: int, filter_text: str, find: str, *, is_current: bool
) -> Page:
    names = found.names
    if not filter_text:
        part, total = names[start : start + count], len(names)
        at = bisect.bisect_left(names, find)
        index = at if find and at < total and names[at] == find else -1
    else:
        selected = await _filtered(found, names, filter_text.casefold())
        part, total = [names[at] for at in selected[start : start + count]], len(selected)
        at = bisect.bisect_left(selected, find, key=names.__getitem__)
        index = at if find and at < total and names[selected[at]] == find else -1
    return Page(found.id, total, start, part, found.reply_bytes, is_current, index)


async def _filtered(found: _List, names: list[str], text: str) -> "array[int]":
    selected = found.filters.get(text)
    if selected is None:
        selected = array("I")
        for start in range(0, len(names), _STEP):
            part = enumerate(names[start : start + _STEP], start)
            selected.extend([at for at, name in part if text in name.casefold()])
            await asyncio.sleep(0)
        found.filters[text] = selected
        while len(found.filters) > _MOST_FILTERS:
            found.filters.popitem(last=False)
    return selected


def id_of(stat: Stat) -> str:
    """Return what identifies the list of children of a znode with this Stat."""
    return f"{stat.pzxid:x}-{stat.cversion}-{stat.czxid:x}-{stat.aversion}"
