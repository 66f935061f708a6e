"""Moves existing jobs between places. One multi makes many moves; only refused moves are left out.

Invariants (see also 7 and 8 in ARCHITECTURE.md):

- A job is in exactly one of deferred, unowned, owned and done at every instant. The job has one
  entry in the index (`zoolet.jobs.znodes.deferred_index`) if it is in deferred, and otherwise none.
- The server refuses a worker's moves after the worker's ephemeral is deleted. Other programs return
  a worker's job to the queue only after that. No worker id is used twice, so a worker that was
  frozen cannot change a job that another worker owns now, even if the znode's version is the same.
- In unowned, the version of a job's znode is the number of the job's attempts. So a worker that
  read the job before its last attempt cannot take the job.
- The multi that moves a job to done also appends the job to its batch's log, and notes a failure
  for the hooks of workers (`zoolet.jobs.znodes.failure_log`).
- If a reply is lost, `Mover.move` reads the znodes, so its result says what happened.
- A job that has ended always gets to done: a znode of another job with the same name is replaced.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.model` and other modules of
its package.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, final

from zoolet.jobs.errors import JobNotFoundError, UnreadableJobError, WorkerGoneError
from zoolet.jobs.records.failure_notes import REASONS, NotedFailure
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH
from zoolet.jobs.records.transitions import Event, JobState, Place, Step, steps_of
from zoolet.jobs.znodes import batch_log, failure_log
from zoolet.jobs.znodes.deferred_index import entry_path, expiry_path
from zoolet.jobs.znodes.job_znodes import FORBIDDEN_VERSION, JobPaths, read_job
from zoolet.jobs.znodes.layout import Layout
from zoolet.jobs.znodes.limit_znodes import slot_path
from zoolet.jobs.znodes.multis import multis
from zoolet.jobs.znodes.operations import (
    Create,
    Delete,
    Exists,
    Operation,
    Refusal,
    RefusedError,
    SetData,
)
from zoolet.model import paths

log = logging.getLogger(__name__)


class Move(NamedTuple):
    """The move of a job from its place to the place of ``after``, or a change in its place.

    Attributes:
        event: the reason of the move.
        place: the current place of the job.
        before: the job before the move.
        after: the job after the move.
        claims: the operations that claim the limits of a job that is taken
            (`zoolet.jobs.limits.admission`).
    """

    event: Event
    place: Place
    before: Job
    after: Job
    claims: tuple[Operation, ...] = ()


@final
class _Without:
    """The parts that the next try of a refused multi leaves out.

    Attributes:
        logs: the names of batches whose log does not exist.
        entries: the paths of index entries that already exist or are already deleted, and of slots
            that are already deleted.
        notes: whether no note of failures is written, because no worker has hooks for them.
    """

    __slots__ = ("entries", "logs", "notes")

    def __init__(self) -> None:
        self.logs: set[str] = set()
        self.entries: set[str] = set()
        self.notes = False


@final
class Mover:
    """Moves the jobs of a layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._failures = failure_log.FailureSwitch(layout)

    def move(self, moves: Sequence[Move], worker: str | None = None) -> list[Move]:
        """Make these moves, in as few multis as possible, and return the moves that were made.

        A move is not made if another program changed the job first. With ``worker``, the moves are
        refused if this worker's ephemeral does not exist.

        Raises:
            WorkerGoneError: the worker is not registered, or not any more.
        """
        made: list[Move] = []
        # A job without READ permission has no known version; -1 would match every version.
        moves = [move for move in moves if move.before.version != FORBIDDEN_VERSION]
        for some in multis(moves, _job_after, _limit_bytes):
            made += self._move_some(some, worker)
        return made

    def _move_some(self, moves: list[Move], worker: str | None) -> list[Move]:
        without = _Without()
        while moves:
            operations, owners = self._operations(moves, worker, without)
            try:
                self._znodes.multi(operations, landed=partial(self._is_made, moves[0]))
            except RefusedError as refused:
                moves = self._after_refusal(
                    moves, refused, operations[refused.position], owners[refused.position], without
                )
            else:
                return moves
        return []

    def _operations(
        self, moves: Sequence[Move], worker: str | None, without: _Without
    ) -> tuple[list[Operation], list[Move | str]]:
        """Return the operations of a multi and, for each, its move, or a text.

        The text is the name of a batch, the id of the worker, or `failure_log.FAILURES`.
        """
        operations: list[Operation] = []
        owners: list[Move | str] = []
        if worker is not None:
            operations.append(Exists(self._layout.worker(worker)))
            owners.append(worker)
        ended: dict[str, list[Job]] = defaultdict(list)
        failures: dict[str, NotedFailure] = {}
        job_paths = self._layout.job_paths
        for move in moves:
            steps = steps_of(move.event, move.place, move.after.place)
            own = self._own(move, steps, job_paths)
            if without.entries:
                own = [one for one in own if one.path not in without.entries]
            operations += own
            owners += [move] * len(own)
            if Step.APPEND_TO_LOG in steps and move.after.batch is not None:
                ended[move.after.batch].append(move.after)
            if Step.NOTE_FAILURE in steps:
                ended_ms = move.after.finished_ms or 0
                failures[move.after.name] = NotedFailure(REASONS[move.event], ended_ms)
        for batch, jobs in ended.items():
            if batch not in without.logs:
                operations.append(batch_log.entry(self._layout, batch, jobs))
                owners.append(batch)
        if failures and not without.notes and self._failures.is_on():
            operations.append(failure_log.note(self._layout, failures))
            owners.append(failure_log.FAILURES)
        return operations, owners

    def _own(self, move: Move, steps: Sequence[Step], job_paths: JobPaths) -> list[Operation]:
        """Return the operations of one move, without those that all moves of a multi share.

        These are the worker check, the entry in the log, and the note of failures.
        """
        _, place, before, after, claims = move
        own: list[Operation] = []
        for step in steps:
            if step is Step.SET:
                # The write gives the znode a new version, so an earlier reader cannot change it.
                path = job_paths.job(place, before.name)
                own.append(SetData(path, after.encode(), before.version))
            elif step is Step.DELETE:
                own.append(Delete(job_paths.job(place, before.name), before.version))
            elif step is Step.CREATE:
                _create(after, own, job_paths)
            elif step is Step.CLAIM:
                own += claims
            elif step is Step.FREE:
                own += [Delete(slot_path(self._layout, slot), -1) for slot in before.slots]
            else:
                own += self._in_index(step, before, after)
        return own

    def _in_index(self, step: Step, before: Job, after: Job) -> list[Operation]:
        """Return the operations of a step that changes the index of deferred jobs."""
        found: list[Operation] = []
        expiries = (expiry_path(self._layout, before), expiry_path(self._layout, after))
        if step is Step.LEAVE_INDEX:
            entry, expiry = entry_path(self._layout, before), expiries[0]
            if entry is not None:
                found.append(Delete(entry, -1))
            if expiry is not None and expiry != expiries[1]:
                found.append(Delete(expiry, -1))
        if step is Step.ENTER_INDEX:
            entry, expiry = entry_path(self._layout, after), expiries[1]
            if entry is not None:
                found.append(Create(entry, b""))
            if expiry is not None and expiry != expiries[0]:
                found.append(Create(expiry, b""))
        return found

    def _entries(self, move: Move) -> set[str | None]:
        """Return the paths of a job's entries in the index, without those in "expiries"."""
        return {entry_path(self._layout, job) for job in (move.before, move.after)}

    def _in_indexes(self, move: Move) -> set[str | None]:
        expiries = {expiry_path(self._layout, job) for job in (move.before, move.after)}
        return self._entries(move) | expiries

    def _after_refusal(
        self,
        moves: list[Move],
        refused: RefusedError,
        operation: Operation,
        owner: Move | str,
        without: _Without,
    ) -> list[Move]:
        """Return the moves that can still be made after the server refused the multi."""
        if isinstance(operation, Exists):
            raise WorkerGoneError(
                f"worker {owner} is not registered (its session has ended):"
                f" the worker cannot change the job {moves[0].before.name}"
            )
        if failure_log.is_note(operation, self._layout):
            without.notes = True
            return moves
        if isinstance(owner, str):
            # The record of the batch was removed before all of its jobs had ended.
            without.logs.add(owner)
            return moves
        if operation in owner.claims:
            # Another worker claimed the limit first. The worker looks at the limit again.
            return [
                move for move in moves if operation.path not in {one.path for one in move.claims}
            ]
        if operation.path in {slot_path(self._layout, slot) for slot in owner.before.slots}:
            without.entries.add(operation.path)
            return moves
        if operation.path in self._in_indexes(owner):
            return self._after_refused_entry(moves, refused, operation, owner, without)
        if isinstance(operation, Create) and refused.lacks_parent:
            # The page was empty for a long time and was removed.
            self._znodes.ensure(paths.parent_of(operation.path))
            return moves
        if refused.reason is Refusal.EXISTS:
            is_ended = owner.after.has_ended and operation.path == self._layout.done(
                owner.after.name
            )
            if is_ended and self._is_another_in_done(owner.after):
                self._znodes.delete_tree(operation.path)
                return moves
            return [move for move in moves if move is not owner]
        # Another worker has probably taken several of the jobs: find all of them together.
        standing = self._layout.znodes.get_all(
            [self._layout.job(move.place, move.before.name) for move in moves]
        )
        return [
            move
            for move, znode in zip(moves, standing, strict=True)
            if move is not owner and znode is not None and znode.version == move.before.version
        ]

    def _after_refused_entry(
        self,
        moves: list[Move],
        refused: RefusedError,
        operation: Operation,
        owner: Move,
        without: _Without,
    ) -> list[Move]:
        """Return the moves that can still be made if an entry of the index was refused."""
        is_expiry = operation.path not in self._entries(owner)
        if isinstance(operation, Create) and refused.lacks_parent:
            if is_expiry or owner.after.waits_for != WAITS_FOR_BATCH:
                self._znodes.ensure(paths.parent_of(operation.path))
                return moves
            # The other batch has ended. If the job also waits for a time, it waits for this time
            # now; if the time has come, the housekeeping moves the job to unowned.
            freed = owner._replace(after=owner.after.put_off(0))
            return [freed if move is owner else move for move in moves]
        without.entries.add(operation.path)
        if is_expiry or isinstance(operation, Create):
            # The entry exists: another program created it, or it was left from an earlier state.
            # Or the job has no entry in "expiries", because an older version has moved it.
            return moves
        znode = self._znodes.get(self._layout.job(owner.place, owner.before.name))
        found = None if znode is None else read_job(owner.place, owner.before.name, znode)
        is_same = (
            found is not None
            and found.version == owner.before.version
            and entry_path(self._layout, found) == operation.path
        )
        return moves if is_same else [move for move in moves if move is not owner]

    def _is_another_in_done(self, job: Job) -> bool:
        """Return whether the znode with this job's name in done is not this job.

        The server gives a sequence again if a program has deleted "unowned" and created it again.
        """
        znode = self._znodes.get(self._layout.done(job.name))
        if znode is None:
            return True
        found = read_job(Place.DONE, job.name, znode)
        if found.submission == job.submission:
            return False
        log.warning(
            "%s: another znode of this name is in done (%s, %r); it is replaced, because the name"
            " was given again",
            job.name,
            found.state,
            znode.data[:200],
        )
        return True

    # --- The outcome of a multi whose reply was lost

    def _is_made(self, move: Move) -> bool:
        after = move.after
        if after.has_ended:
            return self._reads_as(self._layout.done(after.name), after)
        if after.state is not JobState.PENDING:
            return self._reads_as(self._layout.owned(after.name), after)
        if len(after.errors) > len(move.before.errors):
            return self._has_error(after)
        return not self._reads_as(self._layout.job(move.place, after.name), move.before)

    def _reads_as(self, path: str, job: Job) -> bool:
        znode = self._znodes.get(path)
        if znode is None:
            return False
        try:
            found = Job.decode(job.name, znode.data, znode.version)
        except UnreadableJobError:
            return False
        # A worker may have given the job back and taken it again: only the time differs then.
        return (found.worker, found.attempts, found.version, found.taken_ms) == (
            job.worker,
            job.attempts,
            job.version,
            job.taken_ms,
        )

    def _has_error(self, failed: Job) -> bool:
        try:
            return failed.errors[-1] in self._layout.find(failed.name).errors
        except JobNotFoundError:
            return False


