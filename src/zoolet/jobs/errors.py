"""What can go wrong with a job, as types whose message says what to do.

Imports nothing of zoolet.
"""


class JobError(Exception):
    """The base of every error of the job system."""


class JobTimeoutError(JobError, TimeoutError):
    """A call ended at its deadline, because the server did not answer.

    Attributes:
        is_outcome_unknown: whether a write was sent: it may have been done, or may still be done.
    """

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class ConnectError(JobError, ValueError):
    """No server can give a session with these settings; the message says what to change."""


class ForkedError(JobError):
    """The object was made before a fork; create a new one in the child process."""


class DisconnectedError(JobError):
    """The connection was closed, or the client gave up connecting; create a new one."""


class AccessDeniedError(JobError):
    """The server refused a request; the message names the znode and the missing permission."""


class RequestRefusedError(JobError):
    """The server refused a request for another reason than the state of the queue."""


class InvalidJobError(JobError, ValueError):
    """What was given cannot be a job; nothing was submitted."""


class UnreadableJobError(JobError):
    """A znode under a queue is not a job: something else wrote it."""


class JobNotFoundError(JobError):
    """No job of this name is in the queue."""


class JobTakenError(JobError):
    """Someone else took the job first; take another one."""


class OwnershipLostError(JobError):
    """The job is no longer this worker's, so what the worker did for it is not recorded."""


class WorkerGoneError(OwnershipLostError):
    """The worker's ephemeral znode is gone: register again, under a new worker id."""


class FunctionNotFoundError(JobError):
    """A task or a loader cannot be imported, or cannot be called."""


class UnknownQueueError(JobError):
    """Nothing is a queue at this path."""


class UnknownBatchError(JobError):
    """No batch of this name is in the queue."""


class BatchExistsError(JobError):
    """A batch of this name is in the queue already; choose another name, or follow that one."""


class ResultStoreError(JobError):
    """The result store did not do what was asked; the message says why."""


class ResultRefusedError(ResultStoreError):
    """The result store cannot take this result, however often it is tried."""


class ExecutorError(JobError):
    """An executor cannot work: its process cannot be started, or its thread has failed."""
