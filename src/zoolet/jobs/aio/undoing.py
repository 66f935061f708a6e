"""Removes what a cancelled call has submitted.

The jobs are cancelled and then removed, with the moves that `JobQueue.cancel` and the housekeeping
also use. So a program that dies in between leaves cancelled jobs, which can be seen and removed.
Imports `zoolet.jobs.housekeeping`, `zoolet.jobs.queue` and other packages of the job system.
"""

from collections.abc import Sequence

from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records import job_names
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.submit.entering import RESERVED
from zoolet.jobs.znodes.batch_log import batch_path, chain_path
from zoolet.jobs.znodes.layout import BATCHES
from zoolet.jobs.znodes.multis import JOBS_AT_ONCE
from zoolet.model import paths

REASON = "the program cancelled the call that submitted it"


def undo(jobs: JobQueue, results: ResultReader, created: Sequence[str]) -> None:
    """Remove the jobs, keys, reservations and batches among the paths of created znodes."""
    layout = jobs.layout
    batches = layout.znodes.path(BATCHES)
    names: dict[str, None] = {}
    for path in created:
        name = paths.name_of(path)
        if name.startswith(RESERVED):
            layout.znodes.delete(path)
        elif job_names.parse(name) is not None:
            names[name] = None
    remover = Remover(jobs, results)
    ordered = list(names)
    for start in range(0, len(ordered), JOBS_AT_ONCE):
        some = ordered[start : start + JOBS_AT_ONCE]
        jobs.cancel(some, REASON)
        remover.remove(layout.read(Place.DONE, some), keeps_history=False)
    for path in created:
        if paths.parent_of(path) == batches:
            name = paths.name_of(path)
            layout.znodes.delete_tree(chain_path(layout, name))
            layout.znodes.delete_tree(batch_path(layout, name))
