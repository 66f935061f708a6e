"""Creates the znodes of new jobs: in unowned, or in deferred if a job cannot start yet.

The server completes the names: it appends the counter of the job's page in unowned. So a job for
deferred needs two multis. The first multi reserves the name with an ephemeral in unowned. The
second multi deletes this reservation and creates the job in deferred, its key and its entry in the
index. If the submitter dies between the two, its reservations are deleted when its session ends.
Invariants:

- Names are unique. Their order is the order of submission, also between unowned and deferred.
- One multi creates all jobs of a call, with their keys, or creates none of them.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.model` and other modules of
its package.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from zoolet.jobs.errors import JobError, JobNotFoundError, UnknownQueueError, UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.submit.keys import Named, NameKeys, key_value, read_key
from zoolet.jobs.znodes.deferred_index import entry_path, expiry_path
from zoolet.jobs.znodes.edge import MissingError
from zoolet.jobs.znodes.job_znodes import page_name
from zoolet.jobs.znodes.layout import PAGE_JOBS, PAGE_NUMBER_DIGITS, Layout, page_order
from zoolet.jobs.znodes.operations import (
    Create,
    Delete,
    Operation,
    Refusal,
    RefusedError,
    SetData,
)
from zoolet.model import paths

RESERVED = "reserved-"
"""The start of the names of reservations. These are not job names, so workers ignore them."""
_TRIES = 100
"""The tries of a multi. After each refusal the cause is removed, so more refusals are an error."""


class NewJob(NamedTuple):
    """A job that is added to the queue.

    Attributes:
        draft: the job; its name does not have the sequence yet.
        has_key: whether a key is written, so that later requests for the same work find the job.
        key_version: the version of the key's znode; None if the znode does not exist yet.
    """

    draft: Job
    has_key: bool
    key_version: int | None


class _Step(NamedTuple):
    """An operation of a multi for one job.

    Attributes:
        operation: the operation.
        number: the position of the job in the list of new jobs, from 0.
        part: the kind of the znode that the operation writes: the job, its key, its reservation or
            its entry in the index.
    """

    operation: Operation
    number: int
    part: str


_KEY, _RESERVATION, _JOB, _ENTRY = "key", "reservation", "job", "entry"
_EXPIRY, _OTHER = "expiry", "other"

Also = Callable[[Sequence[str]], Sequence[Operation]]
"""A function that returns further operations of the multi; it gets the names of the new jobs."""


class Entrance:
    """Adds new jobs to the queue of a layout."""

    def __init__(self, layout: Layout, name_keys: NameKeys) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._name_keys = name_keys
        self._shelves = OpenPages(layout)

    def enter(self, jobs: Sequence[NewJob], also: Also | None = None) -> list[str]:
        """Add jobs and their keys to the queue, and return the names of the jobs.

        The multi has the operations of ``also``, too. At most one try of the multi is executed.

        Raises:
            RefusedError: a key has another version than ``key_version`` says, or the server refused
                an operation of ``also``; no job was added.
        """
        if not jobs:
            return []
        new = list(jobs)
        reserved: dict[int, str] = {}
        for _ in range(_TRIES):
            self._reserve(new, reserved, is_wanted=also is not None)
            steps = self._steps(new, reserved)
            if also is not None:
                names = [_name(job.draft, reserved[n]) for n, job in enumerate(new)]
                steps += [_Step(operation, 0, _OTHER) for operation in also(names)]
            try:
                results = self._znodes.multi(
                    [step.operation for step in steps], landed=lambda: self._has_landed(new[0])
                )
            except RefusedError as refused:
                if not self._is_overcome(refused, steps[refused.position], new, reserved):
                    self._give_up(reserved)
                    raise
            else:
                return self._entered(new, reserved, steps, results)
        raise JobError(
            "the jobs were not submitted: other programs change the queue's znodes all the time."
            " Submit the jobs again"
        )

    # --- Reservations

    def _reserve(self, new: Sequence[NewJob], reserved: dict[int, str], *, is_wanted: bool) -> None:
        """Reserve names for all jobs, to keep their order, if at least one cannot start yet.

        ``is_wanted`` says that the caller needs the names before the multi.
        """
        is_wanted = is_wanted or any(job.draft.waits_for is not None for job in new)
        numbers = [number for number in range(len(new)) if is_wanted and number not in reserved]
        own = new[0].draft.submission.encode()
        for _ in range(_TRIES if numbers else 0):
            wanted = [self._shelves.path_for(new[number].draft, RESERVED) for number in numbers]
            operations = [Create(path, own, sequence=True, ephemeral=True) for path in wanted]
            lost = partial(self._delete_lost, wanted, own, set(reserved.values()))
            try:
                results = self._znodes.multi(operations, landed=lost)
            except RefusedError as refused:
                if not refused.lacks_parent:
                    raise
                self._layout.check()
                self._shelves.forget(new[numbers[refused.position]].draft)
                continue
            created = [str(path) for path in results or ()]
            reserved |= dict(zip(numbers, created, strict=True))
            self._shelves.filled(created)
            return

    def _delete_lost(self, wanted: Sequence[str], own: bytes, kept: Collection[str]) -> bool:
        """Delete what a multi has reserved whose reply was lost; return False: it is repeated.

        Such a reservation counts as a waiting job as long as the session lasts. ``own`` is the data
        of this submission's reservations, and ``kept`` are the paths of those that it still needs.
        """
        for parent in {paths.parent_of(path) for path in wanted}:
            try:
                names = self._znodes.children(parent)
            except MissingError:
                continue
            found = [f"{parent}/{name}" for name in names if name.startswith(RESERVED)]
            for path, znode in zip(found, self._znodes.get_all(found), strict=True):
                if znode is not None and znode.data == own and path not in kept:
                    self._znodes.delete(path)
        return False

    def _give_up(self, reserved: dict[int, str]) -> None:
        for path in reserved.values():
            self._znodes.delete(path)

    # --- The multi

    def _steps(self, new: Sequence[NewJob], reserved: dict[int, str]) -> list[_Step]:
        steps: list[_Step] = []
        for number, (draft, has_key, key_version) in enumerate(new):
            reservation = reserved.get(number)
            job = draft
            if reservation is not None:
                job = draft._replace(name=_name(draft, reservation))
            if has_key:
                path = self._layout.key(draft.key)
                value = key_value(draft, None if reservation is None else job.name)
                write: Operation = (
                    Create(path, value)
                    if key_version is None
                    else SetData(path, value, key_version)
                )
                steps.append(_Step(write, number, _KEY))
            if reservation is None:
                path = self._shelves.path_for(draft, draft.name)
                steps.append(_Step(Create(path, draft.encode(), sequence=True), number, _JOB))
                continue
            path = self._layout.job(job.place, job.name)
            steps.append(_Step(Delete(reservation, -1), number, _RESERVATION))
            steps.append(_Step(Create(path, job.encode()), number, _JOB))
            entry = entry_path(self._layout, job)
            if entry is not None:
                steps.append(_Step(Create(entry, b""), number, _ENTRY))
            expiry = expiry_path(self._layout, job)
            if expiry is not None:
                steps.append(_Step(Create(expiry, b""), number, _EXPIRY))
        return steps

    def _is_overcome(
        self, refused: RefusedError, step: _Step, new: list[NewJob], reserved: dict[int, str]
    ) -> bool:
        """Remove the cause of a refusal; return False if the caller must handle the refusal."""
        if step.part == _OTHER:
            return False
        if refused.lacks_parent:
            self._layout.check()
        draft = new[step.number].draft
        if step.part == _RESERVATION:
            # The session has ended, so all reservations were deleted.
            reserved.clear()
        elif step.part == _ENTRY and refused.lacks_parent and draft.waits_for == WAITS_FOR_BATCH:
            # The other batch has ended. If the job also waits for a time, it waits for this time
            # now; if the time has come, the housekeeping moves the job to unowned.
            new[step.number] = new[step.number]._replace(draft=draft.put_off(0))
        elif step.part == _JOB and refused.reason is Refusal.EXISTS:
            reserved.pop(step.number, None)
        elif step.part == _KEY or not refused.lacks_parent:
            return False
        elif step.number in reserved:
            self._znodes.ensure(paths.parent_of(step.operation.path))
        else:
            self._shelves.forget(draft)
        return True

    def _has_landed(self, first: NewJob) -> bool:
        draft = first.draft
        if not first.has_key:
            return self._layout.find_submission(draft, draft.submission) is not None
        key = self._znodes.get(self._layout.key(draft.key))
        return key is not None and read_key(key).submission == draft.submission

    def _entered(
        self,
        new: Sequence[NewJob],
        reserved: dict[int, str],
        steps: Sequence[_Step],
        results: Sequence[object] | None,
    ) -> list[str]:
        """Return the names of the jobs that were added, and let their keys get these names."""
        names = {number: _name(new[number].draft, path) for number, path in reserved.items()}
        unnamed: list[Named] = []
        created: list[str] = []
        for position, step in enumerate(steps):
            if step.part != _JOB or step.number in reserved:
                continue
            draft, has_key, key_version = new[step.number]
            if results is None:
                name = self._name_of(draft)
            else:
                created.append(str(results[position]))
                name = paths.name_of(created[-1])
            names[step.number] = name
            if has_key and draft.batch is None:
                job = draft._replace(name=name)
                unnamed.append(Named(job, 0 if key_version is None else key_version + 1))
        self._shelves.filled(created)
        self._name_keys(unnamed)
        return [names[number] for number in range(len(new))]

    def _name_of(self, draft: Job) -> str:
        job = self._layout.find_submission(draft, draft.submission)
        if job is None:
            dataset, groupid = draft.named_group
            raise JobNotFoundError(
                f"the job for {dataset}:{groupid} was submitted, and then another program deleted"
                " it: submit the job again"
            )
        return job.name


def _name(draft: Job, reservation: str) -> str:
    """Return the job's name with the sequence of the reservation at path ``reservation``."""
    return draft.name + paths.name_of(reservation).removeprefix(RESERVED)


