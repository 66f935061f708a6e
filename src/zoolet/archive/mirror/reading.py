"""Reads znodes of the source, as far as the plan needs them.

Invariant: a znode that is returned was in this state at one moment; its ACL may be newer. Imports
``model``, ``client``, the errors and other modules of its package.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.history import SourceHistory
from zoolet.archive.mirror.records.rows import Found, Row
from zoolet.archive.mirror.records.subtree import Subtree
from zoolet.archive.mirror.refusals import SOURCE, explained_at, hidden_acl
from zoolet.archive.mirror.waiting import all_of
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import NoNodeError, ZooKeeperError
from zoolet.client.transfers import is_hidden
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.results import AclOf, ZnodeData
from zoolet.model.stat import Stat

T = TypeVar("T")

_TOGETHER: Final = 64
"""The most reads that are outstanding: each reply may have a megabyte."""

_MOST_BYTES: Final = 4 * 1024 * 1024
"""The bytes of data after which no more znodes are read before these are written."""


def is_left_out(stat: Stat, *, keeps_ephemerals: bool) -> bool:
    """Whether a znode of the source gets no copy: its session exists only at the source."""
    return not keeps_ephemerals and OwnerKind.of(stat.ephemeral_owner) is OwnerKind.SESSION


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield the items in sequences of up to ``most``."""
    return (items[begin : begin + most] for begin in range(0, len(items), most))


class SourceReader:
    """Reads znodes of the source.

    Args:
        client: the client of the source.
        subtree: the source.
        history: checks that the source has the changes that were copied.
        row_of: returns the row of the copy.
        keeps_ephemerals: whether ephemerals get persistent copies.
    """

    def __init__(
        self,
        client: AsyncClient,
        subtree: Subtree,
        history: SourceHistory,
        row_of: Callable[[str], Row | None],
        *,
        keeps_ephemerals: bool,
    ) -> None:
        self._client = client
        self._subtree = subtree
        self._history = history
        self._row_of = row_of
        self._keeps_ephemerals = keeps_ephemerals

    async def read(self, wanted: Sequence[str]) -> dict[str, Found | None]:
        """Return znodes by their paths, None if there is none to copy.

        Paths are missing if they are not read yet, because the data of others are large.

        Raises:
            ArchiveError: a znode may not be read, the root does not exist any more, or the source
                has lost changes.
            ZooKeeperError: the connection was lost.
        """
        with explained_at(SOURCE):
            await self._history.check()
            found = await self._read(wanted)
            self._history.check_session()
        return found

    async def _read(self, wanted: Sequence[str]) -> dict[str, Found | None]:
        found: dict[str, Found | None] = {}
        size_bytes = 0
        for together in chunks(wanted, _TOGETHER):
            if size_bytes > _MOST_BYTES:
                break
            read = await all_of([self._get(relative) for relative in together])
            for relative, result in zip(together, read, strict=True):
                found[relative] = self._found(result)
                size_bytes += 0 if isinstance(result, ZooKeeperError) else len(result.data or b"")
        await self._add_acls(found)
        if None in found.values():
            await self._check_root()
        return found

    async def _check_root(self) -> None:
        """Check that the source exists: otherwise, its server may be an empty one by mistake."""
        if await self._client.exists(self._subtree.root) is None:
            raise ArchiveError(
                f"the root of the source, {self._subtree.root}, does not exist any more. The target"
                " keeps its copy. Check the server of the source. If the root was deleted on"
                " purpose, delete the copy in the target too"
            )

    async def counters(self, wanted: Sequence[str]) -> list[Stat | None]:
        """Return the Stats of znodes, None for each that does not exist."""
        futures = [self._client.exists(self._subtree.absolute(relative)) for relative in wanted]
        found: list[Stat | None] = []
        for result in await all_of(futures):
            if isinstance(result, ZooKeeperError):
                raise result
            found.append(result)
        return found

    def _get(self, relative: str) -> Awaitable[ZnodeData]:
        return self._client.get(self._subtree.absolute(relative))

    def _found(self, result: ZnodeData | ZooKeeperError) -> Found | None:
        if isinstance(result, NoNodeError):
            return None
        if isinstance(result, ZooKeeperError):
            raise result
        if is_left_out(result.stat, keeps_ephemerals=self._keeps_ephemerals):
            return None
        return Found(result.data, result.stat, None)

    async def _add_acls(self, found: dict[str, Found | None]) -> None:
        """Read the ACLs that are new or changed; forget znodes that do not exist any more."""
        needed = [
            relative
            for relative, znode in found.items()
            if znode is not None and self._needs_acl(relative, znode)
        ]
        for together in chunks(needed, _TOGETHER * 4):
            paths = [self._subtree.absolute(relative) for relative in together]
            read = await all_of([self._client.get_acl(path) for path in paths])
            for relative, path, result in zip(together, paths, read, strict=True):
                znode = found[relative]
                if isinstance(result, NoNodeError) or znode is None:
                    found[relative] = None
                else:
                    found[relative] = self._with_acl(znode, path, result)

    def _needs_acl(self, relative: str, znode: Found) -> bool:
        row = self._row_of(relative)
        stat = znode.stat
        return row is None or not row.is_same_znode(stat) or row.aversion != stat.aversion

    def _with_acl(self, znode: Found, path: str, result: AclOf | ZooKeeperError) -> Found:
        if isinstance(result, ZooKeeperError):
            raise result
        if is_hidden(result.acl):
            raise hidden_acl(SOURCE, path)
        stat = znode.stat._replace(aversion=result.stat.aversion)
        return znode._replace(stat=stat, acl=result.acl)
