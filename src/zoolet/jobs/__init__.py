"""Jobs on ZooKeeper: prioritised, bound to data, and never lost when a worker dies.

Owns the queue (every move of a job is one multi), workers, and the dispatcher that submits jobs
and returns their results. It runs on any ZooKeeper through kazoo; it may import zoolet.model and
zoolet.client, kazoo, click, rich, SQLAlchemy and prometheus_client, and never a server's code.
``docs/jobs.md`` is for its users.
"""

from zoolet.client.diagnosis import TlsFiles
from zoolet.client.settings import ConnectionSettings, Credential
from zoolet.jobs.batch import Batch, BatchIncompleteError, JobFailedError
from zoolet.jobs.deadlines import TIMEOUT_S
from zoolet.jobs.dispatcher import Dispatcher
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
from zoolet.jobs.jobrequests import JobRequest
from zoolet.jobs.jobvalues import AttemptError
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobState
from zoolet.jobs.settings import QueueSettings
from zoolet.jobs.submission import Origin, Submission
from zoolet.jobs.worker import Worker

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
