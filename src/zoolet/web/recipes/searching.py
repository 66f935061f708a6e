"""Searches a subtree for recipes.

It reads the Stat of each znode and then its list of children, level by level. Where the names fit,
the caller reads more and says whether it is a recipe. The search does not look below a recipe.
Invariants: it visits and remembers at most ``most`` znodes; the lists that
it asks for at a time have at most `MOST_NAMES` names; at most `AT_ONCE` requests wait.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from zoolet.client import AsyncClient, NoAuthError, NoNodeError, Stat
from zoolet.model import paths
from zoolet.web.recipes.guessing import guess
from zoolet.web.recipes.names import GATE, ONCE
from zoolet.web.recipes.reading import AT_ONCE, MOST_NAMES, aside

MOST_VISITED: Final = 20_000
"""Most znodes that a search visits."""

MOST_FOUND: Final = 500
"""Most recipes that a search finds."""

_MOST_NOTED: Final = 100

Confirm = Callable[[str], Awaitable[bool]]
"""Reads a znode, and returns whether it is a recipe."""

_HELPERS: Final = (GATE, ONCE, "-__takers__")


@dataclass(slots=True)
class Search:
    """How far a search is, and what it has found.

    Attributes:
        path: where it begins.
        most: the number of znodes that it visits at most.
        num_visited: the number of znodes that it has visited.
        num_found: the number of recipes that it has found.
        long: paths with more children than it lists, and their numbers of children.
        num_refused: the number of znodes that the user may not read.
        is_complete: whether it has looked at all znodes.
    """

    path: str
    most: int
    num_visited: int = 0
    num_found: int = 0
    long: list[tuple[str, int]] = field(default_factory=list)
    num_refused: int = 0
    is_complete: bool = True


class _Place(NamedTuple):
    """A znode to visit, and which helpers it has beside it."""

    path: str
    has_gate: bool = False
    has_once: bool = False


class _Waiting:
    """The znodes that the search has not visited yet."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.paths: deque[_Place] = deque([_Place(search.path)])

    def add(self, parent: str, names: Sequence[str]) -> None:
        """Add the children of a znode, but not the helpers of recipes, up to the limit."""
        present = frozenset(names)
        room = self.search.most - self.search.num_visited - len(self.paths)
        for name in sorted(names):
            if any(name.endswith(end) and name.removesuffix(end) in present for end in _HELPERS):
                continue
            if room <= 0:
                self.search.is_complete = False
                return
            room -= 1
            has_gate, has_once = f"{name}{GATE}" in present, f"{name}{ONCE}" in present
            self.paths.append(_Place(paths.join(parent, name), has_gate, has_once))


async def search_recipes(
    client: AsyncClient, search: Search, confirm: Confirm
) -> AsyncIterator[Search]:
    """Search, and yield the same ``search`` again and again with what was done until then.

    ``confirm`` is called with each path whose names fit, and returns whether it is a recipe.

    Raises:
        NoNodeError: the znode where it begins does not exist.
    """
    if await client.exists(search.path) is None:
        raise NoNodeError("exists", search.path)
    waiting = _Waiting(search)
    while waiting.paths:
        part = [waiting.paths.popleft() for _ in range(min(AT_ONCE, len(waiting.paths)))]
        search.num_visited += len(part)
        stats = await asyncio.gather(*(_stat(client, search, place.path) for place in part))
        places = [_look_at(search, *found) for found in zip(part, stats, strict=True)]
        await _list(client, waiting, confirm, [place for place in places if place is not None])
        if search.num_found >= MOST_FOUND:
            search.is_complete = search.is_complete and not waiting.paths
            waiting.paths.clear()
        yield search


async def _stat(client: AsyncClient, search: Search, path: str) -> Stat | None:
    try:
        return await client.exists(path)
    except NoAuthError:
        search.num_refused += 1
        return None


def _look_at(search: Search, place: _Place, stat: Stat | None) -> tuple[_Place, int] | None:
    """Return a place and its number of children if there may be something to find."""
    if stat is None:
        return None
    if not stat.num_children:
        has_helper = place.has_gate or (place.has_once and stat.data_length > 0)
        return (place, 0) if has_helper else None
    if stat.num_children > MOST_NAMES:
        if len(search.long) < _MOST_NOTED:
            search.long.append((place.path, stat.num_children))
        search.is_complete = False
        return None
    return place, stat.num_children


async def _list(
    client: AsyncClient, waiting: _Waiting, confirm: Confirm, places: list[tuple[_Place, int]]
) -> None:
    """List children of znodes, at most `MOST_NAMES` names at a time."""
    while places:
        part = [places.pop()]
        total = part[0][1]
        while places and total + places[-1][1] <= MOST_NAMES:
            part.append(places.pop())
            total += part[-1][1]
        await asyncio.gather(*(_visit(client, waiting, confirm, *one) for one in part))


async def _visit(
    client: AsyncClient, waiting: _Waiting, confirm: Confirm, place: _Place, num_children: int
) -> None:
    search, path = waiting.search, place.path
    names: Sequence[str] = ()
    try:
        if num_children:
            names = (await client.children(path)).names
    except NoNodeError:
        return
    except NoAuthError:
        search.num_refused += 1
        return
    fits = await aside(len(names), guess, names, has_gate=place.has_gate) is not None
    if (fits or place.has_once) and await confirm(path):
        search.num_found += 1
    else:
        waiting.add(path, names)
