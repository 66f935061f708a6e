"""What can happen to a job: from which place and state to which, and with which operations.

`TRANSITIONS` is the one table of it. `zoolet.jobs.znodes.moves` takes the operations of each move
from it, and docs/jobs.md shows it.

Imports nothing.
"""

from enum import Enum, StrEnum
from typing import Final, NamedTuple


class JobState(StrEnum):
    """Where a job is in its life."""

    PENDING = "PENDING"
    """It waits: in unowned, or in deferred if it may not start yet."""
    STAGING = "STAGING"
    """A worker owns it and loads its data."""
    RUNNING = "RUNNING"
    """A worker owns it and runs its task."""
    SUCCESSFUL = "SUCCESSFUL"
    """It is in done, with its result."""
    FAILED = "FAILED"
    """It is in done, with the error of every attempt."""


class Place(StrEnum):
    """The znode below which a job is. A job is below exactly one of them at every instant."""

    DEFERRED = "deferred"
    """It may not start yet."""
    UNOWNED = "unowned"
    """A worker may take it."""
    OWNED = "owned"
    """It belongs to a worker."""
    DONE = "done"
    """It has ended."""


STATES_IN: Final = {
    Place.DEFERRED: (JobState.PENDING,),
    Place.UNOWNED: (JobState.PENDING,),
    Place.OWNED: (JobState.STAGING, JobState.RUNNING),
    Place.DONE: (JobState.SUCCESSFUL, JobState.FAILED),
}
"""The states that a job can have in a place."""


class Event(StrEnum):
    """What happens to a job; the values are the words of docs/jobs.md."""

    SUBMIT = "it is submitted"
    DEFER = "a worker finds that it may not start yet"
    RELEASE = "its time comes, or the batch before its own is done"
    TAKE = "a worker takes it"
    LOAD = "its data is loaded"
    START = "its task starts"
    SUCCEED = "its task returns"
    FAIL = "an attempt fails"
    NO_TASK = "its task cannot be imported"
    GIVE_BACK = "its worker gives it back"
    LOSE_WORKER = "its worker's session ends"
    EXPIRE = "it expires"
    CANCEL = "it is cancelled"
    UNREADABLE = "its value turns out to be no job's"
    RETRY = "it is retried"


class Step(Enum):
    """An operation of the multi that moves a job; the values are the words of docs/jobs.md."""

    CHECK_WORKER = "check the worker"
    """Refuse the multi unless the worker's ephemeral exists."""
    FREE_NAME = "delete the reservation of its name"
    WRITE_KEY = "create or replace its key"
    SET = "set"
    """At the version that was read; so is DELETE."""
    DELETE = "delete"
    LEAVE_INDEX = "delete its entry"
    """In the index of deferred jobs (`zoolet.jobs.znodes.deferred_index`)."""
    CREATE = "create"
    ENTER_INDEX = "create its entry"
    APPEND_TO_LOG = "append to the batch's log"
    """If the job belongs to a batch."""


class Transition(NamedTuple):
    """A row of the table.

    Attributes:
        event: what happens to the job.
        place: where it was; None: not in the queue.
        states: the states that it may have been in; none: its value cannot be read.
        next_place: where it is after the event.
        next_state: its state there.
        steps: the operations of the multi, in order; CREATE is in ``next_place``, and what concerns
            the znode that is there is in ``place``.
    """

    event: Event
    place: Place | None
    states: tuple[JobState, ...]
    next_place: Place
    next_state: JobState
    steps: tuple[Step, ...]


_DEFERRED, _UNOWNED, _OWNED, _DONE = Place
_PENDING, _STAGING, _RUNNING, _SUCCESSFUL, _FAILED = JobState
_CHECK, _FREE, _KEY, _SET, _DELETE, _LEAVE, _CREATE, _ENTER, _LOG = Step

_NEW: tuple[JobState, ...] = ()
_ANY: tuple[JobState, ...] = ()
_WAITS = (_PENDING,)
_TAKEN = (_STAGING, _RUNNING)

