"""The health of a worker, for service managers and probes.

A worker is *live* unless only a restart can help it. A worker that has no server is live: it waits
for the server, and a restart would not help. A worker is *ready* if it can take jobs.

This module sends no requests to a server, and imports nothing of zoolet.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

ADDRESS = "127.0.0.1"
"""The address on which the health is served if no other one is given."""
LOOK_LIMIT_S = 60.0
"""If a connected worker has not looked for jobs for this time, in seconds, it is not live. A worker
looks each second, unless it waits for a reply of its server."""


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The health of a worker.

    Attributes:
        state: ``starting``, ``ready``, ``not ready``, ``stopping``, ``ended`` or ``failed``.
        is_live: whether the worker works, or waits for its server.
        is_ready: whether the worker can take jobs.
        reason: why the worker is not live or not ready; "" if it is ready.
        worker: the id of the worker; "" before its registration.
        executors: the number of executors.
        ready_executors: the number of executors that are ready.
        jobs_in_hand: the number of jobs that the worker has.
        reloads: the number of times that the worker loaded new code, or could not load it.
        queues: for the path of each queue ``served``, or the reason why the worker does not serve
            the queue now; {} before the start.
    """

    state: str
    is_live: bool
    is_ready: bool
    reason: str = ""
    worker: str = ""
    executors: int = 0
    ready_executors: int = 0
    jobs_in_hand: int = 0
    reloads: int = 0
    queues: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def why_not_ready(
    *, is_connected: bool, is_registered: bool, executors: int, ready_executors: int
) -> str:
    """Return why a running worker cannot take jobs; "" if it can."""
    if not is_connected:
        return "the worker has no connection to a ZooKeeper server"
    if not is_registered:
        return "the worker is not registered in its queue"
    if not ready_executors:
        return f"none of {executors} executors is ready"
    return ""


def why_not_live(*, is_connected: bool, idle_s: float) -> str:
    """Return why a running worker is not live; "" if it is live.

    ``idle_s`` is the time since the worker has last looked for jobs, in seconds.
    """
    if is_connected and idle_s > LOOK_LIMIT_S:
        return f"the worker has not looked for jobs for {idle_s:.0f} s, although it is connected"
    return ""
