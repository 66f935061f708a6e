"""The moves of jobs that exist: many in one multi, and one that cannot be done spoils no other.

What holds (the design's invariants 7 and 8):

- A job is in exactly one of deferred, unowned, owned and done at every instant. It has one entry in
  the index (`zoolet.jobs.znodes.deferred_index`) if it is in deferred, and else none.
- Whatever a worker does to a job is refused once the worker's ephemeral is gone, and a job is
  taken from a worker only after that. A worker's id is never used again, so a worker that was
  frozen cannot be taken for the one that has the job now, even at the same znode version.
- A job that returns to unowned has its attempts as its version there, so whoever read it before
  its last attempt cannot take it with what he read.
- A job that comes to stand under done is told to its batch in the same multi.
- A reply that was lost is settled by reading back, so every method's answer is what happened.

Imports the job system's records and layout.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from zoolet.jobs.errors import JobNotFoundError, UnreadableJobError, WorkerGoneError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH
from zoolet.jobs.records.transitions import Event, JobState, Place, Step, steps_of
from zoolet.jobs.znodes import batch_log
from zoolet.jobs.znodes.deferred_index import entry_path
from zoolet.jobs.znodes.edge import FORBIDDEN_VERSION
from zoolet.jobs.znodes.layout import Layout, read_job
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

LEFT_MS = 500
"""How long a worker leaves a job whose task it could not import to other workers, in ms."""


class Move(NamedTuple):
    """A job that goes from where it stands to where ``after`` says.

    Attributes:
        event: why it does.
        place: where it stands now.
        before: the job as it stands there.
        after: the job as it is to stand.
    """

    event: Event
    place: Place
    before: Job
    after: Job


@dataclass(slots=True)
class _Without:
    """What a multi is tried without, since it was refused.

    Attributes:
        logs: batches whose log is gone.
        entries: paths of entries in the index that are there, or gone, already.
    """

    logs: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)


class Mover:
    """Moves the jobs of a layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes

    def move(self, moves: Sequence[Move], worker: str | None = None) -> list[Move]:
        """Make these moves, in as few multis as they fit, and return those that were made.

        A move that is not made was outrun by another one of the same job. With ``worker`` they
        are that worker's, and none is made once it is gone.

        Raises:
            WorkerGoneError: the worker is not, or no longer, registered.
        """
        made: list[Move] = []
        # What may not be read has no version, and -1 would stand for any.
        moves = [move for move in moves if move.before.version != FORBIDDEN_VERSION]
        for some in multis(moves, _job_after):
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
        self, moves: Sequence[Move], worker: str | None, without: "_Without"
    ) -> tuple[list[Operation], list[Move | str]]:
        """Return the operations of a multi, and what each is for: a move, a batch, a worker."""
        operations: list[Operation] = []
        owners: list[Move | str] = []
        if worker is not None:
            operations.append(Exists(self._layout.worker(worker)))
            owners.append(worker)
        ended: dict[str, list[Job]] = defaultdict(list)
        for move in moves:
            steps = steps_of(move.event, move.place, move.after.place)
            own = [one for one in self._own(move, steps) if one.path not in without.entries]
            operations += own
            owners += [move] * len(own)
            if Step.APPEND_TO_LOG in steps and move.after.batch is not None:
                ended[move.after.batch].append(move.after)
        for batch, jobs in ended.items():
            if batch not in without.logs:
                operations.append(batch_log.entry(self._layout, batch, jobs))
                owners.append(batch)
        return operations, owners

    def _own(self, move: Move, steps: Sequence[Step]) -> Iterator[Operation]:
        """Yield the operations of one move; checks and logs are those of all moves of a multi."""
        _, place, before, after = move
        for step in steps:
            if step is Step.SET:
                # A program that has read the job before finds another version.
                yield SetData(self._layout.job(place, before.name), after.encode(), before.version)
            elif step is Step.DELETE:
                yield Delete(self._layout.job(place, before.name), before.version)
            elif step is Step.CREATE:
                yield from self._create(after)
            elif step is Step.LEAVE_INDEX:
                path = entry_path(self._layout, before)
                if path is not None:
                    yield Delete(path, -1)
            elif step is Step.ENTER_INDEX:
                path = entry_path(self._layout, after)
                if path is not None:
                    yield Create(path, b"")

    def _create(self, job: Job) -> Iterator[Operation]:
        """Yield what puts a job in its place; waiting, it has its attempts as its version there."""
        path = self._layout.job(job.place, job.name)
        rewrites = job.attempts if job.state is JobState.PENDING else 0
        yield Create(path, b"" if rewrites else job.encode())
        for version in range(rewrites):
            yield SetData(path, job.encode() if version == rewrites - 1 else b"", version)

    def _after_refusal(
        self,
        moves: list[Move],
        refused: RefusedError,
        operation: Operation,
        owner: Move | str,
        without: "_Without",
    ) -> list[Move]:
        """Return the moves that can still be made."""
        if isinstance(operation, Exists):
            raise WorkerGoneError(
                f"worker {owner} is not registered (its session has ended):"
                f" {moves[0].before.name} is not its own"
            )
        if isinstance(owner, str):
            # The record of a batch was removed while its jobs were still at it.
            without.logs.add(owner)
            return moves
        if operation.path in {entry_path(self._layout, job) for job in (owner.before, owner.after)}:
            return self._after_refused_entry(moves, refused, operation, owner, without)
        if isinstance(operation, Create) and refused.lacks_parent:
            # The page was empty for long, and removed.
            self._znodes.ensure(paths.parent_of(operation.path))
            return moves
        if refused.reason is Refusal.EXISTS:
            return [move for move in moves if move is not owner]
        # Whoever took this one has likely taken more of them: look, and drop all at once.
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
        without: "_Without",
    ) -> list[Move]:
        """Return the moves that can still be made if an entry of the index was refused."""
        if isinstance(operation, Create) and refused.lacks_parent:
            if owner.after.waits_for != WAITS_FOR_BATCH:
                self._znodes.ensure(paths.parent_of(operation.path))
                return moves
            # The other batch is done. If a time has come too, the housekeeping moves the job on.
            freed = owner._replace(after=owner.after.put_off(0))
            return [freed if move is owner else move for move in moves]
        without.entries.add(operation.path)
        if isinstance(operation, Create):
            # It is there: another program made it, or an older state of the queue left it.
            return moves
        znode = self._znodes.get(self._layout.job(owner.place, owner.before.name))
        found = None if znode is None else read_job(owner.place, owner.before.name, znode)
        is_same = (
            found is not None
            and found.version == owner.before.version
            and entry_path(self._layout, found) == operation.path
        )
        return moves if is_same else [move for move in moves if move is not owner]

    # --- What became of a multi whose reply was lost

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
        return (found.worker, found.attempts, found.version) == (
            job.worker,
            job.attempts,
            job.version,
        )

    def _has_error(self, failed: Job) -> bool:
        try:
            return failed.errors[-1] in self._layout.find(failed.name).errors
        except JobNotFoundError:
            return False


