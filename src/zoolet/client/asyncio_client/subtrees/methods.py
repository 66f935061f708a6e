"""The methods of a client for whole subtrees.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``. The methods import the other modules
when they are called, because few programs use them.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Final, Self

from zoolet.client.asyncio_client.operations import AsyncOperations
from zoolet.client.errors import NoAuthError, NoNodeError, NotEmptyError
from zoolet.model import paths
from zoolet.model.results import Visited

if TYPE_CHECKING:
    from zoolet.client.transfers import Transferred
    from zoolet.exports.lines import ExportedZnode

_DELETE_ROUNDS: Final = 10


class AsyncSubtrees(AsyncOperations):
    """The requests of a client, and work on whole subtrees.

    Reading a subtree is not atomic: each request reads the current state. A subtree is written and
    deleted in multis, parents first or children first. Each multi is atomic.
    """

    def walk(
        self,
        path: str,
        *,
        with_data: bool = False,
        max_depth: int | None = None,
        on_refused: Callable[[NoAuthError], None] | None = None,
    ) -> AsyncIterator[Visited]:
        """Yield each znode of a subtree, parents before their children, in order of name.

        Znodes that are deleted meanwhile are left out. The walk reads about a megabyte ahead for
        each level of the tree.

        Args:
            path: the root of the subtree.
            with_data: whether the data of the znodes are read too.
            max_depth: how many levels below the root are visited; None is all.
            on_refused: is called for each znode that the client may not read; the walk then goes on
                without the descendants of this znode. Without it, the walk raises the error.

        Raises:
            NoNodeError: the znode ``path`` does not exist.
            NoAuthError: the client may not read a znode.
        """
        from zoolet.client.asyncio_client.subtrees.walk import walk  # noqa: PLC0415

        return walk(
            self.futures,
            path,
            with_data=with_data,
            max_depth=max_depth,
            on_refused=on_refused,
        )

    async def delete_recursive(
        self,
        path: str,
        *,
        batch_size: int = 1000,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Delete a znode and all its descendants; return the number of deleted znodes.

        Znodes that others delete meanwhile are not counted, and znodes that others create below it
        meanwhile are deleted too. After an error, the call waits for the multis in progress.

        Args:
            path: the root of the subtree.
            batch_size: the most znodes that one multi deletes.
            progress: is called with the number of znodes that are deleted until now, also before an
                error is raised.

        Raises:
            NoNodeError: the znode does not exist.
            NoAuthError: a znode cannot be listed or deleted.
            NotEmptyError: others create znodes below it faster than this call deletes them.
        """
        from zoolet.client.asyncio_client.subtrees.deleting import AsyncDeleter  # noqa: PLC0415

        deleter = AsyncDeleter(self.futures, batch_size, progress)
        for number in range(_DELETE_ROUNDS):
            try:
                found = [visited.path async for visited in self.walk(path)]
            except NoNodeError:
                if not number:
                    raise
                return deleter.count
            found.reverse()
            await deleter.delete(found)
        raise NotEmptyError("delete_recursive", path)

    def read_subtree(self, path: str, *, with_acl: bool = True) -> "AsyncIterator[ExportedZnode]":
        """Yield each znode of a subtree with its data and ACL, parents before their children.

        ZooKeeper's own znodes are left out if ``path`` is the root of the server. A client cannot
        see whether a znode is a container or has a TTL.

        Args:
            path: the root of the subtree.
            with_acl: whether the ACLs are read; without it, all znodes have an open ACL.

        Raises:
            NoNodeError: the znode ``path`` does not exist.
            NoAuthError: the client may not read a znode.
            HiddenAclError: the server does not show an ACL completely to this client.
        """
        from zoolet.client.asyncio_client.subtrees.reading import read_znodes  # noqa: PLC0415

        return read_znodes(
            self.futures,
            self.walk(path, with_data=True),
            with_acl=with_acl,
            without_system=path == paths.ROOT and not self.chroot,
        )

    async def write_subtree(
        self,
        znodes: "Iterable[ExportedZnode]",
        *,
        replaces: bool = False,
        with_acl: bool = True,
        keeps_ephemerals: bool = False,
        progress: "Callable[[Transferred], None] | None" = None,
    ) -> "Transferred":
        """Write znodes, which must be in an order with parents before children.

        The znodes are created in multis of up to 500 znodes or 512 KiB, with up to 8 multis in
        progress. The first error ends the writing; the call then waits for the multis in progress.
        Containers and znodes with a TTL are created as such, if the znodes show it.

        Args:
            znodes: the znodes, for example of `read_subtree` of another client.
            replaces: whether the data and the ACLs of existing znodes are overwritten. Without it,
                the first existing znode ends the writing.
            with_acl: (with ``replaces``) whether the ACLs of existing znodes are overwritten.
            keeps_ephemerals: whether ephemerals are written, as persistent znodes; without it, they
                are left out.
            progress: is called with what is done until now, also before an error is raised.

        Raises:
            NodeExistsError: a znode exists already.
            NoNodeError: the parent of the first znode does not exist.
            NoAuthError: an ACL does not permit it.
        """
        return await self._write(
            _each(znodes),
            replaces=replaces,
            with_acl=with_acl,
            keeps_ephemerals=keeps_ephemerals,
            progress=progress,
        )

    async def copy_subtree(
        self,
        source: str,
        target: str,
        *,
        to: Self | None = None,
        replaces: bool = False,
        with_acl: bool = True,
        keeps_ephemerals: bool = False,
        progress: "Callable[[Transferred], None] | None" = None,
    ) -> "Transferred":
        """Copy a subtree: data and ACLs, but not versions, times and sequence counters.

        `read_subtree` and `write_subtree` say how the subtree is read and written.

        Args:
            source: the root of the subtree.
            target: the path of the root's copy.
            to: the client of the server to copy to; None is this client.
            replaces: see `write_subtree`.
            with_acl: whether the ACLs are copied; without it, the copies have an open ACL.
            keeps_ephemerals: see `write_subtree`.
            progress: see `write_subtree`.

        Raises:
            NoNodeError: the znode ``source`` or the parent of ``target`` does not exist.
            NodeExistsError: a znode of the copy exists already.
            NoAuthError: an ACL does not permit it.
            HiddenAclError: the server does not show an ACL completely to this client.
            ValueError: ``target`` is in the subtree ``source``, also under another chroot.
        """
        from zoolet.client.asyncio_client.subtrees.nesting import check_apart  # noqa: PLC0415

        goal = to or self
        await check_apart(self, source, goal, target)
        znodes = self.read_subtree(source, with_acl=with_acl)
        return await goal._write(  # noqa: SLF001 -- a client of the same class
            _moved(znodes, source, target),
            replaces=replaces,
            with_acl=with_acl,
            keeps_ephemerals=keeps_ephemerals,
            progress=progress,
        )

    async def move_subtree(
        self,
        source: str,
        target: str,
        *,
        to: Self | None = None,
        with_acl: bool = True,
        keeps_ephemerals: bool = False,
        progress: "Callable[[Transferred], None] | None" = None,
    ) -> "Transferred":
        """Move a subtree.

        Up to 500 znodes and 256 KiB on one server are moved by one multi, which fails if another
        client has changed a znode meanwhile. A larger subtree is copied completely, and then its
        source is deleted. Only znodes that still have the copied version are deleted: the first one
        that has another version, or a new child, ends the deletion.

        Args:
            source: the root of the subtree.
            target: the new path of the root.
            to: the client of the server to move to; None is this client.
            with_acl: whether the ACLs are copied; without it, the copies have an open ACL.
            keeps_ephemerals: whether ephemerals are moved, as persistent znodes; without it, an
                ephemeral is an error.
            progress: see `write_subtree`.

        Raises:
            NoNodeError: the znode ``source`` or the parent of ``target`` does not exist.
            NodeExistsError: a znode of the copy exists already.
            MovedEphemeralError: a znode is ephemeral; then nothing is deleted.
            BadVersionError: another client has changed a znode meanwhile.
            NotEmptyError: another client has created a znode meanwhile.
            NoAuthError: an ACL does not permit it.
            HiddenAclError: the server does not show an ACL completely to this client.
            ValueError: ``target`` is in the subtree ``source``, also under another chroot.
        """
        from zoolet.client.asyncio_client.subtrees.moving import AsyncMover  # noqa: PLC0415
        from zoolet.client.asyncio_client.subtrees.nesting import check_apart  # noqa: PLC0415

        goal = to or self
        await check_apart(self, source, goal, target)
        mover = AsyncMover(
            source,
            target,
            with_acl=with_acl,
            keeps_ephemerals=keeps_ephemerals,
            progress=progress,
        )
        znodes = self.read_subtree(source, with_acl=with_acl)
        return await mover.move(znodes, self.futures, goal.futures)

    async def export_lines(self, path: str, *, with_acl: bool = True) -> AsyncIterator[str]:
        """Yield the lines of an export of a subtree, without line feeds.

        Each line is a JSON object: first a header, then the znodes. `read_subtree` says how the
        subtree is read, and which errors are raised.

        Raises:
            NoNodeError: the znode ``path`` does not exist.
        """
        from zoolet.exports.lines import ExportHeader, header_line, znode_line  # noqa: PLC0415

        has_begun = False
        async for znode in self.read_subtree(path, with_acl=with_acl):
            if not has_begun:
                yield header_line(ExportHeader(self._engine.session.last_zxid, path))
                has_begun = True
            yield znode_line(znode)
        if not has_begun:
            raise NoNodeError("export_lines", path)

    async def export_subtree(
        self,
        path: str,
        file: str | os.PathLike[str],
        *,
        with_acl: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write an export of a subtree to a new file; return the number of znodes.

        The file exists only when it is complete. It is written by the calling thread.

        Args:
            path: the root of the subtree.
            file: the new file.
            with_acl: see `read_subtree`.
            progress: is called with the number of znodes that are written until now.

        Raises:
            NoNodeError: the znode ``path`` does not exist.
            NoAuthError: the client may not read a znode.
            HiddenAclError: the server does not show an ACL completely to this client.
            FileExistsError: the file exists already.
            OSError: the file cannot be written.
        """
        from zoolet.client.export_files import NewFile  # noqa: PLC0415

        count = -1
        with NewFile(file) as output:
            async for line in self.export_lines(path, with_acl=with_acl):
                output.write(line)
                count += 1
                if progress is not None and count:
                    progress(count)
        return count

    async def import_subtree(
        self,
        file: str | os.PathLike[str],
        path: str,
        *,
        replaces: bool = False,
        with_acl: bool = True,
        keeps_ephemerals: bool = False,
        progress: "Callable[[Transferred], None] | None" = None,
    ) -> "Transferred":
        """Create a subtree from a file of `export_subtree`, or of ``zoolet data export``.

        All lines are read before anything is written. The file is read by the calling thread.
        `write_subtree` says how the subtree is written.

        Args:
            file: the file.
            path: the path of the root.
            replaces: see `write_subtree`.
            with_acl: whether the ACLs are created; without it, the znodes have an open ACL.
            keeps_ephemerals: see `write_subtree`.
            progress: see `write_subtree`.

        Raises:
            ExportError: a line is not a line of an export.
            OSError: the file cannot be read.
            NodeExistsError: a znode exists already.
            NoNodeError: the parent of ``path`` does not exist.
            NoAuthError: an ACL does not permit it.
        """
        from zoolet.client.export_files import imported_znodes  # noqa: PLC0415

        for _ in imported_znodes(file, path):
            pass
        return await self.write_subtree(
            imported_znodes(file, path),
            replaces=replaces,
            with_acl=with_acl,
            keeps_ephemerals=keeps_ephemerals,
            progress=progress,
        )

    async def _write(
        self,
        znodes: "AsyncIterator[ExportedZnode]",
        *,
        replaces: bool,
        with_acl: bool,
        keeps_ephemerals: bool,
        progress: "Callable[[Transferred], None] | None",
    ) -> "Transferred":
        from zoolet.client.asyncio_client.subtrees.writing import AsyncWriter  # noqa: PLC0415

        writer = AsyncWriter(
            self.futures,
            replaces=replaces,
            with_acl=with_acl,
            keeps_ephemerals=keeps_ephemerals,
            progress=progress,
        )
        return await writer.write(znodes)


async def _each(znodes: "Iterable[ExportedZnode]") -> "AsyncIterator[ExportedZnode]":
    for znode in znodes:
        yield znode


async def _moved(
    znodes: "AsyncIterator[ExportedZnode]", source: str, target: str
) -> "AsyncIterator[ExportedZnode]":
    from zoolet.client.transfers import moved  # noqa: PLC0415

    async for znode in znodes:
        yield moved(znode, source, target)
