"""The queues that a worker serves, as its user names them, and as its parts know them.

This module sends no requests to a server. It imports `zoolet.jobs.errors` and `zoolet.model`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from zoolet.jobs.errors import InvalidJobError
from zoolet.model import paths

QUEUES_MOST: Final = 32
"""The most queues of a worker. Each queue has three threads of its own."""
WEIGHT_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class WorkerQueue:
    """How a worker with several queues serves one of them.

    Attributes:
        weight: the queue's share of the executors, compared with the weights of the worker's other
            queues that have waiting jobs: 1 to 1000.
        loader: the name of the function that loads a group of this queue's data; None: the loader
            of the worker.
    """

    weight: int = 1
    loader: str | None = None


@dataclass(frozen=True, slots=True)
class ServedQueue:
    """One queue of a worker.

    Attributes:
        root: the path of the queue's root.
        path: the path as the user gave it, without the chroot of the connection.
        tag: what executors put in front of the names of the queue's jobs and datasets
            (`zoolet.jobs.execution.work_names`).
        number: the number of the queue in its worker, from 0.
        weight: see `WorkerQueue`.
        has_loader: whether there is a loader for the queue's jobs without a source.
    """

    root: str
    path: str
    tag: str = ""
    number: int = 0
    weight: int = 1
    has_loader: bool = False


def options_by_root(
    root: str, queues: Mapping[str, int | WorkerQueue] | None
) -> dict[str, WorkerQueue]:
    """Return the options of each queue of a worker, from the arguments of `zoolet.jobs.Worker`.

    Raises:
        InvalidJobError: a weight or the number of queues is out of range, a path is not valid, or
            both arguments name queues.
    """
    if queues is None:
        return {root: WorkerQueue()}
    if root != paths.ROOT:
        raise InvalidJobError("give either the path of one queue or queues={path: weight, ...}")
    if not 1 <= len(queues) <= QUEUES_MOST:
        raise InvalidJobError(
            f"a worker has 1 to {QUEUES_MOST} queues, not {len(queues)}: start further workers for"
            " further queues"
        )
    found: dict[str, WorkerQueue] = {}
    for path, wanted in queues.items():
        if (reason := paths.reason_invalid(path)) is not None:
            raise InvalidJobError(f"{path!r} is not a valid path of a queue: {reason}")
        options = wanted if isinstance(wanted, WorkerQueue) else WorkerQueue(wanted)
        if type(options.weight) is not int or not 1 <= options.weight <= WEIGHT_MOST:
            raise InvalidJobError(
                f"the weight {options.weight!r} of the queue {path} is not a whole number from 1 to"
                f" {WEIGHT_MOST}"
            )
        found[path] = options
    return found


def served_queues(
    options: Mapping[str, WorkerQueue],
    loader: str | None,
    root_of: Callable[[str], str] = lambda path: path,
) -> tuple[ServedQueue, ...]:
    """Return the queues of a worker.

    Args:
        options: the options of each queue, by its path as the user gave it.
        loader: the loader of the worker.
        root_of: returns the path with the chroot of the connection before it.
    """
    is_alone = len(options) == 1
    return tuple(
        ServedQueue(
            root_of(path),
            path,
            "" if is_alone else f"{number}/",
            number,
            one.weight,
            (one.loader or loader) is not None,
        )
        for number, (path, one) in enumerate(options.items())
    )
