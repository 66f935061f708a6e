"""Why a job cannot be submitted, taken or finished."""


class JobError(Exception):
    """What every error of the job system is."""


class InvalidJobError(JobError, ValueError):
    """The job cannot be submitted as it is; the message says what to change."""


class OwnershipLostError(JobError):
    """The job is no longer this worker's: its result is not committed.

    It happened that the worker's session expired, and the job was given to another.
    """


class TaskError(JobError):
    """A task or loader cannot be found, or gave what is no result."""


class UnreadableJobError(JobError):
    """A znode where a job should be holds none: someone else wrote it."""
