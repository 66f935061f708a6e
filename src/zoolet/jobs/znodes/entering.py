"""How new jobs enter a queue: into unowned, or into deferred if they may not start yet.

The server gives the names: the sequence is the counter of the page in unowned. So a job for
deferred needs two multis. The first reserves its name, with an ephemeral in unowned that is no
job's; the second replaces that by the job in deferred, with its key and its entry in the index. If
the submitter dies in between, its reservations go with its session. What holds:

- Names are unique, and their order is that of submission, also between unowned and deferred.
- All jobs of a call enter in one multi, with their keys, or none does.

Imports the job system's layout, keys and index.
"""

from collections.abc import Sequence
from typing import NamedTuple

from zoolet.jobs.errors import JobError, JobNotFoundError, UnknownQueueError, UnreadableJobError
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import WAITS_FOR_BATCH
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.deferred_index import entry_path
from zoolet.jobs.znodes.keys import Named, NameKeys, key_value, read_key
from zoolet.jobs.znodes.layout import PAGE_JOBS, PAGE_NUMBER_DIGITS, Layout, page_name, page_order
from zoolet.jobs.znodes.operations import Create, Delete, Operation, Refusal, RefusedError, SetData
from zoolet.model import paths

RESERVED = "reserved-"
"""How the names of reservations begin. No job has such a name, so workers ignore them."""
_TRIES = 100
"""Each refusal leads to a change: a page, a span of time, other reservations. More is no accident.
"""


class NewJob(NamedTuple):
    """A job that is to enter the queue.

    Attributes:
        draft: the job; its name lacks the sequence.
        has_key: whether a key is to say that it stands for its work.
        key_version: of that key; None if it has no znode yet.
    """

    draft: Job
    has_key: bool
    key_version: int | None


class _Step(NamedTuple):
    """An operation of a multi, for which of the jobs it is, and its part of that job's entry."""

    operation: Operation
    number: int
    part: str


_KEY, _RESERVATION, _JOB, _ENTRY = "key", "reservation", "job", "entry"


class Entrance:
    """Lets new jobs enter the queue of a layout."""

    def __init__(self, layout: Layout, name_keys: NameKeys) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._name_keys = name_keys
        self._shelves = OpenPages(layout)

    def enter(self, jobs: Sequence[NewJob]) -> list[str]:
        """Put jobs where they belong, with their keys, and return their names.

        Raises:
            RefusedError: a key is not as it was said to be; no job has entered.
        """
        if not jobs:
            return []
        new = list(jobs)
        reserved: dict[int, str] = {}
        for _ in range(_TRIES):
            self._reserve(new, reserved)
            steps = self._steps(new, reserved)
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
        raise JobError("the jobs were not submitted: the queue's znodes are changed all the time")

    # --- Reservations

    def _reserve(self, new: Sequence[NewJob], reserved: dict[int, str]) -> None:
        """Reserve names if a job may not start yet: for all jobs, so that they keep their order."""
        is_wanted = any(job.draft.waits_for is not None for job in new)
        numbers = [number for number in range(len(new)) if is_wanted and number not in reserved]
        for _ in range(_TRIES if numbers else 0):
            operations = [
                Create(
                    self._shelves.path_for(new[number].draft, RESERVED),
                    b"",
                    sequence=True,
                    ephemeral=True,
                )
                for number in numbers
            ]
            try:
                # If the reply is lost, others are made: the first ones go with the session.
                results = self._znodes.multi(operations, landed=lambda: False)
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
        return steps

    def _is_overcome(
        self, refused: RefusedError, step: _Step, new: list[NewJob], reserved: dict[int, str]
    ) -> bool:
        """Change what the multi was refused for; False if the caller has to look at keys."""
        if refused.lacks_parent:
            self._layout.check()
        draft = new[step.number].draft
        if step.part == _RESERVATION:
            # The session has ended, and all reservations with it.
            reserved.clear()
        elif step.part == _ENTRY and refused.lacks_parent and draft.waits_for == WAITS_FOR_BATCH:
            # The other batch is done. If a time has come too, the housekeeping moves the job on.
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
        """Return the names of the jobs that have entered; see to it that their keys have them."""
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
                f"the job for {dataset}:{groupid} was submitted, and someone deleted it"
            )
        return job.name


def _name(draft: Job, reservation: str) -> str:
    """Return the name that was reserved for a job."""
    return draft.name + paths.name_of(reservation).removeprefix(RESERVED)


class OpenPages:
    """On which page of its shard a job is put: the newest of its priority that is not full.

    A submitter remembers the pages that it fills. The number of a page is never given again in its
    shard, since it is part of the names of its jobs.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._znodes = layout.znodes
        self._open: dict[tuple[int, int], str] = {}

    def path_for(self, draft: Job, name: str) -> str:
        """Return what the server is to append the sequence of a job to.

        ``name`` is the name of the znode without the page's number: the job's, or `RESERVED`.
        """
        if self._layout.is_flat:
            return f"{self._layout.place(Place.UNOWNED)}/{name}"
        shard = self._layout.shard_of(*draft.named_group)
        page = self._open.get((shard, draft.priority)) or self._find(shard, draft.priority, full="")
        number = page_order(page)[1]
        return f"{self._layout.page(Place.UNOWNED, shard, page)}/{name}{number:06d}"

    def filled(self, created: Sequence[str]) -> None:
        """Begin a new page behind one that is full by now; ``created`` are paths of new jobs."""
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
        """Look again for the page of such a job: the one it was put on is gone.

        Raises:
            UnknownQueueError: there are no pages, and what all jobs stand in is gone.
        """
        if self._layout.is_flat:
            raise UnknownQueueError(
                f"the queue's znode {self._layout.place(Place.UNOWNED)} is gone"
            )
        shard = self._layout.shard_of(*draft.named_group)
        self._open.pop((shard, draft.priority), None)

    def _find(self, shard: int, priority: int, full: str) -> str:
        """Return the newest page of a priority behind the full one; make it where there is none."""
        while True:
            shard_path = self._layout.shard(Place.UNOWNED, shard)
            counter = self._znodes.get(shard_path)
            if counter is None:
                raise UnknownQueueError(f"the queue's shard {shard} is gone: {shard_path}")
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
                # Another submitter was faster, or it was this one and the reply was lost.
                continue
        self._open[shard, priority] = page
        return page


def _page_number(path: str, data: bytes) -> int:
    if not data:
        return 0
    if data.isdigit() and len(data) <= PAGE_NUMBER_DIGITS:
        return int(data)
    raise UnreadableJobError(
        f"{path} holds {data[:40]!r}, which is not the number of its newest page: set it to the"
        " greatest number of a page under it"
    )