_RETURN = (_CHECK, _DELETE, _CREATE)
_RETURN_LATER = (_CHECK, _DELETE, _CREATE, _ENTER)
_END = (_CHECK, _DELETE, _CREATE, _LOG)

TRANSITIONS: Final = (
    Transition(Event.SUBMIT, None, _NEW, _UNOWNED, _PENDING, (_KEY, _CREATE)),
    Transition(Event.SUBMIT, None, _NEW, _DEFERRED, _PENDING, (_KEY, _FREE, _CREATE, _ENTER)),
    Transition(Event.RELEASE, _DEFERRED, _WAITS, _UNOWNED, _PENDING, (_DELETE, _LEAVE, _CREATE)),
    Transition(Event.RELEASE, _DEFERRED, _WAITS, _DEFERRED, _PENDING, (_SET, _LEAVE, _ENTER)),
    Transition(Event.TAKE, _UNOWNED, _WAITS, _OWNED, _STAGING, (_CHECK, _DELETE, _CREATE)),
    Transition(Event.DEFER, _UNOWNED, _WAITS, _DEFERRED, _PENDING, (_DELETE, _CREATE, _ENTER)),
    Transition(Event.DEFER, _UNOWNED, _WAITS, _UNOWNED, _PENDING, (_DELETE, _CREATE)),
    Transition(Event.EXPIRE, _UNOWNED, _WAITS, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.LOAD, _OWNED, _TAKEN, _OWNED, _STAGING, (_CHECK, _SET)),
    Transition(Event.START, _OWNED, _TAKEN, _OWNED, _RUNNING, (_CHECK, _SET)),
    Transition(Event.SUCCEED, _OWNED, _TAKEN, _DONE, _SUCCESSFUL, _END),
    Transition(Event.FAIL, _OWNED, _TAKEN, _UNOWNED, _PENDING, _RETURN),
    Transition(Event.FAIL, _OWNED, _TAKEN, _DEFERRED, _PENDING, _RETURN_LATER),
    Transition(Event.FAIL, _OWNED, _TAKEN, _DONE, _FAILED, _END),
    Transition(Event.NO_TASK, _OWNED, _TAKEN, _DEFERRED, _PENDING, _RETURN_LATER),
    Transition(Event.NO_TASK, _OWNED, _TAKEN, _DONE, _FAILED, _END),
    Transition(Event.GIVE_BACK, _OWNED, _TAKEN, _UNOWNED, _PENDING, _RETURN),
    Transition(Event.LOSE_WORKER, _OWNED, _TAKEN, _UNOWNED, _PENDING, (_DELETE, _CREATE)),
    Transition(
        Event.LOSE_WORKER, _OWNED, (_RUNNING,), _DEFERRED, _PENDING, (_DELETE, _CREATE, _ENTER)
    ),
    Transition(Event.LOSE_WORKER, _OWNED, (_RUNNING,), _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.CANCEL, _DEFERRED, _WAITS, _DONE, _FAILED, (_DELETE, _LEAVE, _CREATE, _LOG)),
    Transition(Event.CANCEL, _UNOWNED, _WAITS, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.CANCEL, _OWNED, _TAKEN, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.UNREADABLE, _DEFERRED, _ANY, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.UNREADABLE, _UNOWNED, _ANY, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.UNREADABLE, _OWNED, _ANY, _DONE, _FAILED, (_DELETE, _CREATE, _LOG)),
    Transition(Event.RETRY, _DONE, (_FAILED,), _UNOWNED, _PENDING, (_DELETE, _CREATE)),
)

_STEPS: Final = {(row.event, row.place, row.next_place): row.steps for row in TRANSITIONS}


def steps_of(event: Event, place: Place, next_place: Place) -> tuple[Step, ...]:
    """Return the operations of the multi for a job that an event takes from one place to another.

    Raises:
        ValueError: the table has no such row.
    """
    try:
        return _STEPS[event, place, next_place]
    except KeyError:
        raise ValueError(f"no job goes from {place} to {next_place} because {event}") from None
