"""The lists of jobs in a queue, for programs that show a part of the jobs at a time.

A list is the znode whose children are jobs: a page of a shard, a shard, or a place. Listing its
children is one request. This module imports `zoolet.jobs.queue`, `zoolet.jobs.records` and
`zoolet.jobs.znodes`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.layout import page_number, page_order, parse_names


@dataclass(frozen=True, slots=True)
class JobList:
    """A znode whose children are jobs.

    Attributes:
        place: the place of the jobs.
        shard: the number of the shard.
        page: the name of the page in the shard; "" if the list has all jobs of the shard.
        path: the path of the znode, relative to the chroot of the client.
        jobs: the number of children.
    """

    place: Place
    shard: int
    page: str
    path: str
    jobs: int

    @property
    def order(self) -> tuple[int, int, int]:
        """The sort key of the lists of a place, which `job_lists` uses."""
        if not self.page:
            return 0, 0, self.shard
        if self.place is Place.DONE:
            return -page_number(self.page), page_order(self.page)[0], self.shard
        return *page_order(self.page), self.shard

    def names(self, children: Iterable[str]) -> list[JobName]:
        """Return the names of jobs among the children of the znode, in the order of `key`."""
        return sorted(parse_names(children), key=self.key)

    def key(self, name: JobName) -> tuple[int, int, str]:
        """Return the sort key of a name in this list.

        Jobs that have ended are in the order of their submission, the newest first; other jobs are
        in the order in which workers take jobs.
        """
        return (0, -name.sequence, name.name) if self.place is Place.DONE else name.order


def job_lists(queue: JobQueue, place: Place) -> list[JobList]:
    """Return the lists of a place that have children.

    Lists of jobs that have ended: the newest jobs first, approximately; other lists: in the order
    in which workers take jobs, approximately. A queue with shards has a list for each 500 jobs.
    """
    layout = queue.layout
    pages = layout.all_pages(place)
    paths = [layout.page(place, shard, page) for shard, page in pages]
    found = [
        JobList(place, shard, page, path, znode.children)
        for (shard, page), path, znode in zip(
            pages, paths, layout.znodes.get_all(paths), strict=True
        )
        if znode is not None and znode.children
    ]
    return sorted(found, key=lambda found: found.order)


def jobs_in(queue: JobQueue, place: Place, names: Sequence[str]) -> list[Job]:
    """Return the named jobs that are in a place, without those that have left it meanwhile.

    Fifty jobs are read with one request. A job whose value is invalid is a FAILED job without a
    task, whose error says why.
    """
    return queue.layout.read(place, names)
