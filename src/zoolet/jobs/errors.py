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


class SoftTimeoutError(JobError):
    """The soft timeout of the attempt has passed: the task should save its work and end.

    It is raised inside the task. It is no subclass of TimeoutError, so that code that repeats
    requests after a TimeoutError does not catch it.
    """


class JobCancelledError(JobError):
    """The job was cancelled, or its worker lost it: the result of this attempt is not recorded."""


class Retry(JobError):  # noqa: N818 -- a task reads: raise Retry(in_s=60)
    """A task raises this to end its attempt and to be tried again at a chosen time.

    The attempt counts as failed. If the job has no attempts left, it is FAILED.

    Args:
        reason: the text for the list of the job's errors.
        in_s: the delay before the next attempt, in seconds, up to a year. It replaces the back-off.

    Raises:
        ValueError: ``in_s`` is not a number from 0 to a year.
    """

    def __init__(self, reason: str = "", *, in_s: float = 0.0) -> None:
        if not 0 <= in_s <= _YEAR_S:
            raise ValueError(f"in_s {in_s!r} is not a number of seconds from 0 to {_YEAR_S}")
        super().__init__(reason)
        self.in_s = in_s

    def __str__(self) -> str:
        return str(self.args[0]) or "the task raised Retry"


_YEAR_S = 365 * 24 * 3600


class FunctionNotFoundError(JobError):
    """A task or a loader cannot be imported, or is not callable."""


class UnknownQueueError(JobError):
    """There is no queue at this path."""


class UnknownBatchError(JobError):
    """The queue has no batch of this name."""


class BatchExistsError(JobError):
    """The queue already has a batch of this name; choose another name, or follow that batch."""


class UnknownScheduleError(JobError):
    """The queue has no schedule of this name."""


class ScheduleExistsError(JobError):
    """The queue already has a schedule of this name; choose another name, or replace it."""


class QueueFullError(JobError):
    """The queue has as many waiting jobs as its settings allow; nothing was submitted."""


class UnknownLimitError(JobError):
    """The queue has no limit of this name."""


class LimitReachedError(JobTakenError):
    """A limit of the queue has no room for the job now; take another job."""


class ResultStoreError(JobError):
    """An operation of the result store failed; the message says why."""


class ResultRefusedError(ResultStoreError):
    """The result store cannot store this result; a retry does not help."""


class SigningKeyError(JobError):
    """The file with the keys of signatures cannot be used; the message says what to correct."""


class SignatureError(JobError):
    """A job or schedule has no valid signature; the message says why."""


class ExecutorError(JobError):
    """An executor failed: its process cannot be started, or its thread ended with an error."""


class DatasetError(JobError):
    """A dataset cannot be described or loaded; the message says why."""


class DatasetChangedError(DatasetError):
    """The data of a group has changed since the dataset was described: refresh the dataset."""


class UnknownDatasetError(DatasetError):
    """The queue has no description of a dataset of this name."""


class DatasetExistsError(DatasetError):
    """The queue already has a description of a dataset of this name: refresh or remove it."""
