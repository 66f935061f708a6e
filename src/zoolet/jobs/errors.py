"""The exceptions of the job system. Their messages say what the user can do.

This module does not import other modules of zoolet.
"""


class JobError(Exception):
    """The base class of all exceptions of the job system."""


class JobTimeoutError(JobError, TimeoutError):
    """A call ended at its deadline because the server did not reply.

    Attributes:
        is_outcome_unknown: whether a write was sent. If so, the server may have executed the write,
            or may execute it later.
    """

    def __init__(self, message: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_outcome_unknown = is_outcome_unknown


class ConnectError(JobError, ValueError):
    """The client cannot get a session with these settings; the message says what to change."""


class ForkedError(JobError):
    """The object was created before a fork; create a new object in the child process."""


class DisconnectedError(JobError):
    """The connection was closed, or the client gave up connecting; create a new connection."""


class AccessDeniedError(JobError):
    """The server refused a request; the message names the znode and the missing permission."""


class RequestRefusedError(JobError):
    """The server refused a request for a reason other than a permission or the queue's state."""


class InvalidJobError(JobError, ValueError):
    """An argument, such as a job request or a setting, is invalid; nothing was submitted."""


class UnreadableJobError(JobError):
    """A znode of a queue has an invalid value: another program wrote it."""


class JobNotFoundError(JobError):
    """The queue has no job of this name."""


class JobTakenError(JobError):
    """Another worker took the job first; take another job."""


class OwnershipLostError(JobError):
    """The worker no longer owns the job, so the worker's result or error is not recorded."""


class WorkerGoneError(OwnershipLostError):
    """The worker's ephemeral znode does not exist any more: register again with a new worker id."""


class FunctionNotFoundError(JobError):
    """A task or a loader cannot be imported, or is not callable."""


class UnknownQueueError(JobError):
    """There is no queue at this path."""


class UnknownBatchError(JobError):
    """The queue has no batch of this name."""


class BatchExistsError(JobError):
    """The queue already has a batch of this name; choose another name, or follow that batch."""


class ResultStoreError(JobError):
    """An operation of the result store failed; the message says why."""


class ResultRefusedError(ResultStoreError):
    """The result store cannot store this result; a retry does not help."""


class ExecutorError(JobError):
    """An executor failed: its process cannot be started, or its thread ended with an error."""
