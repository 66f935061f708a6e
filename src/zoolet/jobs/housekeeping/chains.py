"""Decides when batches that wait for other batches and jobs start, or cannot start any more.

Invariants:

- All state in memory can be read from the queue again: `begin` clears this state.
- After an event, only the batch or job of the event is read, and only the batches that wait for it
  are decided again.
- A removed job or batch has ended, but it has not succeeded.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.queue`, `zoolet.jobs.records` and
`zoolet.jobs.znodes`.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zoolet.jobs.errors import JobError, UnreadableJobError
from zoolet.jobs.queue.deleted_jobs import LOOK_SHARE, Vanished
from zoolet.jobs.records.dependencies import Dependencies, When, is_job
from zoolet.jobs.records.transitions import JobState, Place
from zoolet.jobs.znodes.batch_log import (
    BatchEnd,
    batch_path,
    chain_path,
    chunk_path,
    read_record,
)
from zoolet.jobs.znodes.edge import READ_AT_ONCE
from zoolet.jobs.znodes.layout import CHAINS, Layout

log = logging.getLogger(__name__)


class Decision(NamedTuple):
    """A batch that waits no more.

    Attributes:
        batch: the name of the batch.
        reason: why its jobs are FAILED; None if they start.
    """

    batch: str
    reason: str | None


@dataclass(slots=True)
class _Awaited:
    """A batch or a job for which batches wait.

    Attributes:
        end: finds the end of a batch; None for a job.
        vanished: checks whether jobs of a batch were deleted; None for a job.
        has_ended: whether all its jobs have ended.
        has_failed: whether one of its jobs is FAILED.
        is_lost: whether one of its jobs was removed before its end was known.
        waiting: the batches that wait for it.
    """

    end: BatchEnd | None
    vanished: Vanished | None
    has_ended: bool = False
    has_failed: bool = False
    is_lost: bool = False
    waiting: set[str] = field(default_factory=set)


class Chains:
    """The batches of a queue that wait for other batches and jobs.

    Args:
        layout: the queue.
        wake: called by any thread when `decided` may find a decision.
    """

    def __init__(self, layout: Layout, wake: Callable[[], None]) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._wake = wake
        self._is_list_stale = True
        self._stale: set[str] = set()
        """Awaited batches and jobs with an event. Watches in other threads add them."""
        self._chains: dict[str, Dependencies] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._jobs_vanished = Vanished(layout, None)
        self._look_at = 0.0
        """The earliest time of the next search for deleted jobs, of the monotonic clock."""
        self._warned: set[str] = set()

    def begin(self) -> None:
        """Clear the state in memory."""
        self._chains.clear()
        self._awaited.clear()
        self._stale.clear()
        self._is_list_stale = True

    def decided(self, known: Collection[str]) -> Iterator[Decision]:
        """Yield the batches that wait no more, without the ``known`` ones."""
        self._look_for_deleted()
        affected = set[str]()
        if self._is_list_stale:
            self._is_list_stale = False
            self._list()
            affected |= self._chains.keys()
        stale = set[str]()
        while self._stale:
            stale.add(self._stale.pop())
        for name in self._look(sorted(stale)):
            affected |= self._awaited[name].waiting
        for batch in sorted(affected - set(known)):
            decision = self._decide(batch)
            if decision is not None:
                yield decision

    def is_complete(self, batch: str) -> bool:
        """Return whether all jobs of a batch are submitted; if not, there is a watch for more."""
        try:
            record = read_record(self._layout, batch)
        except JobError:
            return True
        return all(
            self._znodes.exists(chunk_path(self._layout, batch, number), self._stir_list)
            for number in range(record.chunks)
        )

    def next_in_s(self) -> float | None:
        """Return the time, in seconds, until the next search for deleted jobs; None: no search."""
        waited_for = [one for one in self._awaited.values() if not one.has_ended]
        if not waited_for:
            return None
        due_in_s = [one.vanished.due_in_s() for one in waited_for if one.vanished is not None]
        if any(one.vanished is None for one in waited_for):
            due_in_s.append(self._jobs_vanished.due_in_s())
        return max(min(due_in_s), self._look_at - time.monotonic())

    # --- Reading

    def _stir(self, name: str) -> Callable[[object], None]:
        def stir(_: object) -> None:
            self._stale.add(name)
            self._wake()

        return stir

    def _stir_list(self, _: object) -> None:
        self._is_list_stale = True
        self._wake()

    def _list(self) -> None:
        """List the batches that wait, and read the values of new ones."""
        names = self._znodes.children(self._znodes.path(CHAINS), self._stir_list)
        self._chains = {name: self._chains[name] for name in names if name in self._chains}
        new = [name for name in names if name not in self._chains]
        znodes = self._znodes.get_all([chain_path(self._layout, name) for name in new])
        for batch, znode in zip(new, znodes, strict=True):
            if znode is not None:
                try:
                    self._chains[batch] = Dependencies.decode(batch, znode.data)
                except UnreadableJobError as error:
                    self._warn(batch, str(error))
        waiting = defaultdict[str, set[str]](set)
        for batch, dependencies in self._chains.items():
            for name in dependencies.after:
                waiting[name].add(batch)
        added = [name for name in waiting if name not in self._awaited]
        self._awaited = {n: one for n, one in self._awaited.items() if n in waiting}
        for name in added:
            self._awaited[name] = (
                _Awaited(None, None)
                if is_job(name)
                else _Awaited(BatchEnd(self._layout, name), Vanished(self._layout, None))
            )
        for name, batches in waiting.items():
            self._awaited[name].waiting = batches
        self._look(added)

    def _look(self, names: Sequence[str]) -> list[str]:
        """Read these batches and jobs again, and return those for which batches wait."""
        looked = [name for name in names if name in self._awaited]
        jobs = [name for name in looked if self._awaited[name].end is None]
        for start in range(0, len(jobs), READ_AT_ONCE):
            self._look_at_jobs(jobs[start : start + READ_AT_ONCE])
        for name in looked:
            awaited = self._awaited[name]
            if awaited.end is None or awaited.has_ended:
                continue
            try:
                awaited.has_ended = awaited.end.has_come(self._stir(name))
            except JobError as error:
                for batch in awaited.waiting:
                    self._warn(batch, str(error))
                continue
            self._note_batch(awaited, awaited.end)
        return looked

    @staticmethod
    def _note_batch(awaited: _Awaited, end: BatchEnd) -> None:
        awaited.has_failed = bool(end.failed)
        awaited.is_lost = bool(end.lost) or end.is_unknown

    def _look_at_jobs(self, names: Sequence[str]) -> None:
        found = self._layout.watch_done([(name, self._stir(name)) for name in names])
        nowhere = []
        for name, (job, is_elsewhere) in zip(names, found, strict=True):
            if job is not None:
                self._end_job(name, job.state)
            elif not is_elsewhere:
                nowhere.append(name)
        if nowhere:
            self._look_at_gone(self._layout.ended_or_nowhere(nowhere))

    def _look_at_gone(self, names: Sequence[str]) -> None:
        """Record the end of jobs that are in done or in no place."""
        for name, job in zip(names, self._layout.read_each(Place.DONE, names), strict=True):
            self._end_job(name, None if job is None else job.state)

    def _end_job(self, name: str, state: JobState | None) -> None:
        awaited = self._awaited[name]
        awaited.has_ended = True
        awaited.has_failed = state is JobState.FAILED
        awaited.is_lost = state is None

    def _warn(self, batch: str, message: str) -> None:
        if batch not in self._warned:
            self._warned.add(batch)
            log.warning("batch %s must still wait: %s", batch, message)

    def _look_for_deleted(self) -> None:
        """Check whether awaited batches or jobs were deleted: no watch reports that."""
        began = time.monotonic()
        if began < self._look_at:
            return
        jobs = [n for n, one in self._awaited.items() if one.end is None and not one.has_ended]
        batches = [n for n, one in self._awaited.items() if one.end and not one.has_ended]
        after = min(batches, key=self._due_in_s, default=None)
        if jobs and self._jobs_vanished.due_in_s() <= 0:
            gone = self._layout.ended_or_nowhere(self._jobs_vanished.look(jobs))
            self._look_at_gone(gone)
            self._stale.update(gone)
        elif after is not None and self._due_in_s(after) <= 0:
            self._look_for_deleted_in(after)
        else:
            return
        self._look_at = began + LOOK_SHARE * (time.monotonic() - began)

    def _due_in_s(self, batch: str) -> float:
        vanished = self._awaited[batch].vanished
        return 0.0 if vanished is None else vanished.due_in_s()

    def _look_for_deleted_in(self, batch: str) -> None:
        awaited = self._awaited[batch]
        end, vanished = awaited.end, awaited.vanished
        if end is None or vanished is None:
            return
        if not end.outstanding:
            # The batch is not submitted completely, or its log is not read yet.
            vanished.look(())
            self._stale.add(batch)
        elif not self._znodes.exists(batch_path(self._layout, batch)):
            awaited.end = BatchEnd(self._layout, batch)
            self._stale.add(batch)
        elif gone := self._layout.ended_or_nowhere(vanished.look(end.outstanding)):
            end.forget(gone)
            self._stale.add(batch)

    # --- Decisions

    def _decide(self, batch: str) -> Decision | None:
        dependencies = self._chains.get(batch)
        if dependencies is None:
            return None
        awaited = [(name, self._awaited[name]) for name in dependencies.after]
        has_ended = all(one.has_ended for _, one in awaited)
        failed = next((name for name, one in awaited if one.has_failed), None)
        lost = next((name for name, one in awaited if one.is_lost), None)
        if dependencies.when is When.ALL_SUCCEEDED and (failed or lost) is not None:
            what = f"{failed} has a FAILED job" if failed is not None else f"{lost} was removed"
            if failed is not None and is_job(failed):
                what = f"{failed} is FAILED"
            return self._failed(batch, dependencies, what)
        if dependencies.when is When.ONE_FAILED and failed is not None:
            return self._started(batch, dependencies)
        if not has_ended:
            return None
        if dependencies.when is When.ONE_FAILED:
            return self._failed(batch, dependencies, "none of the jobs is FAILED")
        return self._started(batch, dependencies)

    def _started(self, batch: str, dependencies: Dependencies) -> Decision:
        log.info("batch %s may start: %s", batch, dependencies)
        return Decision(batch, None)

    def _failed(self, batch: str, dependencies: Dependencies, what: str) -> Decision:
        log.info("batch %s cannot start: %s", batch, what)
        return Decision(batch, f"skipped: it waits for the condition {dependencies.when}: {what}")
