"""The transitions of jobs: the events, the places and states, and the operations of each multi.

`TRANSITIONS` is the table of all transitions. `zoolet.jobs.queue.moves` takes the operations of
each move from this table, and docs/jobs.md shows the table.

This module imports no other module of zoolet.
"""

from enum import Enum, StrEnum
from typing import Final, NamedTuple


class JobState(StrEnum):
    """The state of a job."""

    PENDING = "PENDING"
    """The job waits in unowned, or in deferred if it cannot start yet."""
    STAGING = "STAGING"
    """A worker owns the job and loads its data."""
    RUNNING = "RUNNING"
    """A worker owns the job and runs its task."""
    SUCCESSFUL = "SUCCESSFUL"
    """The job is in done, with its result."""
    FAILED = "FAILED"
    """The job is in done, with the errors of all attempts."""


class Place(StrEnum):
    """The parent znode of a job. A job is below exactly one of these znodes at every instant."""

    DEFERRED = "deferred"
    """Jobs that cannot start yet."""
    UNOWNED = "unowned"
    """Jobs that a worker can take."""
    OWNED = "owned"
    """Jobs that a worker owns."""
    DONE = "done"
    """Jobs that have ended."""


STATES_IN: Final = {
    Place.DEFERRED: (JobState.PENDING,),
    Place.UNOWNED: (JobState.PENDING,),
    Place.OWNED: (JobState.STAGING, JobState.RUNNING),
    Place.DONE: (JobState.SUCCESSFUL, JobState.FAILED),
}
"""The states that a job can have in a place."""


class Event(StrEnum):
    """An event that changes a job; docs/jobs.md shows the values as descriptions."""

    SUBMIT = "the job is submitted"
    DEFER = "a worker finds that the job cannot start yet"
    RELEASE = "the job's time comes, its limit has room, or the batch that it waits for ends"
    TAKE = "a worker takes the job"
    LOAD = "the job's data is loaded"
    START = "the task starts"
    PROGRESS = "the task reports its progress"
    SUCCEED = "the task returns"
    FAIL = "an attempt fails"
    NO_TASK = "the task cannot be imported"
    GIVE_BACK = "the worker gives the job back"
    LOSE_WORKER = "the worker's session ends"
    EXPIRE = "the job expires"
    REFUSE = "a worker finds no valid signature"
    SKIP = "the condition of its batch cannot become true"
    CANCEL = "the job is cancelled"
    UNREADABLE = "the job's value is found to be invalid"
    RETRY = "the job is retried"


class Step(Enum):
    """An operation of the multi that moves a job; docs/jobs.md shows the values as descriptions."""

    CHECK_WORKER = "check the worker"
    """Refuse the multi unless the worker's ephemeral exists."""
    FREE_NAME = "delete the reservation of the name"
    WRITE_KEY = "create or replace the key"
    SET = "set"
    """Set the data of the job's znode, if it has the version that was read."""
    DELETE = "delete"
    """Delete the job's znode, if it has the version that was read."""
    LEAVE_INDEX = "delete the index entry"
    """The index is that of deferred jobs (`zoolet.jobs.znodes.deferred_index`)."""
    CLAIM = "claim the limits"
    """For each limit per second of the job, set the time of the next start; for each other limit of
    the job, create a slot. A job without limits has no such operations."""
    FREE = "delete the slots"
    """The slots of limits that the job holds."""
    CREATE = "create"
    """Create the job's znode in its next place."""
    ENTER_INDEX = "create the index entry"
    APPEND_TO_LOG = "append to the batch's log"
    """The multi has this operation only if the job belongs to a batch."""
    NOTE_FAILURE = "note the failure"
    """For the hooks of workers; the multi has this operation only if a worker has had such hooks
    (`zoolet.jobs.znodes.failure_log`)."""


class Transition(NamedTuple):
    """A row of the table.

    Attributes:
        event: the event.
        place: the place of the job before the event; None: the job is not in the queue.
        states: the possible states of the job before the event; () if the job is new or its
            value is invalid.
        next_place: the place of the job after the event.
        next_state: the state of the job after the event.
        steps: the operations of the multi, in order; CREATE writes to ``next_place``, SET and
            DELETE write to ``place``.
    """

    event: Event
    place: Place | None
    states: tuple[JobState, ...]
    next_place: Place
    next_state: JobState
    steps: tuple[Step, ...]


_DEFERRED, _UNOWNED, _OWNED, _DONE = Place
_PENDING, _STAGING, _RUNNING, _SUCCESSFUL, _FAILED = JobState
(
    _CHECK, _UNRESERVE, _KEY, _SET, _DELETE, _LEAVE, _CLAIM, _FREE, _CREATE, _ENTER, _LOG, _NOTE,
) = Step  # fmt: skip

_NEW: tuple[JobState, ...] = ()
_ANY: tuple[JobState, ...] = ()
_WAITS = (_PENDING,)
_TAKEN = (_STAGING, _RUNNING)

