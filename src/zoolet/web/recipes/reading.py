"""Reads a recipe from ZooKeeper.

It reads lists of children first, and the znodes of members only when the names fit. Invariants: it
lists no more names than `MOST_NAMES` of a znode itself; at most `AT_ONCE` requests wait.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

from zoolet.client import AsyncClient, NoAuthError, NoNodeError
from zoolet.model import paths
from zoolet.web.clusters.clients import Connection
from zoolet.web.clusters.lists import ChildLists, TooManyChildrenError
from zoolet.web.recipes.guessing import Guess, guess
from zoolet.web.recipes.kinds import State
from zoolet.web.recipes.names import GATE, ONCE
from zoolet.web.recipes.planning import (
    PARTIAL,
    Listing,
    Lists,
    Plan,
    more_places,
    places,
    planned,
)
from zoolet.web.recipes.recipe import Member, Recipe, Znode
from zoolet.web.recipes.recognition import counter_of, recipe_of

P = ParamSpec("P")
T = TypeVar("T")

MOST_NAMES: Final = 20_000
"""Most children of a znode that the recognition reads; of a longer queue it reads the first."""

FIRST_NAMES: Final = 500
"""The names that it reads of a longer list."""

MOST_MEMBERS: Final = 200
"""Most members whose data and Stat are read."""

MOST_HINTED: Final = 1000
"""Most children of a znode whose own page says which recipe it is."""

_MANY_NAMES: Final = 500

AT_ONCE: Final = 50
"""Most requests that wait for their replies at the same time."""


async def aside(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function, on a thread if it works on many names, so that other requests go on."""
    if size <= _MANY_NAMES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


class RecipeReader:
    """Reads recipes with one connection.

    Args:
        connection: the connection of the user.
        lists: the lists of children that the users of a connection share.
    """

    def __init__(self, connection: Connection, lists: ChildLists) -> None:
        self._connection = connection
        self._client: AsyncClient = connection.client
        self._lists = lists

    async def read(self, path: str, *, at_most: int = MOST_MEMBERS) -> Recipe | None:
        """Return the recipe at a path; None if there is none.

        ``at_most`` is the number of members that are read; with less than MOST_MEMBERS, those are
        the first holders, and the first that wait.

        Raises:
            NoNodeError: the znode does not exist.
            NoAuthError: the user may not list the children.
            TooManyChildrenError: the znode has more children than the page can bring into order.
        """
        stat = await self._client.exists(path)
        if stat is None:
            raise NoNodeError("exists", path)
        if not stat.num_children and await self._has_beside(path, ONCE):
            znode = await self.znode(path)
            counter = None if znode is None else counter_of(path, znode.data)
            if counter is not None:
                return counter
        listing = await self._listing(path)
        size, has_gate = len(listing.names), await self._has_beside(path, GATE)
        found = await aside(size, guess, listing.names, has_gate=has_gate)
        if found is None:
            return None
        return await self._read(path, found, listing, at_most)

    async def znode(self, path: str) -> Znode | None:
        """Return the data and the Stat of a znode; None if it does not exist."""
        try:
            read = await self._client.get(path)
        except NoNodeError:
            return None
        except NoAuthError as error:
            try:
                stat = await self._client.exists(path)
            except NoAuthError:
                return Znode(None, None, str(error))
            return None if stat is None else Znode(None, stat, str(error))
        return Znode(read.data, read.stat)

    async def _read(self, path: str, found: Guess, listing: Listing, at_most: int) -> Recipe | None:
        lists: dict[str, Listing] = {path: listing}
        await self._add(lists, places(found, path))
        await self._add(lists, more_places(found, path, lists))
        _check(found, lists)
        size = sum(len(one.names) for one in lists.values())
        plan = await aside(size, planned, found, path, lists)
        if plan is None:
            return None
        chosen = _chosen(plan, at_most)
        znodes: dict[str, Znode] = {}
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            for member, znode in zip(part, await self._znodes(part), strict=True):
                if znode is not None:
                    znodes[member.path] = znode
        own = await self.znode(path)
        if own is None:
            return None
        return await aside(len(plan.members), recipe_of, plan, znodes, own.data)

    async def _znodes(self, members: Iterable[Member]) -> list[Znode | None]:
        return await asyncio.gather(*(self.znode(member.path) for member in members))

    async def _has_beside(self, path: str, ending: str) -> bool:
        """Return whether a znode has the znode of a helper beside it."""
        if path == paths.ROOT:
            return False
        try:
            return await self._client.exists(f"{path}{ending}") is not None
        except NoAuthError:
            return True

    async def _add(self, lists: dict[str, Listing], more: tuple[str, ...]) -> None:
        for start in range(0, len(more), AT_ONCE):
            part = more[start : start + AT_ONCE]
            found = await asyncio.gather(*(self._listing_or_none(path) for path in part))
            lists.update(zip(part, found, strict=True))

    async def _listing_or_none(self, path: str) -> Listing:
        try:
            return await self._listing(path)
        except NoNodeError:
            return Listing((), 0)

    async def _listing(self, path: str) -> Listing:
        """Return all children of a znode, or the first ones of a long list."""
        stat = await self._client.exists(path)
        if stat is None:
            raise NoNodeError("getChildren", path)
        if stat.num_children <= MOST_NAMES:
            listed = await self._client.children(path)
            return Listing(tuple(listed.names), len(listed.names))
        found = await self._lists.page(self._connection, path, start=0, count=FIRST_NAMES)
        return Listing(tuple(found.names), found.total)


def _check(found: Guess, lists: Lists) -> None:
    """Raise TooManyChildrenError if the order of members needs names that were not read."""
    for path, listing in lists.items():
        if listing.total > len(listing.names) and found.kind not in PARTIAL:
            raise TooManyChildrenError(
                f"{path} has {listing.total:,} children; the page brings up to {MOST_NAMES:,} into"
                " their order. Look at them in the tree"
            )


def _chosen(plan: Plan, at_most: int) -> list[Member]:
    """Return the members to read: the first ones, and some that wait among them."""
    if len(plan.members) <= at_most:
        return list(plan.members)
    others = [member for member in plan.members if member.state is not State.WAITS]
    waiting = [member for member in plan.members if member.state is State.WAITS]
    num_waiting = min(len(waiting), max(at_most - len(others), at_most // 2))
    return [*others[: at_most - num_waiting], *waiting[:num_waiting]]


async def hint(connection: Connection, lists: ChildLists, path: str, num_children: int) -> str:
    """Return which recipe a znode is, for its page; "" if it is none or has many children."""
    if not 0 < num_children <= MOST_HINTED:
        return ""
    try:
        listed = await connection.client.children(path)
        if guess(listed.names) is None:
            return ""
        found = await RecipeReader(connection, lists).read(path, at_most=2)
    except (NoNodeError, NoAuthError, TooManyChildrenError):
        return ""
    return "" if found is None else found.title
