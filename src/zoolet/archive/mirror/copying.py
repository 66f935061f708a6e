"""Writes the copies of changed znodes to the target, in multis.

Invariants: one multi is in progress at a time. The state file has its intents before it is sent.
After an error other than a refusal, nobody may send another multi before `Owner.renew` has found
out what was applied. Imports ``model``, ``client``, the errors and other modules of its package.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.checking import CopyChecker
from zoolet.archive.mirror.lost_writes import MOST_LOST, LostWrites
from zoolet.archive.mirror.owner import Owner
from zoolet.archive.mirror.plan import AclChange, Write, make_plan, plan_emptying
from zoolet.archive.mirror.reading import SourceReader
from zoolet.archive.mirror.records.changes import Changes
from zoolet.archive.mirror.records.figures import Figures
from zoolet.archive.mirror.records.rows import DIFFERENT, UNKNOWN, Found, Row, same_acl
from zoolet.archive.mirror.records.state_file import StateFile, digest_of
from zoolet.archive.mirror.records.subtree import Subtree, parent_of
from zoolet.archive.mirror.refusals import LOST
from zoolet.archive.mirror.waiting import all_of
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistencyError,
    ZooKeeperError,
)
from zoolet.client.transfers import Splitter
from zoolet.model import paths
from zoolet.model.stat import Stat

MOST_WRITES: Final = 500
_REQUEST_BYTES: Final = 1000
"""An upper bound of the bytes of a usual multi with one write, besides the data and the path."""
_MOST_UNCLEAR: Final = 5
"""Refusals in sequence for which no change of another client is found, before the mirror ends."""
_OTHERS: Final = (BadVersionError, NodeExistsError, NoNodeError, NotEmptyError)
"""Errors of a write that show a change of another client."""


class Copier:
    """Copies changed znodes.

    Attributes:
        is_writing: whether a write is sent and has no reply yet.

    Args:
        client: the client of the target.
        target: the target.
        reader: reads the source.
        state: the rows.
        owner: the marker.
        checker: finds changes of others.
        changes: gets the paths that must be read again.
        figures: counts the copies.
    """

    def __init__(
        self,
        client: AsyncClient,
        target: Subtree,
        reader: SourceReader,
        state: StateFile,
        owner: Owner,
        checker: CopyChecker,
        changes: Changes,
        figures: Figures,
    ) -> None:
        self._client = client
        self._target = target
        self._reader = reader
        self._state = state
        self._owner = owner
        self._checker = checker
        self._changes = changes
        self._figures = figures
        self._lost = LostWrites()
        self._unclear = 0
        self.is_writing = False

    async def copy(self, changed: Mapping[str, float]) -> None:
        """Bring the copies of znodes to a state that the source has now.

        Args:
            changed: relative paths with the moments of their changes.

        Raises:
            ConflictError: another client has changed a copy.
            ArchiveError: a znode can be neither read nor written.
            ZooKeeperError: the connection was lost, or the target refused a request.
        """
        found = await self._reader.read(list(changed))
        for relative, since_s in changed.items():
            if relative not in found:
                self._changes.add(relative, since_s)
        await self._checker.check_events()
        await self._resolve(found)
        keeps_root = self._target.root == paths.ROOT
        if not await self._empty_replaced(found, keeps_root=keeps_root):
            self._again(changed)
            return
        plan = make_plan(found, self._state, MOST_WRITES, keeps_root=keeps_root)
        for relative, znode in found.items():
            if znode is not None:
                self._state.want_counter(relative, (Row.created(znode.stat)).wanted)
        for relative in plan.later:
            self._changes.add(relative, changed.get(relative, self._figures.now_s()))
        if plan.acls and not await self._set_acls(plan.acls):
            self._again(changed)
            return
        for writes in self._multis(plan.writes):
            # The plan does not know what this check finds.
            if await self._checker.check_events() or not await self._write(writes):
                self._again(changed)
                return

    async def _empty_replaced(self, found: Mapping[str, Found | None], *, keeps_root: bool) -> bool:
        """Delete the descendants of large copies that are replaced, and read their paths again.

        Returns False if another client has changed the target.
        """
        while emptying := plan_emptying(found, self._state, MOST_WRITES, keeps_root=keeps_root):
            for writes in self._multis(emptying):
                if await self._checker.check_events() or not await self._write(writes):
                    return False
                for write in writes:
                    self._changes.add(write.relative, self._figures.now_s())
        return True

    def _again(self, changed: Mapping[str, float]) -> None:
        for relative, since_s in changed.items():
            self._changes.add(relative, since_s)

    async def _resolve(self, found: Mapping[str, Found | None]) -> None:
        """Compare the data of copies that the mirror has not made."""
        unknown = [
            (relative, row)
            for relative in found
            if (row := self._state.row(relative)) is not None and row.czxid == UNKNOWN
        ]
        places = [self._target.absolute(relative) for relative, _ in unknown]
        copies = await all_of([self._client.get(path) for path in places])
        acls = await all_of([self._client.get_acl(path) for path in places])
        for (relative, row), copy, acl in zip(unknown, copies, acls, strict=True):
            znode = found[relative]
            for result in (copy, acl):
                if isinstance(result, ZooKeeperError) and not isinstance(result, NoNodeError):
                    raise result
            if isinstance(copy, ZooKeeperError) or isinstance(acl, ZooKeeperError):
                await self._checker.check([relative])
            elif znode is None:
                if relative or self._target.root != paths.ROOT:
                    self._checker.conflict(relative, "does not exist in the source")
            elif copy.data == znode.data and same_acl(acl.acl, znode.acl or ()):
                self._state.put(relative, Row.equal(znode.stat, copy.stat))
            else:
                self._checker.conflict(relative, "differs from the source")
                self._state.put(relative, row._replace(czxid=DIFFERENT, mzxid=-1, aversion=-1))

    async def _set_acls(self, changes: Sequence[AclChange]) -> bool:
        """Set ACLs of copies; return whether all are set."""
        self._state.begin_acls((each.relative, each.acl, each.aversion) for each in changes)
        self.is_writing = True
        futures = [
            self._client.set_acl(
                self._target.absolute(each.relative), each.acl, version=each.copy_aversion
            )
            for each in changes
        ]
        results = await all_of(futures)
        self.is_writing = False
        refused: list[tuple[str, ZooKeeperError]] = []
        for change, result in zip(changes, results, strict=True):
            if isinstance(result, Stat):
                self._state.end_acl(change.relative, (change.aversion, result.aversion))
            elif isinstance(result, _OTHERS):
                self._state.end_acl(change.relative, None)
                refused.append((change.relative, result))
            elif isinstance(result, ZooKeeperError):
                raise result
        self._state.commit()
        if refused:
            await self._note_refusal(*refused[0], [relative for relative, _ in refused])
        return not refused

    async def settle_acls(self) -> None:
        """Find out which ACLs were set before a connection or the process was lost."""
        for relative, aversion, digest in self._state.acl_intents():
            row = self._state.row(relative)
            path = self._target.absolute(relative)
            try:
                acl, stat = await self._client.get_acl(path)
            except NoNodeError:
                self._state.end_acl(relative, None)
                continue
            is_set = row is not None and stat.aversion == row.copy_aversion + 1
            if is_set and digest_of(acl) == digest:
                self._state.end_acl(relative, (aversion, stat.aversion))
            else:
                self._state.end_acl(relative, None)
        self._state.commit()

    async def _write(self, writes: Sequence[Write]) -> bool:
        """Send a multi; return False if another client has changed the target."""
        batch = self._owner.next_multi()
        for write in writes:
            path = self._target.absolute(write.relative)
            if write.row is None:
                batch.delete(path, version=write.version or 0)
            elif write.version is None:
                batch.create(path, write.data, acl=write.acl)
            else:
                batch.set(path, write.data, version=write.version)
        self._state.begin((write.relative, write.row) for write in writes)
        self.is_writing = True
        try:
            results = await self._client.multi(batch)
        except ConnectionLossError as error:
            if self._lost.lose([write.relative for write in writes]):
                raise self._closes_connection(writes[0]) from error
            raise
        except LOST:
            raise
        except ZooKeeperError as error:
            self._state.forget_intents()
            await self._explain_refusal(error, writes)
            return False
        finally:
            self.is_writing = False
        marker = results[0]
        assert isinstance(marker, Stat)  # noqa: S101 -- the first operation sets the marker
        self._owner.note(marker)
        self._state.apply(marker.mzxid)
        self._lost.write([write.relative for write in writes])
        self._unclear = 0
        deleted = sum(write.row is None for write in writes)
        self._figures.deleted += deleted
        self._figures.copied += len(writes) - deleted
        return True

    async def _explain_refusal(self, error: ZooKeeperError, writes: Sequence[Write]) -> None:
        """Find the change of another client because of which a multi was refused.

        Raises:
            ConflictError: another client has changed a copy.
            ArchiveError: another mirror has taken the target, or the write is not permitted.
        """
        neutral = (RolledBackError, RuntimeInconsistencyError)
        failed = [at for at, each in enumerate(error.results) if not isinstance(each, neutral)]
        if not failed:
            raise error
        cause = error.results[failed[0]]
        if failed[0] == 0:
            raise await self._owner.explain_refusal()
        write = writes[failed[0] - 1]
        if not isinstance(cause, _OTHERS):
            raise cause
        suspects = [write.relative]
        parent = parent_of(write.relative)
        if parent is not None:
            suspects.append(parent)
        if isinstance(cause, NotEmptyError):
            listed = await self._client.children(self._target.absolute(write.relative))
            suspects += [f"{write.relative}/{name}" for name in listed.names]
        await self._note_refusal(write.relative, cause, suspects)

    def _closes_connection(self, write: Write) -> ArchiveError:
        """Return the error for a write because of which the target closes the connection."""
        path, size_bytes = self._target.absolute(write.relative), len(write.data or b"")
        return ArchiveError(
            f"the target closed the connection {MOST_LOST} times when the mirror wrote {path}, with"
            f" {size_bytes:,} bytes of data. Probably the request is longer than jute.maxbuffer"
            " of the target: set jute.maxbuffer to at least"
            f" {size_bytes + _REQUEST_BYTES + 2 * paths.size_bytes(path):,} there, and start the"
            " mirror again. Otherwise, read the log of the server"
        )

    async def _note_refusal(
        self, relative: str, cause: ZooKeeperError, suspects: Sequence[str]
    ) -> None:
        """Find the change of another client; allow some refusals whose reason has disappeared.

        Raises:
            ConflictError: another client has changed a copy.
            ArchiveError: writes are refused again and again.
        """
        is_changed = await self._checker.check(suspects)
        self._unclear = 0 if is_changed else self._unclear + 1
        if self._unclear >= _MOST_UNCLEAR:
            raise ArchiveError(
                f"{self._target.absolute(relative)} in the target cannot be written ({cause}):"
                " stop the other clients that write there, and start the mirror again"
            )

    def _multis(self, writes: Sequence[Write]) -> Iterator[list[Write]]:
        """Split writes into multis."""
        together: list[Write] = []
        splitter = Splitter(MOST_WRITES)
        was_alone = False
        for write in writes:
            acl_bytes = sum(len(entry.id.scheme) + len(entry.id.id) + 12 for entry in write.acl)
            path_bytes = paths.size_bytes(self._target.absolute(write.relative))
            is_full = splitter.ends_before(path_bytes + len(write.data or b"") + acl_bytes)
            is_alone = self._lost.is_alone(write.relative)
            if together and (is_full or is_alone or was_alone):
                yield together
                together = []
            together.append(write)
            was_alone = is_alone
        if together:
            yield together