_RETURN = (_CHECK, _DELETE, _FREE, _CREATE)
_RETURN_LATER = (_CHECK, _DELETE, _FREE, _CREATE, _ENTER)
_END = (_CHECK, _DELETE, _FREE, _CREATE, _LOG)
_LOST = (_DELETE, _FREE, _CREATE)
_LOST_LATER = (_DELETE, _FREE, _CREATE, _ENTER)
_LOST_END = (_DELETE, _FREE, _CREATE, _LOG)
_FAILED_END = (*_END, _NOTE)
_GONE_END = (_DELETE, _CREATE, _LOG, _NOTE)
_SKIP = (_DELETE, _LEAVE, _CREATE, _LOG, _NOTE)

TRANSITIONS: Final = (
    Transition(Event.SUBMIT, None, _NEW, _UNOWNED, _PENDING, (_KEY, _CREATE)),
    Transition(Event.SUBMIT, None, _NEW, _DEFERRED, _PENDING, (_KEY, _UNRESERVE, _CREATE, _ENTER)),
    Transition(Event.RELEASE, _DEFERRED, _WAITS, _UNOWNED, _PENDING, (_DELETE, _LEAVE, _CREATE)),
    Transition(Event.RELEASE, _DEFERRED, _WAITS, _DEFERRED, _PENDING, (_SET, _LEAVE, _ENTER)),
    Transition(Event.TAKE, _UNOWNED, _WAITS, _OWNED, _STAGING, (_CHECK, _DELETE, _CLAIM, _CREATE)),
    Transition(Event.DEFER, _UNOWNED, _WAITS, _DEFERRED, _PENDING, (_DELETE, _CREATE, _ENTER)),
    Transition(Event.DEFER, _UNOWNED, _WAITS, _UNOWNED, _PENDING, (_DELETE, _CREATE)),
    Transition(Event.EXPIRE, _DEFERRED, _WAITS, _DONE, _FAILED, _SKIP),
    Transition(Event.EXPIRE, _UNOWNED, _WAITS, _DONE, _FAILED, _GONE_END),
    Transition(Event.REFUSE, _UNOWNED, _WAITS, _DONE, _FAILED, _GONE_END),
    Transition(Event.LOAD, _OWNED, _TAKEN, _OWNED, _STAGING, (_CHECK, _SET)),
    Transition(Event.START, _OWNED, _TAKEN, _OWNED, _RUNNING, (_CHECK, _SET)),
    Transition(Event.PROGRESS, _OWNED, (_RUNNING,), _OWNED, _RUNNING, (_CHECK, _SET)),
    Transition(Event.SUCCEED, _OWNED, _TAKEN, _DONE, _SUCCESSFUL, _END),
    Transition(Event.FAIL, _OWNED, _TAKEN, _UNOWNED, _PENDING, _RETURN),
    Transition(Event.FAIL, _OWNED, _TAKEN, _DEFERRED, _PENDING, _RETURN_LATER),
    Transition(Event.FAIL, _OWNED, _TAKEN, _DONE, _FAILED, _FAILED_END),
    Transition(Event.NO_TASK, _OWNED, _TAKEN, _DEFERRED, _PENDING, _RETURN_LATER),
    Transition(Event.NO_TASK, _OWNED, _TAKEN, _DONE, _FAILED, _FAILED_END),
    Transition(Event.GIVE_BACK, _OWNED, _TAKEN, _UNOWNED, _PENDING, _RETURN),
    Transition(Event.LOSE_WORKER, _OWNED, _TAKEN, _UNOWNED, _PENDING, _LOST),
    Transition(Event.LOSE_WORKER, _OWNED, (_RUNNING,), _DEFERRED, _PENDING, _LOST_LATER),
    Transition(Event.LOSE_WORKER, _OWNED, (_RUNNING,), _DONE, _FAILED, (*_LOST_END, _NOTE)),
    Transition(Event.SKIP, _DEFERRED, _WAITS, _DONE, _FAILED, _SKIP),
    Transition(Event.CANCEL, _DEFERRED, _WAITS, _DONE, _FAILED, (_DELETE, _LEAVE, _CREATE, _LOG)),
    Transition(Event.CANCEL, _UNOWNED, _WAITS, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.CANCEL, _OWNED, _TAKEN, _DONE, _FAILED, _LOST_END),
    Transition(Event.UNREADABLE, _DEFERRED, _ANY, _DONE, _FAILED, _GONE_END),
    Transition(Event.UNREADABLE, _UNOWNED, _ANY, _DONE, _FAILED, _GONE_END),
    Transition(Event.UNREADABLE, _OWNED, _ANY, _DONE, _FAILED, (*_LOST_END, _NOTE)),
    Transition(Event.RETRY, _DONE, (_FAILED,), _UNOWNED, _PENDING, (_DELETE, _CREATE)),
)

_STEPS: Final = {(row.event, row.place, row.next_place): row.steps for row in TRANSITIONS}


def steps_of(event: Event, place: Place, next_place: Place) -> tuple[Step, ...]:
    """Return the operations of the multi for an event that moves a job to ``next_place``.

    Raises:
        ValueError: the table has no such row.
    """
    try:
        return _STEPS[event, place, next_place]
    except KeyError:
        raise ValueError(f"no job goes from {place} to {next_place} when {event}") from None
