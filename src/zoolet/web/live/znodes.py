"""What the tree and the page of a znode follow: its Stat, its data, and the names of its children.

A list of up to `MOST_FOLLOWED` names is fetched again after a change, once for all browsers, and
only the differences are sent. Of a longer list, only the new number is sent: the user chooses when
to fetch it.
"""

import bisect
from collections.abc import Iterator
from typing import Final, NamedTuple

from zoolet.client import AsyncClient, Event, NoAuthError, NoNodeError, Resynced, Stat
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists, id_of
from zoolet.web.live.feeds import COALESCE_S, Feed, OnEnd, Open

MOST_FOLLOWED: Final = 20_000
"""A longer list is not fetched again by itself."""

MOST_DIFFERENCES: Final = 500
"""With more differences, browsers load the visible names again."""

MOST_DATA_BYTES: Final = 64 << 10
"""Longer data are not sent by themselves: the page offers to load them."""


class ZnodeNews(NamedTuple):
    """A znode as it is now.

    Attributes:
        path: the znode.
        stat: the Stat; None if there is no such znode, or ``error`` says why it is not known.
        data: the data; None if they are null, too long, or may not be read.
        has_data: whether ``data`` are the data.
        error: why the znode cannot be read; "" if it can.
    """

    path: str
    stat: Stat | None
    data: bytes | None
    has_data: bool
    error: str


class ListNews(NamedTuple):
    """A list of children has changed.

    Attributes:
        path: the znode.
        before: the id of the list before; "" if ``removed`` and ``added`` are not complete.
        id: the id of the list; "" with an error.
        total: the number of names.
        removed: the positions of removed names in the list before, in order.
        added: the positions and the names of new names in the list, in order.
        error: why the list cannot be read; "" if it can.
        is_long: whether the list was not fetched, because it is long.
    """

    path: str
    before: str
    id: str
    total: int
    removed: list[int]
    added: list[tuple[int, str]]
    error: str
    is_long: bool = False


class DataFeed(Feed):
    """The Stat and the data of one znode."""

    def __init__(self, path: str, open_connection: Open, on_end: OnEnd) -> None:
        self._znode: ZnodeNews | None = None
        super().__init__(path, open_connection, on_end)

    def known(self) -> Iterator[ZnodeNews]:
        """Return the znode."""
        if self._znode is not None:
            yield self._znode

    async def update(self, connection: Connection, _events: list[Event | Resynced], /) -> None:
        """Read the Stat, and the data if they have changed."""
        news = await self._read(connection.client)
        if news != self._znode:
            self._znode = news
            self.tell(news)

    async def _read(self, client: AsyncClient) -> ZnodeNews:
        nothing = ZnodeNews(self.path, None, None, has_data=False, error="")
        try:
            stat = await client.exists(self.path)
        except NoAuthError as error:
            return nothing._replace(error=str(error))
        if stat is None:
            return nothing
        before = self._znode
        if before is not None and before.stat is not None and _has_same_data(before.stat, stat):
            return before._replace(stat=stat)
        if stat.data_length > MOST_DATA_BYTES:
            return nothing._replace(stat=stat)
        try:
            data, stat = await client.get(self.path)
        except NoAuthError as error:
            return nothing._replace(stat=stat, error=str(error))
        except NoNodeError:
            return nothing
        has_data = len(data or b"") <= MOST_DATA_BYTES
        return ZnodeNews(self.path, stat, data if has_data else None, has_data, "")


class ListFeed(Feed):
    """The names of the children of one znode.

    Args:
        path, open_connection, on_end: see `Feed`.
        lists: the lists that all pages share.
    """

    def __init__(self, path: str, open_connection: Open, on_end: OnEnd, lists: ChildLists) -> None:
        self._lists = lists
        self._list: ListNews | None = None
        self._id = ""
        self._names: list[str] = []
        super().__init__(path, open_connection, on_end)

    @property
    def coalesce_s(self) -> float:
        """A longer list is fetched less often."""
        return COALESCE_S + len(self._names) / MOST_FOLLOWED

    def known(self) -> Iterator[ListNews]:
        """Return the list without differences."""
        if self._list is not None:
            yield self._list._replace(before="", removed=[], added=[])

    async def update(self, connection: Connection, _events: list[Event | Resynced], /) -> None:
        """Read the Stat, and the list if it has changed."""
        try:
            stat = await connection.client.exists(self.path)
            if stat is None:
                self._fail(NoNodeError("getChildren", self.path))
                return
            current = id_of(stat)
            if current == self._id:
                return
            if stat.num_children > MOST_FOLLOWED:
                self._become("", current, stat.num_children, [], is_long=True)
                return
            found, names = await self._lists.newest(connection, self.path)
        except (NoNodeError, NoAuthError) as error:
            self._fail(error)
            return
        has_names = self._list is not None and not (self._list.is_long or self._list.error)
        self._become(self._id if has_names else "", found, len(names), names)

    def _fail(self, error: Exception) -> None:
        if self._list is None or self._list.error != str(error):
            self._id = ""
            self._names = []
            self._list = ListNews(self.path, "", "", 0, [], [], str(error))
            self.tell(self._list)

    def _become(
        self, before: str, found: str, total: int, names: list[str], *, is_long: bool = False
    ) -> None:
        removed, added = differences(self._names, names) if before else ([], [])
        if len(removed) + len(added) > MOST_DIFFERENCES:
            before, removed, added = "", [], []
        self._id, self._names = found, names
        self._list = ListNews(self.path, before, found, total, removed, added, "", is_long)
        self.tell(self._list)


def differences(before: list[str], names: list[str]) -> tuple[list[int], list[tuple[int, str]]]:
    """Return the positions of removed names, and the positions and names of added ones.

    Both lists are in order.
    """
    gone, new = set(before).difference(names), set(names).difference(before)
    removed = sorted(bisect.bisect_left(before, name) for name in gone)
    return removed, sorted((bisect.bisect_left(names, name), name) for name in new)


def _has_same_data(before: Stat, now: Stat) -> bool:
    """Return whether the data, and who may read them, are the same."""
    return (before.czxid, before.mzxid, before.aversion) == (now.czxid, now.mzxid, now.aversion)