class TakeResult(NamedTuple):
    """What became of jobs that a worker reached for; those in none of these were gone.

    Attributes:
        owned: the worker's own now.
        deferred: they may not start yet, and are in deferred now.
        unreadable: their values are not those of jobs; they are in done now, as FAILED.
        left: they are in unowned, and other workers may take them first: this one could not import
            their task.
        spare: they may start, and are in unowned still, since they are more than were wanted.
    """

    owned: list[Job]
    deferred: list[Job]
    unreadable: list[Job]
    left: list[Job]
    spare: list[Job]


class Taker:
    """Takes jobs for workers."""

    def __init__(self, layout: Layout, mover: Mover, clock_ms: Callable[[], int]) -> None:
        self._layout = layout
        self._mover = mover
        self._clock_ms = clock_ms

    def take(self, names: Sequence[str], worker: str, most: int | None = None) -> TakeResult:
        """Take those of these jobs that are in unowned and may be started, the first ``most``.

        Moves the others on: to done, as FAILED, if they have expired or cannot be read; to deferred
        if they may not start yet. Only older versions put such jobs in unowned.

        Raises:
            WorkerGoneError: the worker is not, or no longer, registered.
        """
        now_ms = self._clock_ms()
        paths_of = [self._layout.unowned(name) for name in names]
        picked = TakeResult([], [], [], [], [])
        found = [
            read_job(Place.UNOWNED, name, znode)
            for name, znode in zip(names, self._layout.znodes.get_all(paths_of), strict=True)
            if znode is not None
        ]
        held = self._held_batches(found)
        moves: list[Move] = []
        others: list[Move] = []
        for job in found:
            if job.is_stand_in:
                picked.unreadable.append(job)
                others.append(Move(Event.UNREADABLE, Place.UNOWNED, job, job.gave_up(now_ms)))
            elif job.expires_ms is not None and now_ms > job.expires_ms:
                after = job.ended_by(now_ms, "it expired before a worker could start it")
                others.append(Move(Event.EXPIRE, Place.UNOWNED, job, after))
            elif job.chained and job.batch in held:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.held()))
            elif (job.not_before_ms or 0) > now_ms:
                others.append(Move(Event.DEFER, Place.UNOWNED, job, job.put_off(now_ms)))
            elif job.import_worker == worker and now_ms < (job.not_before_ms or 0) + LEFT_MS:
                picked.left.append(job)
            elif len(moves) == most:
                picked.spare.append(job)
            else:
                moves.append(Move(Event.TAKE, Place.UNOWNED, job, job.taken(worker, now_ms)))
        made = self._mover.move(others)
        picked.deferred.extend(m.after for m in made if m.after.waits_for is not None)
        picked.owned.extend(move.after for move in self._mover.move(moves, worker))
        return picked

    def _held_batches(self, jobs: Sequence[Job]) -> set[str]:
        """Return the batches of these jobs that wait for another batch."""
        chained = list({job.batch for job in jobs if job.chained and job.batch is not None})
        if not chained:
            return set()
        wanted = [batch_log.chain_path(self._layout, batch) for batch in chained]
        exist = self._layout.znodes.which_exist(wanted)
        return {batch for batch, is_held in zip(chained, exist, strict=True) if is_held}


def _job_after(move: Move) -> Job:
    return move.after
