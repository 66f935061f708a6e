"""The part of the housekeeping that moves jobs from "deferred" to "unowned" when they may start.

`zoolet.jobs.housekeeping.limit_releases` moves the jobs that wait for a limit.
Jobs that wait for a time are found by their entries in the index (`DueBuckets`), and only jobs that
are due are read. `zoolet.jobs.housekeeping.chains` says when a batch waits for other batches and
jobs no more. Its jobs then start, or are FAILED if the condition of the batch cannot become true.
Invariants:

- All state in memory can be read from the queue again: `begin` clears this state.
- One call of `release` makes at most `MULTIS_AT_ONCE` multis, so that other duties have their turn.
- Two workers may release jobs at the same time: each move can be made only one time.
- An entry without a job in "deferred" is removed. If a job in "deferred" has no entry, its entry is
  created.

This module imports `zoolet.jobs.queue`, `zoolet.jobs.records`, `zoolet.model` and other modules of
its package.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from zoolet.jobs.housekeeping.chains import Chains
from zoolet.jobs.housekeeping.due_buckets import DueBuckets
from zoolet.jobs.housekeeping.entries import remove_entry
from zoolet.jobs.queue.moves import Move
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_LIMIT, WAITS_FOR_TIME
from zoolet.jobs.records.transitions import Event, Place
from zoolet.jobs.znodes.batch_log import chain_path
from zoolet.jobs.znodes.deferred_index import due_path, entry_path, parse_entry
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.layout import CHAINS, DUE, parse_names
from zoolet.jobs.znodes.limit_znodes import waiting_path
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.jobs.znodes.operations import Create, Exists, Operation, RefusedError
from zoolet.model import paths

log = logging.getLogger(__name__)

MULTIS_AT_ONCE = 20
"""Limit of the multis of one call, which move a thousand jobs."""


class Releaser:
    """Releases jobs of a queue.

    Args:
        jobs: the queue.
        wake: called by any thread when `release` must be called before the time that it returned.
    """

    def __init__(self, jobs: JobQueue, wake: Callable[[], None]) -> None:
        self._jobs = jobs
        self._layout = jobs.layout
        self._znodes = jobs.layout.znodes
        self._due = DueBuckets(jobs.layout, DUE, wake)
        self._chains = Chains(jobs.layout, wake)
        self._freed: dict[str, list[str]] = {}
        """The names of jobs to move, by batch; these batches wait no more."""
        self._reasons: dict[str, str] = {}
        """Why the jobs of a batch are FAILED, by batch, if its condition cannot become true."""
        self._left: dict[str, list[str]] = {}
        """All names of jobs in the batches of `_freed`, as they were last listed."""

    def begin(self) -> None:
        """Clear the state in memory, and compare the jobs in "deferred" with the index."""
        self._due.begin()
        self._chains.begin()
        self._freed.clear()
        self._reasons.clear()
        self._left.clear()
        self._repair()

    def release(self) -> float | None:
        """Move jobs that may start, and return the time, in seconds, until the next call.

        Returns 0 if more jobs can be moved now, and None if only ``wake`` requires another call.
        """
        room = MULTIS_AT_ONCE
        self._look_at_chains()
        for batch in list(self._freed):
            room = self._free_some(batch, room)
        self._due.list_begun(self._jobs.clock_ms())
        room = self._release_due(room)
        if self._due.has_collected or self._freed:
            return 0.0
        return self._next_in_s()

    # --- By time

    def _release_due(self, room: int) -> int:
        """Move jobs whose time has come, in the order in which workers take jobs.

        Makes at most ``room`` multis, and returns the number of multis that remain.
        """
        now_ms = self._jobs.clock_ms()
        while room > 0 and (some := self._due.take(JOBS_AT_ONCE, now_ms)):
            self._move_on({e.name: due_path(self._layout, e) for e in some}, now_ms)
            room -= 1
        return room

    def _next_in_s(self) -> float | None:
        """Return the time, in seconds, until a job is due, a bucket begins, or a search is due."""
        times = [self._due.next_in_s(self._jobs.clock_ms()), self._chains.next_in_s()]
        return min((in_s for in_s in times if in_s is not None), default=None)

    # --- By batch

    def _look_at_chains(self) -> None:
        for batch, reason in self._chains.decided(self._freed):
            self._freed[batch] = []
            if reason is not None:
                self._reasons[batch] = reason

    def _free_some(self, batch: str, room: int) -> int:
        """Move jobs of a batch that waits no more; after the last job, delete the batch's chain.

        Makes at most ``room`` multis, and returns the number of multis that remain.
        """
        path = chain_path(self._layout, batch)
        while room > 0:
            if not self._freed[batch]:
                try:
                    children = self._znodes.children(path)
                except MissingError:
                    children = []
                names = parse_names(children)
                if not names:
                    for child in children:
                        self._znodes.delete(f"{path}/{child}")
                    # If the jobs of the batch are FAILED, its later jobs must find the chain.
                    if batch in self._reasons and not self._chains.is_complete(batch):
                        self._set_aside(batch)
                        return room
                    # If a submitter has added a job in the meantime, the znode is not deleted.
                    if self._znodes.delete(path) or not self._znodes.exists(path):
                        self._set_aside(batch)
                        return room
                    room -= 1
                    continue
                found = [name.name for name in names]
                if found == self._left.pop(batch, None):
                    # For example, the worker cannot read the jobs. They are tried again after the
                    # next change of a chain.
                    log.warning("%d jobs of batch %s cannot be moved", len(found), batch)
                    self._set_aside(batch)
                    return room
                self._freed[batch], self._left[batch] = found, found
            some, self._freed[batch] = (
                self._freed[batch][:JOBS_AT_ONCE],
                self._freed[batch][JOBS_AT_ONCE:],
            )
            entries = {name: f"{path}/{name}" for name in some}
            self._move_on(entries, self._jobs.clock_ms(), self._reasons.get(batch))
            room -= 1
        return room

    def _set_aside(self, batch: str) -> None:
        """Forget a batch that waits no more, until its chain is decided again."""
        del self._freed[batch]
        self._left.pop(batch, None)
        self._reasons.pop(batch, None)

    # --- Moving

    def _move_on(self, entries: dict[str, str], now_ms: int, reason: str | None = None) -> None:
        """Move the jobs of these entries (paths by name); remove entries without a job.

        With ``reason``, the jobs are FAILED: the condition of their batch cannot become true.
        """
        names = list(entries)
        moves: list[Move] = []
        for name, job in zip(names, self._layout.read_each(Place.DEFERRED, names), strict=True):
            if job is None:
                remove_entry(self._layout, name, entries[name])
            elif job.is_stand_in:
                log.warning("%s", job.errors[-1].message)
                moves.append(Move(Event.UNREADABLE, Place.DEFERRED, job, job.gave_up(now_ms)))
            elif entry_path(self._layout, job) != entries[name]:
                # Another program has left this entry: the job has a different entry.
                self._znodes.delete(entries[name])
            elif reason is not None:
                moves.append(Move(Event.SKIP, Place.DEFERRED, job, job.ended_by(now_ms, reason)))
            else:
                moves.append(Move(Event.RELEASE, Place.DEFERRED, job, job.put_off(now_ms)))
        made = self._jobs.mover.move(moves)
        for move in made:
            if move.before.is_stand_in:
                self._znodes.delete(entries[move.before.name])

    # --- Missing entries

    def _repair(self) -> None:
        """Create the missing entries of the jobs in "deferred"."""
        indexed = self._indexed()
        missing = [
            name.name
            for names in self._layout.iterate_names(Place.DEFERRED)
            for name in names
            if indexed.pop(name.name, 0) != 1
        ]
        for start in range(0, len(missing), JOBS_AT_ONCE):
            for job in self._layout.read(Place.DEFERRED, missing[start : start + JOBS_AT_ONCE]):
                self._repair_entry(job)
        # Entries without a job are removed when they are due.

    def _indexed(self) -> dict[str, int]:
        """Return the names of the jobs in the index, each with the number of its entries."""
        found: dict[str, int] = {}
        due, chains = self._znodes.path(DUE), self._znodes.path(CHAINS)
        parents: list[tuple[str, Callable[[str], str]]] = [(due, _name_in_due), (chains, str)]
        limits = self._jobs.gate.table.current()
        names_of_limits = [one.name for one in limits.active] + [*limits.removed, *limits.invalid]
        parents += [(waiting_path(self._layout, name), str) for name in names_of_limits]
        for parent, name_of in parents:
            for names in self._children_below(parent):
                for name in map(name_of, names):
                    found[name] = found.get(name, 0) + 1
        return found

    def _children_below(self, parent: str) -> Iterable[list[str]]:
        try:
            children = self._znodes.children(parent)
        except MissingError:
            return
        for child in children:
            try:
                yield self._znodes.children(f"{parent}/{child}")
            except MissingError:
                continue

    def _repair_entry(self, job: Job) -> None:
        if job.is_stand_in:
            after = job.gave_up(self._jobs.clock_ms())
            self._jobs.mover.move([Move(Event.UNREADABLE, Place.DEFERRED, job, after)])
            return
        path = entry_path(self._layout, job)
        if path is None or self._znodes.exists(path):
            return
        log.warning("%s in deferred has no entry in the index: the entry is created", job.name)
        where = self._layout.job(Place.DEFERRED, job.name)
        if self._is_held(job):
            if job.waits_for in {WAITS_FOR_TIME, WAITS_FOR_LIMIT}:
                self._znodes.ensure(paths.parent_of(path))
            operations: Sequence[Operation] = [Exists(where), Create(path, b"")]
            try:
                self._znodes.multi(operations, landed=lambda: self._znodes.exists(path))
            except RefusedError:
                log.info("%s was moved in the meantime", job.name)
        else:
            after = job.put_off(self._jobs.clock_ms())
            self._jobs.mover.move([Move(Event.RELEASE, Place.DEFERRED, job, after)])

    def _is_held(self, job: Job) -> bool:
        """Return whether the job needs an entry; False if its batch or limit is gone."""
        if job.waits_for == WAITS_FOR_LIMIT:
            return any(job.limit == one.name for one in self._jobs.gate.table.current().active)
        if not job.chained or job.batch is None:
            return True
        return self._znodes.exists(chain_path(self._layout, job.batch))


def _name_in_due(child: str) -> str:
    entry = parse_entry(child)
    return child if entry is None else entry.name