class OpenPages:
    """Chooses the page for a new job: the newest page of its shard and priority that is not full.

    A submitter remembers the page that it fills for each shard and priority. A shard never uses
    the number of a page again, because the number is part of the names of the page's jobs.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._open: dict[tuple[int, int], str] = {}

    def path_for(self, draft: Job, name: str) -> str:
        """Return the path to which the server appends the counter for a new znode.

        ``name`` is the start of the znode's name, without the page's number: the job's name without
        its sequence, or `RESERVED`.
        """
        if self._layout.is_flat:
            return f"{self._layout.place(Place.UNOWNED)}/{name}"
        shard = self._layout.shard_of(*draft.named_group)
        page = self._open.get((shard, draft.priority)) or self._find(shard, draft.priority, full="")
        number = page_order(page)[1]
        return f"{self._layout.page(Place.UNOWNED, shard, page)}/{name}{number:06d}"

    def filled(self, created: Sequence[str]) -> None:
        """Begin a new page after each page that ``created``, the paths of new jobs, has filled."""
        if self._layout.is_flat:
            return
        for path in created:
            sequence = int(path[-10:])
            if sequence + 1 >= PAGE_JOBS:
                page = paths.name_of(paths.parent_of(path))
                shard = int(paths.name_of(paths.parent_of(paths.parent_of(path))))
                key = (shard, int(page.partition("-")[0]))
                if self._open.get(key) == page:
                    self._open[key] = self._find(*key, full=page)

    def forget(self, draft: Job) -> None:
        """Forget the page for a job's shard and priority, because the page does not exist any more.

        Raises:
            UnknownQueueError: the queue has no pages, and the parent of all jobs does not exist.
        """
        if self._layout.is_flat:
            raise UnknownQueueError(
                f"the queue's znode {self._layout.place(Place.UNOWNED)} does not exist: was the"
                " queue removed?"
            )
        shard = self._layout.shard_of(*draft.named_group)
        self._open.pop((shard, draft.priority), None)

    def _find(self, shard: int, priority: int, full: str) -> str:
        """Return the newest page of a priority that is after page ``full``; create it if needed."""
        while True:
            shard_path = self._layout.shard(Place.UNOWNED, shard)
            counter = self._znodes.get(shard_path)
            if counter is None:
                raise UnknownQueueError(
                    f"the queue's shard {shard} does not exist ({shard_path}): was the queue"
                    " removed?"
                )
            pages = [
                page
                for page in self._layout.pages(Place.UNOWNED, shard)
                if page_order(page)[0] == -priority and page > full
            ]
            if pages:
                page = pages[-1]
                break
            number = _page_number(shard_path, counter.data) + 1
            page = page_name(priority, number)
            operations: list[Operation] = [
                SetData(shard_path, str(number).encode(), counter.version),
                Create(self._layout.page(Place.UNOWNED, shard, page), b""),
                Create(self._layout.page(Place.DONE, shard, page), b""),
            ]
            try:
                self._znodes.multi(operations, landed=lambda: False)
                break
            except RefusedError:
                # Another submitter created the page first, or this one did and the reply was lost.
                continue
        self._open[shard, priority] = page
        return page


def _page_number(path: str, data: bytes) -> int:
    if not data:
        return 0
    if data.isdigit() and len(data) <= PAGE_NUMBER_DIGITS:
        return int(data)
    raise UnreadableJobError(
        f"the data of {path} is {data[:40]!r}, which is not the number of the shard's newest page:"
        " set the data to the greatest number of a page under this znode"
    )
