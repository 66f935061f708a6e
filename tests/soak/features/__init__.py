"""The features of the job system in the soak test: each has a module with users and invariants.

For a new feature, write a module with a subclass of `tests.soak.features.base.Feature`, and add it
to `all_features`. If it needs tasks or hooks, add them to `tests.soak.feature_tasks`.
"""

from tests.soak.features.asyncio_users import AsyncioUsers
from tests.soak.features.attempts import Attempts
from tests.soak.features.base import Feature, Stage
from tests.soak.features.concurrency import AsyncTasks, BatchedTasks
from tests.soak.features.datasets import MapsOfDatasets
from tests.soak.features.failures import FailureHooks
from tests.soak.features.graphs import Graphs
from tests.soak.features.hooks import HooksAndSpans
from tests.soak.features.limits import Limits
from tests.soak.features.queue_length import QueueLength
from tests.soak.features.removal import HistoryOfRemoved
from tests.soak.features.retries import RetriedSelections
from tests.soak.features.schedules import Schedules
from tests.soak.features.several_queues import SeveralQueues
from tests.soak.features.workers import LongRunningWorkers


def all_features(stage: Stage) -> list[Feature]:
    """Return all features; the last one removes all jobs when it settles."""
    kinds: tuple[type[Feature], ...] = (
        Attempts,
        AsyncTasks,
        BatchedTasks,
        MapsOfDatasets,
        Schedules,
        Graphs,
        Limits,
        QueueLength,
        RetriedSelections,
        LongRunningWorkers,
        HooksAndSpans,
        AsyncioUsers,
        FailureHooks,
        SeveralQueues,
        HistoryOfRemoved,
    )
    return [kind(stage) for kind in kinds]
