"""Jobs on ZooKeeper: prioritised, bound to data, and never lost when a worker dies.

This package contains the queue (one multi moves a job from place to place), the workers, and the
dispatcher that submits jobs and returns their results. It works with any ZooKeeper server, through
zoolet.client. It may import zoolet.model and zoolet.client, kazoo (for a user's KazooClient),
click, rich, SQLAlchemy and prometheus_client, but not the server's code. ``docs/jobs.md`` is the
page for its users.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoolet.client.connecting.options import Credential
    from zoolet.client.connecting.servers import Servers
    from zoolet.client.connecting.settings import ConnectionSettings
    from zoolet.client.connecting.tls_files import TlsFiles
    from zoolet.jobs.aio.batch import AsyncBatch, AsyncMapResult
    from zoolet.jobs.aio.dispatcher import AsyncDispatcher
    from zoolet.jobs.context.current_job import CurrentJob, current_job
    from zoolet.jobs.datasets.datasets import Dataset, Datasets
    from zoolet.jobs.dispatcher.batch import Batch, BatchIncompleteError, JobFailedError
    from zoolet.jobs.dispatcher.batch_progress import BatchProgress
    from zoolet.jobs.dispatcher.dispatcher import Dispatcher
    from zoolet.jobs.dispatcher.maps import MapResult, PartialResult, Share
    from zoolet.jobs.errors import (
        AccessDeniedError,
        BatchExistsError,
        ConnectError,
        DatasetChangedError,
        DatasetError,
        DatasetExistsError,
        DisconnectedError,
        ExecutorError,
        ForkedError,
        FunctionNotFoundError,
        InvalidJobError,
        JobCancelledError,
        JobError,
        JobNotFoundError,
        JobTakenError,
        JobTimeoutError,
        LimitReachedError,
        OwnershipLostError,
        QueueFullError,
        RequestRefusedError,
        ResultStoreError,
        Retry,
        ScheduleExistsError,
        SignatureError,
        SigningKeyError,
        SoftTimeoutError,
        UnknownBatchError,
        UnknownDatasetError,
        UnknownLimitError,
        UnknownQueueError,
        UnknownScheduleError,
        UnreadableJobError,
        WorkerGoneError,
    )
    from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition
    from zoolet.jobs.history.history_store import HistoryStore
    from zoolet.jobs.history.job_history import JobHistory
    from zoolet.jobs.hooks.job_hooks import Attempt, JobHooks
    from zoolet.jobs.limits.definitions import LimitUse, QueueLimits
    from zoolet.jobs.loaders.groups import DatasetGroup, Loader
    from zoolet.jobs.overview.attempts import JobAttempt, attempt_duration_ms, attempts_of
    from zoolet.jobs.overview.batches import BatchReader, BatchView, batch_views
    from zoolet.jobs.overview.graphs import Follower, JobGraph, Node, job_graph
    from zoolet.jobs.overview.job_lists import JobList, job_lists, jobs_in
    from zoolet.jobs.overview.overview import Overview, explain_job, queue_overview
    from zoolet.jobs.overview.workers import WorkerList, WorkerView, worker_list
    from zoolet.jobs.queue.changing import (
        ChangedJobs,
        ChangeProgress,
        JobChanges,
        JobCount,
        UnfinishedChange,
    )
    from zoolet.jobs.queue.pausing import Pause, PauseKind, Pauses
    from zoolet.jobs.queue.queue import JobQueue
    from zoolet.jobs.queue.retrying import RetriedJobs
    from zoolet.jobs.queue.taking import TakeResult
    from zoolet.jobs.records.control import Control
    from zoolet.jobs.records.datasets import DatasetRecord
    from zoolet.jobs.records.dependencies import When
    from zoolet.jobs.records.failure_notes import FailureReason, JobFailure
    from zoolet.jobs.records.job import Job
    from zoolet.jobs.records.job_changes import JobChange
    from zoolet.jobs.records.job_filters import JobFilter
    from zoolet.jobs.records.job_names import JobName
    from zoolet.jobs.records.job_requests import JobRequest
    from zoolet.jobs.records.job_values import AttemptError, AttemptOutput
    from zoolet.jobs.records.limits import Limit
    from zoolet.jobs.records.progress import Progress
    from zoolet.jobs.records.schedules import (
        Missed,
        Overlap,
        RunReason,
        Schedule,
        ScheduleRun,
    )
    from zoolet.jobs.records.settings import QueueSettings
    from zoolet.jobs.records.transitions import JobState, Place
    from zoolet.jobs.results.urls import parse_store_urls
    from zoolet.jobs.schedules.schedules import ListedSchedule, Schedules
    from zoolet.jobs.submit.submission import Origin, Submission
    from zoolet.jobs.tasks.batched import BatchedTask
    from zoolet.jobs.tasks.options import SubmitOptions
    from zoolet.jobs.tasks.task import GroupTask, Task, task
    from zoolet.jobs.testing.inline_worker import JobsDoNotEndError
    from zoolet.jobs.testing.queue_tester import QueueTester
    from zoolet.jobs.worker.health import WorkerHealth
    from zoolet.jobs.worker.served_queues import WorkerQueue
    from zoolet.jobs.worker.worker import Worker
    from zoolet.jobs.znodes.deadlines import TIMEOUT_S
    from zoolet.jobs.znodes.server_clock import ServerClock
    from zoolet.model.acl import ACL
    from zoolet.model.addresses import Address

__all__ = [
    "ACL",
    "TIMEOUT_S",
    "AccessDeniedError",
    "Address",
    "AsyncBatch",
    "AsyncDispatcher",
    "AsyncMapResult",
    "Attempt",
    "AttemptError",
    "AttemptOutput",
    "Batch",
    "BatchExistsError",
    "BatchIncompleteError",
    "BatchProgress",
    "BatchReader",
    "BatchView",
    "BatchedTask",
    "ChangeProgress",
    "ChangedJobs",
    "ConnectError",
    "ConnectionSettings",
    "Control",
    "Credential",
    "CurrentJob",
    "Dataset",
    "DatasetChangedError",
    "DatasetError",
    "DatasetExistsError",
    "DatasetGroup",
    "DatasetRecord",
    "Datasets",
    "DisconnectedError",
    "Dispatcher",
    "ExecutorError",
    "FailureReason",
    "Follower",
    "ForkedError",
    "FunctionNotFoundError",
    "GroupTask",
    "HistoryEntry",
    "HistoryFilter",
    "HistoryPosition",
    "HistoryStore",
    "InvalidJobError",
    "Job",
    "JobAttempt",
    "JobCancelledError",
    "JobChange",
    "JobChanges",
    "JobCount",
    "JobError",
    "JobFailedError",
    "JobFailure",
    "JobFilter",
    "JobGraph",
    "JobHistory",
    "JobHooks",
    "JobList",
    "JobName",
    "JobNotFoundError",
    "JobQueue",
    "JobRequest",
    "JobState",
    "JobTakenError",
    "JobTimeoutError",
    "JobsDoNotEndError",
    "Limit",
    "LimitReachedError",
    "LimitUse",
    "ListedSchedule",
    "Loader",
    "MapResult",
    "Missed",
    "Node",
    "Origin",
    "Overlap",
    "Overview",
    "OwnershipLostError",
    "PartialResult",
    "Pause",
    "PauseKind",
    "Pauses",
    "Place",
    "Progress",
    "QueueFullError",
    "QueueLimits",
    "QueueSettings",
    "QueueTester",
    "RequestRefusedError",
    "ResultStoreError",
    "RetriedJobs",
    "Retry",
    "RunReason",
    "Schedule",
    "ScheduleExistsError",
    "ScheduleRun",
    "Schedules",
    "ServerClock",
    "Servers",
    "Share",
    "SignatureError",
    "SigningKeyError",
    "SoftTimeoutError",
    "Submission",
    "SubmitOptions",
    "TakeResult",
    "Task",
    "TlsFiles",
    "UnfinishedChange",
    "UnknownBatchError",
    "UnknownDatasetError",
    "UnknownLimitError",
    "UnknownQueueError",
    "UnknownScheduleError",
    "UnreadableJobError",
    "When",
    "Worker",
    "WorkerGoneError",
    "WorkerHealth",
    "WorkerList",
    "WorkerQueue",
    "WorkerView",
    "attempt_duration_ms",
    "attempts_of",
    "batch_views",
    "current_job",
    "explain_job",
    "job_graph",
    "job_lists",
    "jobs_in",
    "parse_store_urls",
    "queue_overview",
    "task",
    "worker_list",
]

_MODULES = {
    "ACL": "zoolet.model.acl",
    "AccessDeniedError": "zoolet.jobs.errors",
    "Address": "zoolet.model.addresses",
    "AsyncBatch": "zoolet.jobs.aio.batch",
    "AsyncDispatcher": "zoolet.jobs.aio.dispatcher",
    "AsyncMapResult": "zoolet.jobs.aio.batch",
    "Attempt": "zoolet.jobs.hooks.job_hooks",
    "AttemptError": "zoolet.jobs.records.job_values",
    "AttemptOutput": "zoolet.jobs.records.job_values",
    "Batch": "zoolet.jobs.dispatcher.batch",
    "BatchExistsError": "zoolet.jobs.errors",
    "BatchIncompleteError": "zoolet.jobs.dispatcher.batch",
    "BatchProgress": "zoolet.jobs.dispatcher.batch_progress",
    "BatchReader": "zoolet.jobs.overview.batches",
    "BatchView": "zoolet.jobs.overview.batches",
    "BatchedTask": "zoolet.jobs.tasks.batched",
    "ChangeProgress": "zoolet.jobs.queue.changing",
    "ChangedJobs": "zoolet.jobs.queue.changing",
    "ConnectError": "zoolet.jobs.errors",
    "ConnectionSettings": "zoolet.client.connecting.settings",
    "Control": "zoolet.jobs.records.control",
    "Credential": "zoolet.client.connecting.options",
    "CurrentJob": "zoolet.jobs.context.current_job",
    "Dataset": "zoolet.jobs.datasets.datasets",
    "DatasetChangedError": "zoolet.jobs.errors",
    "DatasetError": "zoolet.jobs.errors",
    "DatasetExistsError": "zoolet.jobs.errors",
    "DatasetGroup": "zoolet.jobs.loaders.groups",
    "DatasetRecord": "zoolet.jobs.records.datasets",
    "Datasets": "zoolet.jobs.datasets.datasets",
    "DisconnectedError": "zoolet.jobs.errors",
    "Dispatcher": "zoolet.jobs.dispatcher.dispatcher",
    "ExecutorError": "zoolet.jobs.errors",
    "FailureReason": "zoolet.jobs.records.failure_notes",
    "Follower": "zoolet.jobs.overview.graphs",
    "ForkedError": "zoolet.jobs.errors",
    "FunctionNotFoundError": "zoolet.jobs.errors",
    "GroupTask": "zoolet.jobs.tasks.task",
    "HistoryEntry": "zoolet.jobs.history.entries",
    "HistoryFilter": "zoolet.jobs.history.entries",
    "HistoryPosition": "zoolet.jobs.history.entries",
    "HistoryStore": "zoolet.jobs.history.history_store",
    "InvalidJobError": "zoolet.jobs.errors",
    "Job": "zoolet.jobs.records.job",
    "JobAttempt": "zoolet.jobs.overview.attempts",
    "JobCancelledError": "zoolet.jobs.errors",
    "JobChange": "zoolet.jobs.records.job_changes",
    "JobChanges": "zoolet.jobs.queue.changing",
    "JobCount": "zoolet.jobs.queue.changing",
    "JobError": "zoolet.jobs.errors",
    "JobFailedError": "zoolet.jobs.dispatcher.batch",
    "JobFailure": "zoolet.jobs.records.failure_notes",
    "JobFilter": "zoolet.jobs.records.job_filters",
    "JobGraph": "zoolet.jobs.overview.graphs",
    "JobHistory": "zoolet.jobs.history.job_history",
    "JobHooks": "zoolet.jobs.hooks.job_hooks",
    "JobList": "zoolet.jobs.overview.job_lists",
    "JobName": "zoolet.jobs.records.job_names",
    "JobNotFoundError": "zoolet.jobs.errors",
    "JobQueue": "zoolet.jobs.queue.queue",
    "JobRequest": "zoolet.jobs.records.job_requests",
    "JobState": "zoolet.jobs.records.transitions",
    "JobTakenError": "zoolet.jobs.errors",
    "JobTimeoutError": "zoolet.jobs.errors",
    "JobsDoNotEndError": "zoolet.jobs.testing.inline_worker",
    "Limit": "zoolet.jobs.records.limits",
    "LimitReachedError": "zoolet.jobs.errors",
    "LimitUse": "zoolet.jobs.limits.definitions",
    "ListedSchedule": "zoolet.jobs.schedules.schedules",
    "Loader": "zoolet.jobs.loaders.groups",
    "MapResult": "zoolet.jobs.dispatcher.maps",
    "Missed": "zoolet.jobs.records.schedules",
    "Node": "zoolet.jobs.overview.graphs",
    "Origin": "zoolet.jobs.submit.submission",
    "Overlap": "zoolet.jobs.records.schedules",
    "Overview": "zoolet.jobs.overview.overview",
    "OwnershipLostError": "zoolet.jobs.errors",
    "PartialResult": "zoolet.jobs.dispatcher.maps",
    "Pause": "zoolet.jobs.queue.pausing",
    "PauseKind": "zoolet.jobs.queue.pausing",
    "Pauses": "zoolet.jobs.queue.pausing",
    "Place": "zoolet.jobs.records.transitions",
    "Progress": "zoolet.jobs.records.progress",
    "QueueFullError": "zoolet.jobs.errors",
    "QueueLimits": "zoolet.jobs.limits.definitions",
    "QueueSettings": "zoolet.jobs.records.settings",
    "QueueTester": "zoolet.jobs.testing.queue_tester",
    "RequestRefusedError": "zoolet.jobs.errors",
    "ResultStoreError": "zoolet.jobs.errors",
    "RetriedJobs": "zoolet.jobs.queue.retrying",
    "Retry": "zoolet.jobs.errors",
    "RunReason": "zoolet.jobs.records.schedules",
    "Schedule": "zoolet.jobs.records.schedules",
    "ScheduleExistsError": "zoolet.jobs.errors",
    "ScheduleRun": "zoolet.jobs.records.schedules",
    "Schedules": "zoolet.jobs.schedules.schedules",
    "ServerClock": "zoolet.jobs.znodes.server_clock",
    "Servers": "zoolet.client.connecting.servers",
    "Share": "zoolet.jobs.dispatcher.maps",
    "SignatureError": "zoolet.jobs.errors",
    "SigningKeyError": "zoolet.jobs.errors",
    "SoftTimeoutError": "zoolet.jobs.errors",
    "Submission": "zoolet.jobs.submit.submission",
    "SubmitOptions": "zoolet.jobs.tasks.options",
    "TIMEOUT_S": "zoolet.jobs.znodes.deadlines",
    "TakeResult": "zoolet.jobs.queue.taking",
    "Task": "zoolet.jobs.tasks.task",
    "TlsFiles": "zoolet.client.connecting.tls_files",
    "UnfinishedChange": "zoolet.jobs.queue.changing",
    "UnknownBatchError": "zoolet.jobs.errors",
    "UnknownDatasetError": "zoolet.jobs.errors",
    "UnknownLimitError": "zoolet.jobs.errors",
    "UnknownQueueError": "zoolet.jobs.errors",
    "UnknownScheduleError": "zoolet.jobs.errors",
    "UnreadableJobError": "zoolet.jobs.errors",
    "When": "zoolet.jobs.records.dependencies",
    "Worker": "zoolet.jobs.worker.worker",
    "WorkerGoneError": "zoolet.jobs.errors",
    "WorkerHealth": "zoolet.jobs.worker.health",
    "WorkerList": "zoolet.jobs.overview.workers",
    "WorkerQueue": "zoolet.jobs.worker.served_queues",
    "attempt_duration_ms": "zoolet.jobs.overview.attempts",
    "attempts_of": "zoolet.jobs.overview.attempts",
    "WorkerView": "zoolet.jobs.overview.workers",
    "batch_views": "zoolet.jobs.overview.batches",
    "current_job": "zoolet.jobs.context.current_job",
    "explain_job": "zoolet.jobs.overview.overview",
    "job_graph": "zoolet.jobs.overview.graphs",
    "job_lists": "zoolet.jobs.overview.job_lists",
    "jobs_in": "zoolet.jobs.overview.job_lists",
    "parse_store_urls": "zoolet.jobs.results.urls",
    "queue_overview": "zoolet.jobs.overview.overview",
    "task": "zoolet.jobs.tasks.task",
    "worker_list": "zoolet.jobs.overview.workers",
}
"""The module of each public name. The module is imported when the name is first used (PEP 562).

An executor's process uses modules of this package, but none of these names. Because it does not
import the client and the database library, it starts after 0.10 s of processor time, not 0.25 s.
"""

if not TYPE_CHECKING:  # a type checker must not assume that any other name exists

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
