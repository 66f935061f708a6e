"""A mirror: follows a subtree of one ensemble, and keeps its copy in another one.

Invariants: the watches are set before the first comparison, and after each lost connection both
subtrees are compared. So each change of the source is copied, and each change of others in the
target is found. Nothing is written without the marker (`owner.py`). A kill at any point costs a
comparison.

Imports ``model``, ``client``, the errors and other modules of its package.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from zoolet.archive.errors import ArchiveError
from zoolet.archive.live.counters import counter_of, raise_counter
from zoolet.archive.mirror.checking import CopyChecker
from zoolet.archive.mirror.copying import MOST_WRITES, Copier
from zoolet.archive.mirror.history import SourceHistory
from zoolet.archive.mirror.owner import Owner
from zoolet.archive.mirror.reading import SourceReader, is_left_out
from zoolet.archive.mirror.records.changes import Changes, CopyEvents
from zoolet.archive.mirror.records.figures import Figures, Report
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.archive.mirror.records.subtree import marker_of, parent_of, subtrees_of
from zoolet.archive.mirror.refusals import LOST, SOURCE, TARGET, explained_at, no_counter
from zoolet.archive.mirror.scan import Scanned, scan
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import NoAuthError, NoNodeError, UnimplementedError
from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.protocol.watches import Resynced
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import AddWatchMode, EventType
from zoolet.model.results import Event

log = logging.getLogger(__name__)

_COUNTERS_TOGETHER: Final = 16
_EXAMPLES: Final = 5
_PAUSE_S: Final = 0.5
"""The pause after a lost connection."""
_CHILDREN_CHANGE: Final = {EventType.NODE_CREATED, EventType.NODE_DELETED}


class MirrorOptions(NamedTuple):
    """The options of a mirror.

    Attributes:
        ends_when_equal: whether the mirror ends when both subtrees are equal.
        overwrites: whether changes of other clients in the target are overwritten.
        accepts_source: whether the source may have lost changes at the start of the mirror.
        keeps_ephemerals: whether ephemerals get persistent copies.
        counter_steps: the most creates that raise the counter of one parent.
        compare_s: the time between two comparisons, in seconds; they find changes of ACLs.
        marker_acl: the ACL of the marker.
    """

    ends_when_equal: bool = False
    overwrites: bool = False
    accepts_source: bool = False
    keeps_ephemerals: bool = False
    counter_steps: int = 100_000
    compare_s: float = 600.0
    marker_acl: AclList = OPEN_ACL


class Mirror:
    """Copies a subtree continuously.

    Attributes:
        figures: the figures of its work.

    Args:
        source_client: the client of the source, which is started.
        source: the path of the source.
        target_client: the client of the target, which is started.
        target: the path of the target.
        state: the state file.
        options: the options.
        say: is called with lines for the user.
    """

    def __init__(
        self,
        source_client: AsyncClient,
        source: str,
        target_client: AsyncClient,
        target: str,
        state: StateFile,
        options: MirrorOptions,
        say: Callable[[str], None],
    ) -> None:
        self.figures = Figures()
        self._options = options
        self._source_client = source_client
        self._target_client = target_client
        self._source, self._target = subtrees_of(source, target)
        self._state = state
        self._changes = Changes()
        self._events = CopyEvents()
        self._owner = Owner(target_client, marker_of(target), state, options.marker_acl)
        self._history = SourceHistory(
            source_client, self._source, state, say, accepts_other=options.accepts_source
        )
        self._reader = SourceReader(
            source_client,
            self._source,
            self._history,
            state.row,
            keeps_ephemerals=options.keeps_ephemerals,
        )
        self._checker = CopyChecker(
            target_client,
            self._target,
            state,
            self._events,
            self._changes,
            self.figures,
            say,
            overwrites=options.overwrites,
        )
        self._copier = Copier(
            target_client,
            self._target,
            self._reader,
            state,
            self._owner,
            self._checker,
            self._changes,
            self.figures,
        )
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._is_owner = False
        self._was_equal = False
        self._compare_at_s = 0.0
        self._say = say

    def stop(self) -> None:
        """Let `run` return after the multi that is in progress.

        Without a connection to the target, and at a second call, it does not wait for the reply.
        """
        waits = self._copier.is_writing and self._target_client.state in SERVED
        if self._task is not None and (self._is_stopping or not waits):
            self._task.cancel()
        self._is_stopping = True
        self._wake.set()

    def report(self) -> Report:
        """Return the state of the mirror."""
        since_s = self._changes.since_s()
        lag_ms = 0.0 if since_s is None else (self.figures.now_s() - since_s) * 1000
        return Report(
            self.figures,
            len(self._changes),
            lag_ms,
            self._source_client.state in SERVED,
            self._target_client.state in SERVED,
        )

    async def run(self) -> None:
        """Copy until `stop` is called, or until both subtrees are equal (``ends_when_equal``).

        Raises:
            ConflictError: another client has changed the target.
            ArchiveError: the mirror cannot go on; the message says why.
        """
        self._task = asyncio.ensure_future(self._run())
        self._source_client.add_listener(self._note_state)
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._is_stopping:
                self._task.cancel()
                raise
        finally:
            self._source_client.remove_listener(self._note_state)
        self._state.commit()

    async def _run(self) -> None:
        await self._watch()
        while not self._is_stopping:
            try:
                # What is not explained below is an error of the target.
                with explained_at(TARGET):
                    if not self._is_owner:
                        await self._take()
                    if not await self._step():
                        return
            except LOST as error:
                with explained_at(TARGET):
                    await self._note_lost(error)

    async def _watch(self) -> None:
        """Set both watches, and check that the source exists."""
        mode = AddWatchMode.PERSISTENT_RECURSIVE
        for side, client, subtree, notice in (
            (SOURCE, self._source_client, self._source, self._note_source),
            (TARGET, self._target_client, self._target, self._note_target),
        ):
            while True:
                try:
                    with explained_at(side):
                        await client.add_watch(subtree.root, notice, mode=mode)
                except ArchiveError as error:
                    if not isinstance(error.__cause__, UnimplementedError):
                        raise
                    raise ArchiveError(
                        f"the server {client.address} of the {side.name} has no recursive watches:"
                        " a mirror needs ZooKeeper 3.6 or later on both sides"
                    ) from None
                except LOST:
                    continue  # the next call waits for a connection
                break
        while True:
            try:
                with explained_at(SOURCE):
                    found = await self._source_client.exists(self._source.root)
            except LOST:
                continue
            if found is None:
                raise ArchiveError(
                    f"{self._source.root} does not exist in the source: check --from"
                )
            return

    # --- Notices, which are called in the event loop

    def _note_state(self, state: SessionState) -> None:
        if state not in SERVED:
            self._changes.miss(self.figures.now_s())

    def _note_source(self, what: Event | Resynced) -> None:
        now_s = self.figures.now_s()
        if isinstance(what, Resynced):
            self._changes.miss(now_s)
        elif (relative := self._source.relative(what.path)) is not None:
            self._changes.add(relative, now_s)
            parent = parent_of(relative)
            if parent is not None and what.type in _CHILDREN_CHANGE:
                self._changes.add_parent(parent)
        self._wake.set()

    def _note_target(self, what: Event | Resynced) -> None:
        if isinstance(what, Resynced):
            self._events.miss()
        elif (relative := self._target.relative(what.path)) is not None:
            self._events.add(relative, what.zxid)
        self._wake.set()

    # --- The work

    async def _take(self) -> None:
        """Become the only mirror of the target, and compare it."""
        await self._owner.take()
        self._changes.miss(self.figures.now_s())
        self._events.miss()
        if await self._owner.is_at(self._source_client):
            source, target = f"{self._source.absolute('')}/", f"{self._target.absolute('')}/"
            source, target = source.replace("//", "/"), target.replace("//", "/")
            if source.startswith(target) or target.startswith(source):
                await self._owner.remove()
                raise ArchiveError(
                    f"the source {self._source.root} and the target {self._target.root} are on the"
                    " same servers, and one of them contains the other or is equal to it: choose"
                    " another path for --to"
                )
        await self._copier.settle_acls()
        self._is_owner = True

    async def _note_lost(self, error: Exception) -> None:
        """Compare both subtrees when the servers answer again."""
        log.info("the connection is lost: %s", error)
        self._changes.miss(self.figures.now_s())
        self._events.miss()
        await asyncio.sleep(_PAUSE_S)
        try:
            if self._is_owner and await self._owner.renew():
                await self._copier.settle_acls()
            else:
                self._is_owner = False
        except LOST as again:
            log.info("the connection is lost: %s", again)
            self._is_owner = False

    async def _step(self) -> bool:
        """Do a part of the work, or wait for a change; return False if all is done."""
        self._wake.clear()
        if not await self._owner.keep():
            self._is_owner = False
            return True
        if self._events.needs_comparison:
            await self._checker.compare_all()
        await self._checker.check_events()
        if self._changes.needs_comparison:
            await self._compare()
            return True
        taken = self._changes.take(MOST_WRITES)
        parents = self._changes.take_parents(MOST_WRITES)
        if taken or parents:
            self._was_equal = False
            await self._copy(taken, parents)
            return True
        if await self._raise_counters():
            return True
        self._state.commit()
        if self._options.ends_when_equal:
            if self._was_equal:
                self._say("both subtrees are equal")
                return False
            self._changes.miss(self.figures.now_s())
            return True
        await self._wait()
        return True

    async def _wait(self) -> None:
        """Wait for a change, or for the time of the next comparison."""
        left_s = self._compare_at_s - self.figures.now_s()
        if left_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
                return
        self._changes.miss(self.figures.now_s())
        self._events.miss()

    async def _copy(self, taken: dict[str, float], parents: list[str]) -> None:
        """Copy changed znodes, and note the counters of their parents."""
        with explained_at(SOURCE):
            stats = await self._reader.counters(parents)
        await self._copier.copy(taken)
        for relative, stat in zip(parents, stats, strict=True):
            if stat is not None:
                self._state.want_counter(relative, counter_of(stat))
        self._history.note_zxid()
        self._changes.end_taken()
        if taken:
            self.figures.copied_lag_ms = (self.figures.now_s() - min(taken.values())) * 1000

    async def _compare(self) -> None:
        """Compare the source with the rows, and copy the differences."""
        self.figures.is_comparing = True
        self.figures.compared = self.figures.ephemerals = 0
        self.figures.ephemeral_examples.clear()
        with explained_at(SOURCE):
            await self._history.check()
            # The client's server may be behind its leader.
            await self._source_client.sync(self._source.root)
        self._changes.begin_comparison()
        now_s = self.figures.now_s()
        different: dict[str, float] = {}
        is_equal = True
        async with contextlib.aclosing(scan(self._source_client, self._source, SOURCE)) as znodes:
            async for scanned in znodes:
                self.figures.compared += 1
                for relative in self._differences(scanned):
                    different[relative] = now_s
                    if len(different) >= MOST_WRITES:
                        is_equal = False
                        await self._copier.copy(different)
                        different.clear()
                if self._changes.needs_comparison or self._is_stopping:
                    return
        if not self.figures.compared:
            different[""] = now_s
        if different:
            is_equal = False
            await self._copier.copy(different)
        self._history.note_zxid()
        self._state.commit()
        self._changes.end_comparison()
        self._was_equal = is_equal and not self._state.low_counters(1)
        self._compare_at_s = self.figures.now_s() + self._options.compare_s
        self.figures.is_comparing = False
        self.figures.comparisons += 1
        if self.figures.comparisons == 1:
            self._say_compared()

    def _say_compared(self) -> None:
        figures = self.figures
        self._say(f"compared {figures.compared} znodes of the source, copied {figures.copied}")
        if figures.ephemerals:
            named = ", ".join(figures.ephemeral_examples)
            more = ", ..." if figures.ephemerals > len(figures.ephemeral_examples) else ""
            self._say(
                f"ephemerals of the source without a copy: {figures.ephemerals} ({named}{more})"
            )

    def _differences(self, scanned: Scanned) -> list[str]:
        """Return the paths of a scanned znode and of its children whose copies differ."""
        relative, stat, names = scanned
        row = self._state.row(relative)
        if is_left_out(stat, keeps_ephemerals=self._options.keeps_ephemerals):
            self.figures.ephemerals += 1
            if len(self.figures.ephemeral_examples) < _EXAMPLES:
                self.figures.ephemeral_examples.append(self._source.absolute(relative))
            return [] if row is None else [relative]
        found = [] if row is not None and row.is_same_source(stat) else [relative]
        if row is not None:
            if counter_of(stat) > row.wanted:
                self._state.want_counter(relative, counter_of(stat))
            gone = set(self._state.children(relative)).difference(names)
            found += [f"{relative}/{name}" for name in gone]
        return found

    async def _raise_counters(self) -> bool:
        """Raise counters that are lower than those of the source; return whether there were any."""
        low = self._state.low_counters(_COUNTERS_TOGETHER)
        for relative, wanted in low:
            path = self._target.absolute(relative)
            try:
                reached = await raise_counter(
                    self._target_client, path, wanted, self._options.counter_steps
                )
            except NoNodeError:
                await self._checker.check([relative])
                continue
            except NoAuthError as error:
                raise no_counter(path) from error
            if reached < wanted:
                self._note_unreached(path, reached, wanted)
            self._state.put_counter(relative, max(reached, wanted))
        return bool(low)

    def _note_unreached(self, path: str, reached: int, wanted: int) -> None:
        if path not in self.figures.unreached:
            self._say(
                f"sequential znodes below {path} get numbers from {reached} in the target, from"
                f" {wanted} in the source: the difference is above --counter-steps"
            )
        self.figures.unreached[path] = wanted
