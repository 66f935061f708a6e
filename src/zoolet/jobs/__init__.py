"""Jobs on ZooKeeper: prioritised, bound to data, and never lost when a worker dies.

Owns the queue (every move of a job is one multi), workers, and the dispatcher that submits jobs
and returns their results. It runs on any ZooKeeper through kazoo; it may import zoolet.model and
zoolet.client, kazoo, click, rich, SQLAlchemy and prometheus_client, and never a server's code.
``docs/jobs.md`` is for its users.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoolet.client.diagnosis import TlsFiles
    from zoolet.client.settings import ConnectionSettings, Credential
    from zoolet.jobs.errors import (
        AccessDeniedError,
        BatchExistsError,
        ConnectError,
        DisconnectedError,
        ExecutorError,
        ForkedError,
        FunctionNotFoundError,
        InvalidJobError,
        JobError,
        JobNotFoundError,
        JobTakenError,
        JobTimeoutError,
        OwnershipLostError,
        RequestRefusedError,
        ResultStoreError,
        UnknownBatchError,
        UnknownQueueError,
        UnreadableJobError,
        WorkerGoneError,
    )
    from zoolet.jobs.records.job import Job, JobState
    from zoolet.jobs.records.job_requests import JobRequest
    from zoolet.jobs.records.job_values import AttemptError
    from zoolet.jobs.records.settings import QueueSettings
    from zoolet.jobs.submit.batch import Batch, BatchIncompleteError, JobFailedError
    from zoolet.jobs.submit.dispatcher import Dispatcher
    from zoolet.jobs.worker.worker import Worker
    from zoolet.jobs.znodes.deadlines import TIMEOUT_S
    from zoolet.jobs.znodes.queue import JobQueue
    from zoolet.jobs.znodes.submission import Origin, Submission

__all__ = [
    "TIMEOUT_S",
    "AccessDeniedError",
    "AttemptError",
    "Batch",
    "BatchExistsError",
    "BatchIncompleteError",
    "ConnectError",
    "ConnectionSettings",
    "Credential",
    "DisconnectedError",
    "Dispatcher",
    "ExecutorError",
    "ForkedError",
    "FunctionNotFoundError",
    "InvalidJobError",
    "Job",
    "JobError",
    "JobFailedError",
    "JobNotFoundError",
    "JobQueue",
    "JobRequest",
    "JobState",
    "JobTakenError",
    "JobTimeoutError",
    "Origin",
    "OwnershipLostError",
    "QueueSettings",
    "RequestRefusedError",
    "ResultStoreError",
    "Submission",
    "TlsFiles",
    "UnknownBatchError",
    "UnknownQueueError",
    "UnreadableJobError",
    "Worker",
    "WorkerGoneError",
]

_MODULES = {
    "TlsFiles": "zoolet.client.diagnosis",
    "ConnectionSettings": "zoolet.client.settings",
    "Credential": "zoolet.client.settings",
    "Batch": "zoolet.jobs.submit.batch",
    "BatchIncompleteError": "zoolet.jobs.submit.batch",
    "JobFailedError": "zoolet.jobs.submit.batch",
    "TIMEOUT_S": "zoolet.jobs.znodes.deadlines",
    "Dispatcher": "zoolet.jobs.submit.dispatcher",
    "AccessDeniedError": "zoolet.jobs.errors",
    "BatchExistsError": "zoolet.jobs.errors",
    "ConnectError": "zoolet.jobs.errors",
    "DisconnectedError": "zoolet.jobs.errors",
    "ExecutorError": "zoolet.jobs.errors",
    "ForkedError": "zoolet.jobs.errors",
    "FunctionNotFoundError": "zoolet.jobs.errors",
    "InvalidJobError": "zoolet.jobs.errors",
    "JobError": "zoolet.jobs.errors",
    "JobNotFoundError": "zoolet.jobs.errors",
    "JobTakenError": "zoolet.jobs.errors",
    "JobTimeoutError": "zoolet.jobs.errors",
    "OwnershipLostError": "zoolet.jobs.errors",
    "RequestRefusedError": "zoolet.jobs.errors",
    "ResultStoreError": "zoolet.jobs.errors",
    "UnknownBatchError": "zoolet.jobs.errors",
    "UnknownQueueError": "zoolet.jobs.errors",
    "UnreadableJobError": "zoolet.jobs.errors",
    "WorkerGoneError": "zoolet.jobs.errors",
    "JobRequest": "zoolet.jobs.records.job_requests",
    "AttemptError": "zoolet.jobs.records.job_values",
    "JobQueue": "zoolet.jobs.znodes.queue",
    "Job": "zoolet.jobs.records.job",
    "JobState": "zoolet.jobs.records.job",
    "QueueSettings": "zoolet.jobs.records.settings",
    "Origin": "zoolet.jobs.znodes.submission",
    "Submission": "zoolet.jobs.znodes.submission",
    "Worker": "zoolet.jobs.worker.worker",
}
"""Where each public name is. It is imported at its first use (PEP 562).

An executor's process runs modules of this package, and uses none of these names. Without a client
and a database it starts after 0.10 s of processor time instead of 0.25 s.
"""

if not TYPE_CHECKING:  # so a type checker knows that there are no other names

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
