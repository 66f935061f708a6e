"""Submits a task for each group of a described dataset, and follows the results.

Invariants:

- A job is for one group, in one version, with one set of columns. All three are part of the job's
  key and of the key of the cache, so results and data of an older content are not used.
- A partial result contains the result of each job that has ended exactly once.

This module imports `zoolet.jobs.datasets`, `zoolet.jobs.errors`, `zoolet.jobs.execution`,
`zoolet.jobs.loaders`, `zoolet.jobs.records` and other modules of its package.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from zoolet.jobs.datasets.datasets import Dataset, total
from zoolet.jobs.dispatcher.batch import Batch, JobFailedError
from zoolet.jobs.dispatcher.reductions import Input, batch_names, submit_reduction
from zoolet.jobs.errors import InvalidJobError, JobTimeoutError
from zoolet.jobs.execution.functions import TASKS, load_function
from zoolet.jobs.loaders.groups import DatasetGroup
from zoolet.jobs.loaders.loading import make_source
from zoolet.jobs.loaders.registry import loader_info
from zoolet.jobs.records.job_requests import JobRequest, JsonObject
from zoolet.jobs.records.task_names import task_name
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.znodes.deadlines import TIMEOUT_S

if TYPE_CHECKING:
    from zoolet.jobs.records.job import Job

Merge = Callable[[list[Any]], Any]
"""Merges the results of several groups into one result of the same form."""

PARTIALS_EVERY_S = 0.1
"""The shortest time between two partial results, in seconds."""
_HASH_CHARACTERS = 12


class Share(NamedTuple):
    """The part of a dataset that a result covers.

    Attributes:
        groups: the number of groups that are covered.
        all_groups: the number of groups of the dataset.
        rows: the number of rows that are covered; None if it is not known.
        all_rows: the number of rows of the dataset; None if it is not known.
        size_bytes: the number of bytes that are covered; None if it is not known.
        all_size_bytes: the number of bytes of the dataset; None if it is not known.
    """

    groups: int
    all_groups: int
    rows: int | None
    all_rows: int | None
    size_bytes: int | None
    all_size_bytes: int | None

    @property
    def fraction(self) -> float:
        """The share of the rows, or else of the bytes or the groups, as a number from 0 to 1."""
        if self.groups == self.all_groups:
            return 1.0
        for part, whole in ((self.rows, self.all_rows), (self.size_bytes, self.all_size_bytes)):
            if part is not None and whole:
                return part / whole
        return self.groups / self.all_groups


class PartialResult(NamedTuple):
    """The merged results of the groups that have ended so far.

    Attributes:
        value: the merged result.
        share: the part of the dataset that the result covers.
    """

    value: Any
    share: Share

    @property
    def is_complete(self) -> bool:
        """Whether the result covers all groups."""
        return self.share.groups == self.share.all_groups


def map_requests(
    task: str | Callable[..., Any],
    dataset: Dataset,
    parameters: JsonObject,
    columns: Sequence[str] | None,
    **request: Any,
) -> list[JobRequest]:
    """Return the request for each group of a dataset, in the order of the groups.

    ``request`` are other attributes of a `JobRequest`.

    Raises:
        InvalidJobError: the loader has no columns, or a column is not a text.
    """
    record = dataset.record
    if isinstance(columns, str):
        raise InvalidJobError(f"columns {columns!r} is one text: pass a list of names")
    if columns is not None and not loader_info(record.loader).has_columns:
        raise InvalidJobError(f"groups of the loader {record.loader} have no columns")
    wanted = None if columns is None else sorted(set(columns))
    requests = []
    for group in dataset.groups:
        source = make_source(record.loader, record.options, group, wanted)
        requests.append(
            JobRequest(
                task,
                record.name,
                f"{group.groupid}@{_hash(source)}",
                parameters,
                source=source,
                **request,
            )
        )
    return requests


def _hash(source: Mapping[str, Any]) -> str:
    text = json.dumps(source, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


class MapResult:
    """The results of a task on all groups of a dataset.

    Attributes:
        batch: the jobs, one for each group, in the order of the groups.
        dataset: the dataset as it was when the jobs were submitted.
        merged: the batch of the job that merges the results of all groups; None without ``reduce``.
    """

    def __init__(
        self,
        batch: Batch,
        dataset: Dataset,
        reduce: str | Callable[..., Any] | None,
        merged: Batch | None = None,
    ) -> None:
        self.batch = batch
        self.dataset = dataset
        self.merged = merged
        self._value: list[Any] = []
        self._reduce = reduce
        self._groups: dict[str, list[DatasetGroup]] = {}
        for submission, group in zip(batch.submissions, dataset.groups, strict=True):
            self._groups.setdefault(submission.name, []).append(group)
        self._covered: list[DatasetGroup] = []
        self._arrived: list[Any] = []
        """The results of covered groups that are not merged yet, also after an error."""
        self._merged: list[Any] = []
        """The merged result of the other covered groups; [] if there are none."""
        self._failed: Job | None = None
        self._failed_merge: Job | None = None

    def value(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Any:
        """Wait until jobs on the workers have merged the results of all groups, and return it.

        ``timeout_s`` is the time limit for all jobs, in seconds; None: no limit.
        ``server_timeout_s`` is the time limit of each request to the server, in seconds.

        Raises:
            InvalidJobError: the map has no ``reduce``, or the dataset has no groups.
            JobFailedError: a job that merges is FAILED, also because a job of the map is FAILED.
            JobTimeoutError: the jobs did not end in time, or the server did not reply.
        """
        if self._failed_merge is not None:
            raise JobFailedError(self._failed_merge)
        if not self._value:
            if self.merged is None:
                raise InvalidJobError(
                    "there is nothing to merge: the map has no reduce=, or the dataset has no group"
                )
            job = self.merged.next_result(timeout_s, server_timeout_s=server_timeout_s)
            if job is None:
                raise JobTimeoutError(
                    f"the results were not merged within {timeout_s} s; call value() again to wait"
                )
            if job.state is JobState.FAILED:
                self._failed_merge = job
                raise JobFailedError(job)
            self._value = [job.result]
        return self._value[0]

    def partials(
        self,
        *,
        every_s: float = PARTIALS_EVERY_S,
        timeout_s: float | None = None,
        server_timeout_s: float | None = TIMEOUT_S,
    ) -> Iterator[PartialResult]:
        """Yield the merged results of the groups that have ended, each time more of them.

        The last partial result covers all groups. This process calls ``reduce`` for the partial
        results.

        Args:
            every_s: the shortest time between two partial results, in seconds. The first one comes
                when the first job has ended.
            timeout_s: the time limit for all jobs, in seconds; None: no limit.
            server_timeout_s: the time limit of each request to the server, in seconds.

        Raises:
            InvalidJobError: the map has no ``reduce``.
            JobFailedError: a job is FAILED.
            JobTimeoutError: not all jobs ended in time, or the server did not reply.
            FunctionNotFoundError: this process cannot import ``reduce``.
        """
        merge = self._merge()
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        next_at = 0.0
        has_all = not (self.batch.outstanding or self._arrived or self._failed)
        if has_all and self._merged:
            yield self._partial()
        while self.batch.outstanding or self._arrived or self._failed:
            self._wait(next_at if self._arrived else ends_at, server_timeout_s)
            is_due = not self.batch.outstanding or time.monotonic() >= next_at
            if self._arrived and is_due:
                self._merged = [merge([*self._merged, *self._arrived])]
                self._arrived.clear()
                yield self._partial()
                next_at = time.monotonic() + every_s
            elif not self._arrived and ends_at is not None and time.monotonic() >= ends_at:
                raise JobTimeoutError(
                    f"{self.batch.outstanding} of {len(self.batch.names)} jobs did not finish"
                    f" within {timeout_s} s; call partials() again to wait for the other jobs"
                )

    def _wait(self, until: float | None, server_timeout_s: float | None) -> None:
        """Wait for a job's result until a time of the monotonic clock; None: without a limit."""
        wait_s = None if until is None else max(0.0, until - time.monotonic())
        if self._failed is None and self.batch.outstanding:
            job = self.batch.next_result(wait_s, server_timeout_s=server_timeout_s)
            if job is not None and job.state is JobState.FAILED:
                self._failed = job
            elif job is not None:
                self._arrived.append(job.result)
                self._covered += self._groups[job.name]
        if self._failed is not None:
            raise JobFailedError(self._failed)

    def _merge(self) -> Merge:
        if self._reduce is None:
            raise InvalidJobError("the map has no reduce=, so its results cannot be merged")
        return load_function(self._reduce, TASKS) if isinstance(self._reduce, str) else self._reduce

    def _partial(self) -> PartialResult:
        return PartialResult(self._merged[0], share_of(self._covered, self.dataset.groups))


