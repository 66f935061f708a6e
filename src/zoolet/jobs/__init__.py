"""The job system: jobs that are never lost, run where their data is.

Owns the layout of a queue in ZooKeeper, the moves of a job in it, the worker that takes jobs and
the dispatcher that submits them. Everything goes through kazoo, so that it works on zoolet's server
and on any Apache ZooKeeper. Imports ``model`` and kazoo, never the server.
"""

from zoolet.jobs.dispatcher import Batch, Dispatcher, JobFailedError, Progress
from zoolet.jobs.errors import InvalidJobError, JobError, OwnershipLostError, TaskError
from zoolet.jobs.queue import JobQueue, OwnedJob, Submitted
from zoolet.jobs.records import Attempt, Job, JobRequest, JobState
from zoolet.jobs.worker import Worker

__all__ = [
    "Attempt",
    "Batch",
    "Dispatcher",
    "InvalidJobError",
    "Job",
    "JobError",
    "JobFailedError",
    "JobQueue",
    "JobRequest",
    "JobState",
    "OwnedJob",
    "OwnershipLostError",
    "Progress",
    "Submitted",
    "TaskError",
    "Worker",
]
