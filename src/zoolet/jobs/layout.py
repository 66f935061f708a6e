"""Where the parts of a queue stand under its root, and how they are read.

    unowned/entry-...   jobs that wait
    owned/entry-...     jobs that a worker has
    done/entry-...      jobs that have ended
    workers/<id>        a worker, an ephemeral: its id is never used by another session
    keys/<hash>         which job stands for a piece of work

Changes nothing but what must exist before a queue is used. Imports the job system's records.
"""

from collections.abc import Iterable

from kazoo.client import KazooClient
from kazoo.retry import ForceRetryError, KazooRetry, RetryFailedError

from zoolet.jobs import naming
from zoolet.jobs.errors import JobNotFoundError, UnreadableJobError
from zoolet.jobs.naming import JobName
from zoolet.jobs.records import Job
from zoolet.jobs.znodes import Watch, Znodes

UNOWNED = "unowned"
OWNED = "owned"
DONE = "done"
WORKERS = "workers"
KEYS = "keys"

PLACES = (UNOWNED, OWNED, DONE)
"""A job is in exactly one of these at every instant, and mostly moves in this order."""

READ_AT_ONCE = 200
"""How many znodes are asked for in one round trip."""


class Layout:
    """A queue's znodes, by their meaning."""

    def __init__(self, client: KazooClient, root: str) -> None:
        self.znodes = Znodes(client, root)

    def ensure(self) -> None:
        """Create what the queue stands on."""
        self.znodes.ensure(*PLACES, WORKERS, KEYS)

    def unowned(self, name: str = "") -> str:
        """Return the path of a job that waits; of all of them without a name."""
        return self.znodes.path(UNOWNED, *filter(None, [name]))

    def owned(self, name: str) -> str:
        """Return the path of a job that a worker has."""
        return self.znodes.path(OWNED, name)

    def done(self, name: str) -> str:
        """Return the path of a job that has ended."""
        return self.znodes.path(DONE, name)

    def worker(self, worker: str) -> str:
        """Return the path of a worker."""
        return self.znodes.path(WORKERS, worker)

    def key(self, key: str) -> str:
        """Return the path of what names the job for a piece of work."""
        return self.znodes.path(KEYS, key)

    def names(self, place: str, watch: Watch | None = None) -> list[JobName]:
        """Return the names of the jobs in a place, the first to be taken first."""
        children = self.znodes.children(self.znodes.path(place), watch)
        return sorted(
            (name for name in map(naming.parse, children) if name is not None),
            key=lambda name: name.order,
        )

    def workers(self, watch: Watch | None = None) -> list[str]:
        """Return the ids of the workers whose session lives."""
        return self.znodes.children(self.znodes.path(WORKERS), watch)

    def read(self, place: str, names: Iterable[str]) -> list[Job]:
        """Return those of these jobs that are in a place, and are jobs at all."""
        wanted, found = list(names), []
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            answers = self.znodes.get_all([self.znodes.path(place, name) for name in some])
            for name, znode in zip(some, answers, strict=True):
                if znode is None:
                    continue
                try:
                    found.append(Job.decode(name, *znode))
                except UnreadableJobError:
                    continue
        return found

    def find(self, name: str) -> Job:
        """Return a job, wherever it is.

        Raises:
            JobNotFoundError: it is nowhere.
            UnreadableJobError: its value is not that of a job.
        """

        def look() -> Job:
            # Reads are answered in order, so a job that moves on is met in the next place. One
            # that moves back while we look is missed, and met when we look again.
            for znode in self.znodes.get_all([self.znodes.path(place, name) for place in PLACES]):
                if znode is not None:
                    return Job.decode(name, *znode)
            raise ForceRetryError

        try:
            job: Job = _look_again()(look)
        except RetryFailedError:
            raise JobNotFoundError(f"no job {name} is in this queue") from None
        return job

    def find_submission(self, draft: Job, submission: str) -> Job | None:
        """Return the job of a submission whose name nobody wrote down, None where there is none.

        ``draft`` is a job for the same work, so of the same dataset and groupid: only jobs with
        these in their name are read.
        """
        group = (draft.dataset, draft.groupid)

        def look() -> Job:
            for place in PLACES:
                names = [name.name for name in self.names(place) if name.group == group]
                for job in self.read(place, names):
                    if job.submission == submission:
                        return job
            raise ForceRetryError

        try:
            job: Job = _look_again()(look)
        except RetryFailedError:
            return None
        return job


def _look_again() -> KazooRetry:
    """Return a policy for reads that can miss a job that moves; to try for ever would be wrong."""
    return KazooRetry(max_tries=4, delay=0.02)
