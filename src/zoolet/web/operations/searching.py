"""The search in a subtree: by name and by content, also in compressed content.

Invariants: the matches that are kept are bounded; the znodes and bytes that are read in a second
are bounded, so that the server stays fast for others; matching runs in a thread.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from zoolet.client import AsyncClient, NoAuthError, UnimplementedError, Visited
from zoolet.web.operations.operation import Handle, Kind
from zoolet.web.values.encodings import decode

SEARCH: Final = Kind("search", "znodes", "search_result.html")

MOST_MATCHES: Final = 1000
"""The search ends at this number of matches."""

MOST_TEXT: Final = 200
"""Most characters of a text to search."""

ZNODES_PER_S: Final = 20_000
"""Most znodes that a search reads in a second."""

BYTES_PER_S: Final = 32 << 20
"""Most bytes of data that a search reads in a second."""

PLACES: Final = ("names", "data", "both")
"""Where a search looks."""

_MOST_SHOWN_CHARACTERS: Final = 512 << 10
_MOST_REFUSED: Final = 10
_SHOWN: Final = 1000
_BATCH: Final = 500
_BATCH_BYTES: Final = 1 << 20
_STEP: Final = 64 << 10
_AROUND: Final = 40


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched.

    Attributes:
        path: the root of the subtree.
        text: the text.
        place: where: one of `PLACES`.
        is_exact: whether upper and lower case differ.
    """

    path: str
    text: str
    place: str = "both"
    is_exact: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.text) <= MOST_TEXT:
            raise ValueError(f"give a text with 1 to {MOST_TEXT} characters")
        if self.place not in PLACES:
            raise ValueError(f"in must be one of {', '.join(PLACES)}")


class Matcher:
    """Finds the text of a query in names and data."""

    def __init__(self, query: Query) -> None:
        self._query = query
        flags = re.NOFLAG if query.is_exact else re.IGNORECASE
        self._pattern = re.compile(re.escape(query.text), flags)

    def matches(self, batch: Sequence[Visited]) -> list[dict[str, Any]]:
        """Return what to show of the znodes that match."""
        found = (self._match(visited) for visited in batch)
        return [match for match in found if match is not None]

    def _match(self, visited: Visited) -> dict[str, Any] | None:
        place, name = self._query.place, visited.path.rpartition("/")[2]
        in_name = place != "data" and self._pattern.search(name) is not None
        data = None if visited.found is None or place == "names" else visited.found.data
        layers, snippet = ((), None) if not data else self._in_data(data)
        if not in_name and snippet is None:
            return None
        return {
            "path": visited.path,
            "in_name": in_name,
            "snippet": snippet,
            "encodings": list(layers) if snippet is not None else [],
        }

    def _in_data(self, data: bytes) -> tuple[tuple[str, ...], str | None]:
        """Return the encodings around the content, and the text around the first match."""
        layers, content = decode(data)
        text = content.decode(errors="replace")
        overlap = 2 * len(self._query.text)
        for start in range(0, len(text), _STEP):  # in steps, so that other threads run meanwhile
            found = self._pattern.search(text, start, start + _STEP + overlap)
            if found is not None:
                begin, end = max(0, found.start() - _AROUND), found.end() + _AROUND
                before, after = "…" if begin else "", "…" if end < len(text) else ""
                return layers, f"{before}{text[begin:end]}{after}"
        return layers, None


async def search(handle: Handle, client: AsyncClient, query: Query) -> dict[str, Any]:
    """Search a subtree; show the matches while it runs.

    Raises:
        NoNodeError: the root of the subtree does not exist.
    """
    found = _Found(handle)
    total = await count_of(client, query.path)
    handle.progress(0, total)
    matcher = Matcher(query)
    batch: list[Visited] = []
    size_bytes = 0
    walk = client.walk(query.path, with_data=query.place != "names", on_refused=found.note_refused)
    async for visited in walk:
        batch.append(visited)
        size_bytes += len(visited.path)
        if visited.found is not None:
            size_bytes += len(visited.found.data or b"")
        if len(batch) >= _BATCH or size_bytes >= _BATCH_BYTES:
            found.note(len(batch), await asyncio.to_thread(matcher.matches, batch))
            if found.is_full:
                break
            await handle.checkpoint(max(len(batch) / ZNODES_PER_S, size_bytes / BYTES_PER_S))
            batch, size_bytes = [], 0
    else:
        found.note(len(batch), await asyncio.to_thread(matcher.matches, batch))
    return {"is_complete": not found.is_full}


async def count_of(client: AsyncClient, path: str) -> int | None:
    """Return the number of znodes of a subtree; None if the server cannot tell it.

    Raises:
        NoNodeError: the znode does not exist.
    """
    try:
        return 1 + await client.count_descendants(path)
    except UnimplementedError:
        return None


class _Found:
    """What a search has found."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._visited = self._refused = self._characters = 0
        self._matches: list[dict[str, Any]] = []
        self._refused_paths: list[str] = []
        self.is_full = False
        self._show()

    def note_refused(self, error: NoAuthError) -> None:
        """Note a znode that the client may not read."""
        self._refused += 1
        if len(self._refused_paths) < _MOST_REFUSED:
            self._refused_paths.append(str(error.path)[:_SHOWN])

    def note(self, visited: int, matches: list[dict[str, Any]]) -> None:
        """Note the matches among the next znodes."""
        self._visited += visited
        for match in matches:
            self._matches.append(match)
            self._characters += len(match["path"]) + len(match["snippet"] or "")
            is_long = self._characters >= _MOST_SHOWN_CHARACTERS
            if is_long or len(self._matches) >= MOST_MATCHES:
                self.is_full = True
                break
        self._show()

    def _show(self) -> None:
        self._handle.progress(self._visited)
        self._handle.show(
            matches=self._matches, refused=self._refused, refused_paths=self._refused_paths
        )