def submit_map(
    submit: Callable[..., Batch],
    check: Callable[[Sequence[str]], None],
    dataset: Dataset,
    requests: Sequence[JobRequest],
    reduce: str | Callable[..., Any] | None,
    name: str | None,
    attributes: Mapping[str, Any],
) -> MapResult:
    """Submit the requests for the groups of a dataset, and the jobs that merge their results.

    Args:
        submit: submits a batch (`Dispatcher.submit_batch`); it has one argument more, ``room``, the
            number of jobs that the queue must have room for.
        check: checks the names of the batches of the jobs that merge, before anything is submitted.
        dataset: the dataset.
        requests: the request for each group.
        reduce: the function that merges results, or its name; None: no jobs merge results.
        name: the name of the batch; None: a random name.
        attributes: the attributes of the requests for the jobs that merge.
    """
    function = None if reduce is None else task_name(reduce)
    name = name or uuid.uuid4().hex[:16]
    if function is None or not requests:
        return MapResult(submit(requests, name=name), dataset, reduce)
    merging = [one for level in batch_names(len(requests), name) for one in level]
    check(merging)
    batch = submit(requests, name=name, room=len(requests) + len(merging))
    inputs = [
        Input(submission.name, request.key)
        for submission, request in zip(batch.submissions, requests, strict=True)
    ]
    # The queue has room for all jobs: only other programs can have used it meanwhile.
    merged = submit_reduction(partial(submit, room=0), function, inputs, name, **attributes)
    return MapResult(batch, dataset, reduce, merged)


def share_of(covered: Sequence[DatasetGroup], groups: Sequence[DatasetGroup]) -> Share:
    """Return the share of all groups that the covered groups are."""
    return Share(
        len(covered),
        len(groups),
        total([group.rows for group in covered]),
        total([group.rows for group in groups]),
        total([group.size_bytes for group in covered]),
        total([group.size_bytes for group in groups]),
    )
