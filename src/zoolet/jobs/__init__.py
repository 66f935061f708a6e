"""Jobs on ZooKeeper: prioritised, bound to data, and never lost when a worker dies.

Owns the queue (every move of a job is one multi), workers, and the dispatcher that submits jobs
and returns their results. It runs on any ZooKeeper through kazoo; it may import zoolet.model,
kazoo, click and rich, and never a server's code. ``docs/jobs.md`` is for its users.
"""

from zoolet.jobs.dispatcher import Batch, Dispatcher, JobFailedError
from zoolet.jobs.errors import (
    FunctionNotFoundError,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobTakenError,
    OwnershipLostError,
    UnreadableJobError,
    WorkerGoneError,
)
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import AttemptError, Job, JobRequest, JobState
from zoolet.jobs.submission import Origin, Submission
from zoolet.jobs.worker import Worker

__all__ = [
    "AttemptError",
    "Batch",
    "Dispatcher",
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
    "Origin",
    "OwnershipLostError",
    "Submission",
    "UnreadableJobError",
    "Worker",
    "WorkerGoneError",
]
