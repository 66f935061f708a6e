"""Checks the number of waiting jobs of a queue before jobs are submitted.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records` and `zoolet.jobs.znodes`.
"""

from zoolet.jobs.errors import QueueFullError
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.layout import Layout


def check_room(layout: Layout, count: int) -> None:
    """Check that the queue may have ``count`` more waiting jobs (`QueueSettings`).

    Without a limit in the settings, or if ``count`` is 0, no request is sent. Jobs that another
    program submits between this check and the submission are not counted.

    Raises:
        QueueFullError: there would be more waiting jobs than the settings allow.
    """
    most = layout.settings.max_waiting_jobs
    if most is None or not count:
        return
    waiting = layout.count(Place.UNOWNED) + layout.count(Place.DEFERRED)
    if waiting + count > most:
        raise QueueFullError(
            f"the queue has {waiting} waiting jobs and may have {most}, so {count} more were not"
            " submitted: submit them again later or in smaller batches, start more workers, or"
            " raise the limit with zoolet jobs configure --max-waiting-jobs"
        )