def _create(job: Job, operations: list[Operation], job_paths: JobPaths) -> None:
    """Add the operations that create a job; a PENDING job gets its attempts as version."""
    path = job_paths.job(job.place, job.name)
    rewrites = job.attempts if job.state is JobState.PENDING else 0
    operations.append(Create(path, b"" if rewrites else job.encode()))
    for version in range(rewrites):
        data = job.encode() if version == rewrites - 1 else b""
        operations.append(SetData(path, data, version))


def _job_after(move: Move) -> Job:
    return move.after


_OPERATION_BYTES: Final = 200
"""The bytes of an operation of a multi without its path and data; most are those of the ACL."""


def _limit_bytes(move: Move) -> int:
    """Return about how many bytes a multi has because of the limits of a job; 0 for most jobs."""
    if not (move.claims or move.before.slots or move.after.slots):
        return 0
    size_bytes = 0
    for claim in move.claims:
        size_bytes += _OPERATION_BYTES + len(claim.path.encode())
        if isinstance(claim, Create | SetData):
            size_bytes += len(claim.data)
    for freed in move.before.slots:
        size_bytes += _OPERATION_BYTES + len(freed.encode())
    for held in move.after.slots:
        # In the JSON of the job, a character past ASCII takes 6 bytes, a pair of surrogates 12.
        size_bytes += len(held) if held.isascii() else 3 * len(held.encode())
    return size_bytes
