"""The paths of a queue's znodes under its root, and functions that read these znodes.

    deferred/entry-...  jobs that cannot start yet
    unowned/entry-...   jobs that can start
    owned/entry-...     jobs that a worker owns
    done/entry-...      jobs that have ended
    workers/<id>        ephemerals, one for each worker; no other session uses the same id
    keeper/<n>          ephemerals of the workers in line for the queue's housekeeping
    keys/<hash>         for each key, which identifies equal work: the name of its job
    batches/<name>      jobs that were submitted together (`zoolet.jobs.znodes.batch_log`)
    chains/<name>       the batch <name> waits for another batch; children: entries for its jobs
    failures/f-<n>      notes of FAILED jobs (`zoolet.jobs.znodes.failure_log`)
    schedules/<name>    a schedule: when it submits jobs, and its last runs
    retries/<id>        a retry of FAILED jobs that is in progress (`zoolet.jobs.queue.changing`)
    changes/<id>        another change of many jobs that is in progress
    due/<minute>        entries for jobs that wait for a time (`zoolet.jobs.znodes.deferred_index`)
    expiries/<minute>   entries for jobs in deferred that expire while they wait
    limits/<name>       limits for the jobs (`zoolet.jobs.znodes.limit_znodes`)
    settings, control   the queue's settings; the paused datasets and the number of cancellations
    store               the database that has the large results
    datasets/<name>     the description of a dataset and its groups (`zoolet.jobs.datasets`)

This is the layout of a queue with one shard. A queue with more shards has its jobs in
``unowned/<shard>/<page>``, in the same way in deferred and done, and in ``owned/<shard>``. The
dataset and groupid in a job's name give the shard. The priority and the sequence in the name give
the page. So the path of a job follows from its name. Pages keep every list of children short.

This module writes only the znodes that must exist before a queue is used. It imports the job
system's records.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoolet.jobs.errors import JobNotFoundError, UnknownQueueError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.znodes.connection import link_of
from zoolet.jobs.znodes.edge import READ_AT_ONCE, MissingError, Znodes
from zoolet.jobs.znodes.job_znodes import JobPaths, read_job, read_jobs
from zoolet.jobs.znodes.link import Watch
from zoolet.model.acl import AclList
from zoolet.model.acl_texts import format_acl

if TYPE_CHECKING:
    from zoolet.jobs.znodes.connection import AnyClient

WORKERS = "workers"
KEEPER = "keeper"
KEYS = "keys"
BATCHES = "batches"
CHAINS = "chains"
DUE = "due"
EXPIRIES = "expiries"
SCHEDULES = "schedules"
LIMITS = "limits"
RETRIES = "retries"
CHANGES = "changes"
SETTINGS = "settings"
CONTROL = "control"
STORE = "store"
DATASETS = "datasets"

PAGE_JOBS = 500
"""The number of jobs of a full page. The list of a page's children stays under 64 KiB."""
PAGES_AT_ONCE = 2
"""The number of pages whose children one request lists."""
PART_NAMES = 5000
"""The most names of a part of a place."""
LOOKS = 4
LOOK_PAUSE_S = 0.02
"""The number of times that a job is looked for, and the pause after the first time in seconds."""


