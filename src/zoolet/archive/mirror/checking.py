"""Finds changes that other clients make in the target.

A znode of the target is as its row says, because a row has the zxids of the mirror's own writes. No
write is in progress while this module reads. Imports ``model``, ``client``, the errors and other
modules of its package.
"""

from collections.abc import Callable, Sequence
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.live.counters import counter_of
from zoolet.archive.mirror.reading import chunks
from zoolet.archive.mirror.records.changes import Changes, CopyEvents
from zoolet.archive.mirror.records.figures import Figures
from zoolet.archive.mirror.records.rows import DIFFERENT, UNKNOWN, Row
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.archive.mirror.records.subtree import Subtree
from zoolet.archive.mirror.refusals import TARGET
from zoolet.archive.mirror.scan import scan
from zoolet.archive.mirror.waiting import all_of
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import ZooKeeperError
from zoolet.model.stat import Stat

_TOGETHER: Final = 500
_TOLD: Final = 20
"""The most overwritten changes that are told one by one."""


class ConflictError(ArchiveError):
    """Another client has changed the target, and the mirror may not overwrite the change."""


class CopyChecker:
    """Compares the target with the rows.

    Args:
        client: the client of the target.
        subtree: the target.
        state: the rows.
        events: the events of the target.
        changes: gets the paths whose copies must be written again.
        figures: counts the changes of others.
        say: is called with lines for the user.
        overwrites: whether changes of others are overwritten.
    """

    def __init__(
        self,
        client: AsyncClient,
        subtree: Subtree,
        state: StateFile,
        events: CopyEvents,
        changes: Changes,
        figures: Figures,
        say: Callable[[str], None],
        *,
        overwrites: bool,
    ) -> None:
        self._client = client
        self._subtree = subtree
        self._state = state
        self._events = events
        self._changes = changes
        self._figures = figures
        self._say = say
        self._overwrites = overwrites

    async def check_events(self) -> bool:
        """Check the znodes that had events; return whether another client has changed one.

        Raises:
            ConflictError: another client has changed a znode.
        """
        unclear = []
        for relative, zxid in self._events.take().items():
            row = self._state.row(relative)
            if row is None or zxid == -1 or row.copy_mzxid != zxid:
                unclear.append(relative)
        return await self.check(unclear)

    async def check(self, wanted: Sequence[str]) -> bool:
        """Check znodes; return whether another client has changed one.

        Raises:
            ConflictError: another client has changed a znode.
        """
        is_changed = False
        for together in chunks(wanted, _TOGETHER):
            futures = [self._client.exists(self._subtree.absolute(each)) for each in together]
            for relative, result in zip(together, await all_of(futures), strict=True):
                if isinstance(result, ZooKeeperError):
                    raise result
                is_changed |= self._compare(relative, result)
        return is_changed

    async def compare_all(self) -> None:
        """Compare the whole target with the rows.

        If there is not a row for each znode yet, the znodes get rows without a known source.

        Raises:
            ConflictError: another client has changed a znode.
        """
        self._events.begin_comparison()
        self._figures.is_comparing = True
        self._figures.compared = 0
        is_complete = self._state.is_complete
        seen = 0
        async for relative, stat, names in scan(self._client, self._subtree, TARGET):
            row = self._state.row(relative)
            if row is None and not is_complete:
                self._state.put(relative, Row.unknown(stat))
            elif self._compare(relative, stat):
                pass
            elif row is not None and row.counter != counter_of(stat):
                self._state.put_counter(relative, counter_of(stat))
            missing = set(self._state.children(relative)).difference(names)
            await self.check([f"{relative}/{name}" for name in missing])
            seen += 1
            if not seen % _TOGETHER:
                self._state.commit()
                self._figures.compared = seen
        if not seen:
            await self.check([""])
        if not is_complete:
            self._state.note_complete()
        self._state.commit()
        self._figures.is_comparing = False

    def conflict(self, relative: str, what: str) -> None:
        """Report a change of another client.

        Raises:
            ConflictError: such changes are not overwritten.
        """
        path = self._subtree.absolute(relative)
        if not self._overwrites:
            raise ConflictError(
                f"{path} in the target {what}. To let the mirror overwrite it, give --on-conflict"
                " overwrite; otherwise choose another target"
            )
        self._figures.overwritten += 1
        if self._figures.overwritten <= _TOLD:
            self._say(f"{path} in the target {what}: it is overwritten")
        elif self._figures.overwritten == _TOLD + 1:
            self._say("more znodes of other clients are overwritten; they are only counted")

    def _compare(self, relative: str, copy: Stat | None) -> bool:
        """Compare a znode with its row; return whether another client has changed it."""
        row = self._state.row(relative)
        if row is None and copy is None:
            return False
        if copy is None:
            self.conflict(relative, "was deleted by another client")
            self._forget_subtree(relative)
        elif row is None:
            self.conflict(relative, "was created by another client")
            self._state.put(relative, Row.unknown(copy)._replace(czxid=DIFFERENT))
            self._changes.add(relative, self._figures.now_s())
        elif not row.is_same_copy(copy):
            found = Row.unknown(copy)
            if row.czxid != UNKNOWN:
                self.conflict(relative, "was changed by another client")
                found = found._replace(czxid=DIFFERENT)
            self._state.put(relative, found)
            self._changes.add(relative, self._figures.now_s())
        else:
            return False
        return True

    def _forget_subtree(self, relative: str) -> None:
        """Remove the rows of a subtree that does not exist any more, and copy it again."""
        while True:
            listed = self._state.subtree(relative, _TOGETHER)
            for path, _ in listed:
                self._state.remove(path)
                self._changes.add(path, self._figures.now_s())
            if len(listed) < _TOGETHER:
                return
