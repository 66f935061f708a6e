"""Pauses of a queue: of the whole queue, of a dataset, of a task, of waiting jobs.

The queue and its datasets are paused by the znode ``control``, which all workers watch. A task is
paused by a limit of 0 attempts at a time: a worker that finds such a job moves it to deferred. Jobs
that a user selects are moved to deferred at once, where they wait for a limit of 0 that is for no
other jobs. So all workers of a queue must know limits of 0. This module imports
`zoolet.jobs.errors`, `zoolet.jobs.limits`, `zoolet.jobs.records`, `zoolet.jobs.znodes`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from zoolet.jobs.errors import JobError, UnknownLimitError, UnreadableJobError
from zoolet.jobs.limits.definitions import QueueLimits
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.job_values import is_znode_name
from zoolet.jobs.records.limits import Limit
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.edge import Znodes
from zoolet.jobs.znodes.layout import CONTROL, Layout
from zoolet.jobs.znodes.link import Watch
from zoolet.jobs.znodes.operations import Create, Operation, RefusedError, SetData

log = logging.getLogger(__name__)

_TRIES = 20
"""The tries of a change. A refusal means that another program changed the value first."""
_SHOWN_CHARACTERS = 70
"""The most characters of a pause's description in the name of its limit."""
_JOBS = "paused jobs: "
_TASK = "paused task: "


class PauseKind(StrEnum):
    """What a pause is for."""

    QUEUE = "queue"
    """All jobs of the queue."""
    DATASET = "dataset"
    """The jobs of a dataset."""
    TASK = "task"
    """The jobs of a task, or another limit of 0; jobs that are submitted later wait too."""
    JOBS = "jobs"
    """Jobs that a user has selected."""


class Pause(NamedTuple):
    """A pause.

    Attributes:
        kind: what the pause is for.
        name: the name of the dataset or the limit; "" for the queue.
        text: a description, for people.
        waiting: the number of jobs that wait in deferred for the end of the pause.
    """

    kind: PauseKind
    name: str
    text: str
    waiting: int


def read_control(znodes: Znodes, watch: Watch | None = None) -> Control:
    """Return the value of the znode ``control``, and set a watch; nothing is paused if invalid."""
    return _read(znodes, watch)[0]


def _read(znodes: Znodes, watch: Watch | None = None) -> tuple[Control, int | None]:
    found = znodes.get(znodes.path(CONTROL), watch)
    version = None if found is None else found.version
    try:
        return Control.decode(found.data if found else b""), version
    except UnreadableJobError as error:
        log.warning("%s", error)
        return Control(), version


def change_control(znodes: Znodes, change: Callable[[Control], Control]) -> Control:
    """Change the znode ``control``, also if other programs change it; return its value.

    Raises:
        JobError: other programs change it all the time.
    """
    path = znodes.path(CONTROL)
    for _ in range(_TRIES):
        before, version = _read(znodes)
        after = change(before)
        data = after.encode()
        write: Operation = Create(path, data) if version is None else SetData(path, data, version)
        try:
            znodes.multi([write], landed=partial(_reads, znodes, path, data))
        except RefusedError:
            continue
        return after
    raise JobError("the queue was not changed: other programs change it all the time. Try again")


def _reads(znodes: Znodes, path: str, data: bytes) -> bool:
    found = znodes.get(path)
    return found is not None and found.data == data


def set_pause(znodes: Znodes, dataset: str | None, *, paused: bool) -> Control:
    """Begin or end the pause of a dataset, or of the queue if ``dataset`` is None."""

    def change(control: Control) -> Control:
        if dataset is None:
            return replace(control, paused=paused)
        datasets = control.paused_datasets
        datasets = datasets | {dataset} if paused else datasets - {dataset}
        return replace(control, paused_datasets=datasets)

    return change_control(znodes, change)


def note_cancellation(znodes: Znodes) -> None:
    """Tell all workers to check whether they still own the jobs that they run."""
    change_control(znodes, lambda old: replace(old, cancellations=old.cancellations + 1))