class Layout:
    """The znodes of a queue: their paths and values."""

    def __init__(self, client: "AnyClient", root: str) -> None:
        self.znodes = Znodes(link_of(client), root)
        self._root = root
        self._settings: QueueSettings | None = None
        self._is_new = False
        self._acl_of_new: AclList | None = None
        self.znodes.acl = self._acl
        self._place = {place: self.znodes.path(place) for place in Place}
        self._job_paths: JobPaths | None = None

    # --- The queue as a whole

    @property
    def settings(self) -> QueueSettings:
        """The settings of the queue, as this object first read or last wrote them."""
        if self._settings is not None:
            return self._settings
        found = self._find_settings()
        # None if the queue does not exist yet: its settings are not known before it is created.
        self._settings = found
        return found or QueueSettings()

    def read_settings(self) -> QueueSettings:
        """Read and return the current settings of the queue."""
        return self._find_settings() or QueueSettings()

    def _find_settings(self) -> QueueSettings | None:
        found = self.znodes.get(self.znodes.path(SETTINGS))
        return None if found is None else QueueSettings.decode(found.data)

    def _acl(self) -> AclList | None:
        """Return the ACL for new znodes of the queue; None: the client's default ACL."""
        return self._acl_of_new if self._is_new else self.settings.acl_entries

    def write_settings(self, settings: QueueSettings) -> None:
        """Replace the settings of the queue."""
        self.znodes.set(self.znodes.path(SETTINGS), settings.encode())
        self._settings = settings
        self._job_paths = None

    def check(self) -> None:
        """Raise UnknownQueueError if there is no queue at this root."""
        if not self.znodes.exists(self.znodes.path(SETTINGS)):
            raise UnknownQueueError(
                f"there is no queue at {self._root}: start a worker on it, or create it with"
                f" zoolet jobs create --queue {self._root}"
            )

    def ensure(self, settings: QueueSettings) -> None:
        """Create the queue's znodes if they do not exist; do not change existing settings."""
        path = self.znodes.path
        # A queue of an older version does not have these znodes.
        later = (*map(path, (DUE, EXPIRIES, SCHEDULES, LIMITS)), self._place[Place.DEFERRED])
        if self.znodes.exists(path(SETTINGS)):
            self.znodes.ensure(*later)
            return
        self._is_new, self._acl_of_new = True, settings.acl_entries
        try:
            self._create_queue(self._with_named_acl(settings))
        finally:
            self._is_new = False

    def _with_named_acl(self, settings: QueueSettings) -> QueueSettings:
        """Return the settings with the identity of this client in place of the scheme auth.

        Znodes that other clients create must get the same ACL. With the scheme auth, the server
        would give these znodes the identity of the other clients.
        """
        if all(entry.id.scheme != "auth" for entry in settings.acl_entries or ()):
            return settings
        self.znodes.ensure(self._root)
        probe = self.znodes.path(f"acl-{uuid.uuid4().hex}")
        self.znodes.create_ephemeral(probe, b"")
        try:
            self._acl_of_new = self.znodes.acl_of(probe)
        finally:
            self.znodes.delete(probe)
        return replace(settings, acl=format_acl(self._acl_of_new))

    def _create_queue(self, settings: QueueSettings) -> None:
        path = self.znodes.path
        top = (WORKERS, KEEPER, KEYS, BATCHES, CHAINS, CONTROL, DUE, EXPIRIES, SCHEDULES, LIMITS)
        self.znodes.ensure(*map(path, top))
        for place in self._place.values():
            shards = range(settings.shards) if settings.shards > 1 else ()
            self.znodes.ensure(place, *(f"{place}/{shard:03d}" for shard in shards))
        # The settings are created last, because they mean that the queue is complete. If two
        # clients create the queue at the same time with different numbers of shards, the settings
        # of one client apply, and the additional shards of the other client stay unused.
        self.znodes.create(path(SETTINGS), settings.encode())

    @property
    def shards(self) -> range:
        """The numbers of the queue's shards."""
        return range(self.settings.shards)

    @property
    def is_flat(self) -> bool:
        """Whether the jobs are direct children of their places: the queue has one shard."""
        return self.settings.shards == 1

    # --- Paths

    @property
    def job_paths(self) -> JobPaths:
        """The paths of jobs. A caller that needs many of them keeps this object."""
        if self._job_paths is not None:
            return self._job_paths
        found = JobPaths(self._place, self.settings.shards)
        if self._settings is not None:
            self._job_paths = found
        return found

    def place(self, place: Place) -> str:
        """Return the path of a place."""
        return self._place[place]

    def shard_of(self, dataset: str, groupid: str) -> int:
        """Return the number of the shard that has the jobs of a group."""
        return self.job_paths.shard_of(dataset, groupid)

    def shard(self, place: Place, shard: int) -> str:
        """Return the path of a shard in a place; in a queue with one shard, the place's path."""
        return self.job_paths.shard(place, shard)

    def page(self, place: Place, shard: int, page: str) -> str:
        """Return the path of a page; if ``page`` is "" (no pages), that of the shard."""
        return f"{self.shard(place, shard)}/{page}" if page else self.shard(place, shard)

    def job(self, place: Place, name: str) -> str:
        """Return the path of a job in a place."""
        return self.job_paths.job(place, name)

    def unowned(self, name: str) -> str:
        """Return the path of a job in unowned."""
        return self.job(Place.UNOWNED, name)

    def owned(self, name: str) -> str:
        """Return the path of a job in owned."""
        return self.job(Place.OWNED, name)

    def done(self, name: str) -> str:
        """Return the path of a job in done."""
        return self.job(Place.DONE, name)

    def worker(self, worker: str) -> str:
        """Return the path of a worker's ephemeral."""
        return self.znodes.path(WORKERS, worker)

    def key(self, key: str) -> str:
        """Return the path of a key's znode, which names the job for a piece of work."""
        return self.znodes.path(KEYS, key)

    # --- Reading

    def pages(self, place: Place, shard: int, watch: Watch | None = None) -> list[str]:
        """Return the names of a shard's pages in the order of `page_order`.

        The list is [""] if the jobs of the shard are not in pages.
        """
        if self.is_flat or place == Place.OWNED:
            return [""]
        try:
            names = self.znodes.children(self.shard(place, shard), watch)
        except MissingError:
            if place != Place.DEFERRED:
                raise
            return []
        return sorted(filter(_PAGE.fullmatch, names), key=page_order)

    def all_pages(self, place: Place) -> list[tuple[int, str]]:
        """Return all pages of a place, each as the number of its shard and its name."""
        return [(shard, page) for shard in self.shards for page in self.pages(place, shard)]

    def names_in(
        self, place: Place, shard: int, page: str, watch: Watch | None = None
    ) -> list[JobName]:
        """Return the names of the jobs on a page, in the order in which workers take jobs."""
        try:
            return parse_names(self.znodes.children(self.page(place, shard, page), watch))
        except MissingError:
            return []

    def iterate_names(self, place: Place) -> Iterator[list[JobName]]:
        """Yield for each page of a place the names of its jobs."""
        return map(parse_names, self._children_of_pages(place))

    def iterate_parts(self, place: Place) -> Iterator[list[JobName]]:
        """Yield the names of the jobs in a place, at most `PART_NAMES` at a time.

        In a queue with one shard, all jobs of a place are one page. In an event loop, parsing the
        names of a long page would keep other work waiting.
        """
        for children in self._children_of_pages(place):
            for start in range(0, len(children), PART_NAMES):
                yield parse_names(children[start : start + PART_NAMES])

    def _children_of_pages(self, place: Place) -> Iterator[list[str]]:
        pages = [self.page(place, shard, page) for shard, page in self.all_pages(place)]
        for start in range(0, len(pages), PAGES_AT_ONCE):
            yield from self.znodes.children_of_all(pages[start : start + PAGES_AT_ONCE])

    def names(self, place: Place) -> list[JobName]:
        """Return the names of the jobs in a place, in the order in which workers take jobs."""
        found = [name for page in self.iterate_names(place) for name in page]
        return sorted(found, key=lambda name: name.order)

    def count(self, place: Place) -> int:
        """Return the number of znodes in a place; znodes that are not jobs are counted too."""
        pages = [self.page(place, shard, page) for shard, page in self.all_pages(place)]
        return sum(found.children for found in self.znodes.get_all(pages) if found is not None)

    def workers(self, watch: Watch | None = None) -> list[str]:
        """Return the ids of the live workers: the workers that have an ephemeral."""
        return self.znodes.children(self.znodes.path(WORKERS), watch)

    def read(self, place: Place, names: Iterable[str]) -> list[Job]:
        """Return the named jobs that are in a place; see `read_job` for unreadable values."""
        return [job for job in self.read_each(place, list(names)) if job is not None]

    def read_each(self, place: Place, names: Sequence[str]) -> list[Job | None]:
        """Return the named jobs, None for each job that is not in the place; see `read_job`."""
        found: list[Job | None] = []
        for start in range(0, len(names), READ_AT_ONCE):
            some = names[start : start + READ_AT_ONCE]
            job_paths = self.job_paths
            answers = self.znodes.get_all([job_paths.job(place, name) for name in some])
            found += read_jobs(place, some, answers)
        return found

    def watch_done(self, wanted: Sequence[tuple[str, Watch]]) -> list[tuple[Job | None, bool]]:
        """Return for each named job the job if it is in done, and whether it is in another place.

        The job is None if it is not in done; its watch is then called when the job ends. The watch
        may also be called without a change (`Link`), and must then be set again. If a job is in
        no place, the caller must look again (`find`), because the job may just be moving.
        """
        found: list[tuple[Job | None, bool]] = []
        elsewhere = [place for place in Place if place != Place.DONE]
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            others = [self.job(place, name) for name, _ in some for place in elsewhere]
            znodes, exist = self.znodes.watch_all(
                [(self.done(name), watch) for name, watch in some], others
            )
            for number, ((name, _), znode) in enumerate(zip(some, znodes, strict=True)):
                first = number * len(elsewhere)
                job = None if znode is None else read_job(Place.DONE, name, znode)
                found.append((job, any(exist[first : first + len(elsewhere)])))
        return found

    def where(self, names: Sequence[str]) -> list[str | None]:
        """Return the place of each job; None if the job is in no place now."""
        wanted = [self.job(place, name) for name in names for place in Place]
        exist = iter(self.znodes.which_exist(wanted))
        found: list[str | None] = []
        for _ in names:
            places = [place for place, is_there in zip(Place, exist, strict=False) if is_there]
            found.append(places[0] if places else None)
        return found

    def find(self, name: str) -> Job:
        """Return a job from any place; see `read_job` for unreadable values.

        Raises:
            JobNotFoundError: the job is in no place.
        """
        if job_names.parse(name) is None:
            raise JobNotFoundError(f"{name!r} is not the name of a job")

        def look() -> Job | None:
            found = self.znodes.get_all([self.job(place, name) for place in Place])
            for place, znode in zip(Place, found, strict=True):
                if znode is not None:
                    return read_job(place, name, znode)
            return None

        job = self._look_again(look)
        if job is None:
            raise JobNotFoundError(f"no job {name} is in this queue")
        return job

    def find_submission(self, draft: Job, submission: str) -> Job | None:
        """Find the job of a submission if its name is not known; None if the job does not exist.

        ``draft`` is a job for the same work, and so has the same dataset and groupid. Only jobs
        that have these in their name are read.
        """
        group = draft.named_group
        shard = self.shard_of(*group)

        def look() -> Job | None:
            for place in Place:
                for page in self.pages(place, shard):
                    names = self.names_in(place, shard, page)
                    wanted = [name.name for name in names if name.group == group]
                    for job in self.read(place, wanted):
                        if job.submission == submission:
                            return job
            return None

        return self._look_again(look)

    def ended_or_nowhere(self, names: Sequence[str]) -> list[str]:
        """Return the jobs that are in done, or that several checks find in no place."""
        found: list[str] = []
        left = list(names)
        for tries in range(LOOKS):
            if tries and left:
                self.znodes.pause(tries - 1, LOOK_PAUSE_S)
            places = dict(zip(left, self.where(left), strict=True))
            found += [name for name in left if places[name] == Place.DONE]
            left = [name for name in left if places[name] is None]
        return found + left

    def _look_again(self, look: Callable[[], Job | None]) -> Job | None:
        """Call ``look`` several times, because reads can miss a job that is moving.

        On zoolet, one multiRead cannot miss a job, because it reads a consistent state. Several
        reads can. In an ensemble, the client's member may not have the latest transaction yet.
        """
        for tries in range(LOOKS):
            if tries:
                self.znodes.pause(tries - 1, LOOK_PAUSE_S)
            if (job := look()) is not None:
                return job
        return None


def page_order(page: str) -> tuple[int, int]:
    """Return the sort key of pages: greater priorities first, then older pages first."""
    priority, _, number = page.partition("-")
    return (-int(priority), int(number))


def page_number(page: str) -> int:
    """Return the number of a page, which is greater for later pages; 0 if there are no pages."""
    return int(page.partition("-")[2] or 0)


def parse_names(children: Iterable[str]) -> list[JobName]:
    """Return the job names among a znode's children, in the order in which workers take jobs."""
    return sorted(
        (name for name in map(job_names.parse, children) if name is not None),
        key=lambda name: name.order,
    )


PAGE_NUMBER_DIGITS = 10
_PAGE = re.compile(rf"\d{{3}}-\d{{6,{PAGE_NUMBER_DIGITS}}}", re.ASCII)