class Pauses:
    """The pauses of a queue; `JobQueue.pauses`.

    Every method has ``timeout_s``, the time limit in seconds; None: no limit.
    """

    def __init__(self, layout: Layout, limits: QueueLimits) -> None:
        self._znodes = layout.znodes
        self._limits = limits

    def all(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Pause]:
        """Return the pauses of the queue."""
        with self._znodes.within(timeout_s, "list the pauses", each_request=True):
            control = read_control(self._znodes)
            found = [Pause(PauseKind.QUEUE, "", "the queue", 0)] if control.paused else []
            found += [
                Pause(PauseKind.DATASET, dataset, f"dataset {dataset}", 0)
                for dataset in sorted(control.paused_datasets)
            ]
            for limit, _, waiting in self._limits.all():
                if limit.concurrent == 0:
                    found.append(_pause_of(limit, waiting))
            return found

    def add_task(
        self, task: str, dataset: str | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> str:
        """Pause a task, for all its jobs or those of a dataset; return the name of the pause.

        Jobs that run continue. Jobs that are submitted later wait, too.

        Raises:
            InvalidJobError: the task is invalid, or the queue has too many limits.
        """
        name = task_pause_name(task, dataset)
        limit = Limit(name, concurrent=0, task=task, dataset=dataset)
        self._limits.add(limit, timeout_s=timeout_s)
        return name

    def add_jobs(self, selected: JobFilter, *, timeout_s: float | None = TIMEOUT_S) -> str:
        """Return the name of a new pause, for jobs that `Job.held_by` assigns to it.

        Raises:
            InvalidJobError: the queue has too many limits.
        """
        name = jobs_pause_name(selected)
        # No other job has this text as its limit key.
        self._limits.add(Limit(name, concurrent=0, key=name), timeout_s=timeout_s)
        return name

    def end(self, kind: PauseKind, name: str = "", *, timeout_s: float | None = TIMEOUT_S) -> None:
        """End a pause. Jobs that wait in deferred move to unowned a moment later.

        Raises:
            UnknownLimitError: there is no pause of this name.
        """
        with self._znodes.within(timeout_s, "resume", unknown="it may have been resumed"):
            if kind in {PauseKind.QUEUE, PauseKind.DATASET}:
                dataset = name if kind is PauseKind.DATASET else None
                set_pause(self._znodes, dataset, paused=False)
                return
            if not any(limit.name == name for limit in self._paused()):
                raise UnknownLimitError(f"there is no pause {name!r}: it has ended already")
            self._limits.remove(name)

    def _paused(self) -> list[Limit]:
        return [use.limit for use in self._limits.all() if use.limit.concurrent == 0]


def task_pause_name(task: str, dataset: str | None = None) -> str:
    """Return the name of the pause of a task, for all its jobs or those of a dataset."""
    return _limit_name(_TASK, JobFilter(task=task, dataset=dataset))


def jobs_pause_name(selected: JobFilter) -> str:
    """Return the name of the limit of the jobs that a filter has selected for a pause."""
    return _limit_name(_JOBS, selected)


def _limit_name(prefix: str, selected: JobFilter) -> str:
    """Return the name of a pause's limit: a description, and the id of the filter."""
    text = "".join(c if c.isprintable() and c != "/" else "_" for c in str(selected))
    name = f"{prefix}{text[:_SHOWN_CHARACTERS]} {selected.id[:8]}"
    return name if is_znode_name(name) else f"{prefix}{selected.id[:8]}"


def _pause_of(limit: Limit, waiting: int) -> Pause:
    if limit.name.startswith(_JOBS) and limit.key == limit.name:
        return Pause(PauseKind.JOBS, limit.name, limit.name.removeprefix("paused "), waiting)
    return Pause(PauseKind.TASK, limit.name, limit.text.removeprefix("paused, for "), waiting)
