"""What all pages use: the settings, the users, the logins, the clients, the lists."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from zoolet.client.connecting.servers import parse_servers
from zoolet.web.access.attempts import Attempts
from zoolet.web.access.logins import Logins
from zoolet.web.access.users import Role, UsersFile
from zoolet.web.access.visitors import Visitor
from zoolet.web.clusters.clients import Clients, Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.history.process import DataTool
from zoolet.web.jobs.batch_readers import BatchReaders
from zoolet.web.jobs.histories import Histories
from zoolet.web.jobs.samples import QueueSamples
from zoolet.web.live.hub import Hub
from zoolet.web.operations.registry import Operations
from zoolet.web.operations.uploads import Uploads
from zoolet.web.servers.asking import Asker
from zoolet.web.servers.history import History
from zoolet.web.servers.hosts import Hosts
from zoolet.web.servers.sampling import Sampler
from zoolet.web.servers.sessions import Sessions
from zoolet.web.settings import Cluster, WebSettings
from zoolet.web.top.looks import Busiest

HASHES_AT_A_TIME: Final = 1
"""Passwords that are checked at the same time; each takes 100 ms of a core."""

MOST_WAITING_LOGINS: Final = 20
"""Logins that may wait for the check of their password."""


@dataclass(slots=True)
class Site:
    """What all pages use.

    Attributes:
        settings: the settings.
        users: the file of users.
        now_s: the monotonic clock.
        time_s: the clock of the system, in seconds since the epoch.
        lists: the lists of children.
        clients: the clients of ZooKeeper.
        live: the streams to browsers, and what they follow.
        logins: the logins.
        operations: the long operations.
        uploads: the files that wait for their import.
        attempts: the rate limit of logins.
        hashing: limits the passwords that are checked at the same time.
        data_tool: reads the past of clusters.
        num_waiting: the number of logins that wait for their check.
        asker: asks servers with four-letter words.
        sampler: the samples of all servers.
        history: the charts of the last hour.
        sessions: the sessions of the clusters.
        queue_samples: the samples of queues that somebody looks at.
        batch_readers: the batches that somebody has looked at lately.
        histories: the databases with the histories of queues.
        hosts: the addresses of the clients of sessions.
        busiest: the busiest clients and paths of the clusters.
    """

    settings: WebSettings
    users: UsersFile
    now_s: Callable[[], float] = time.monotonic
    time_s: Callable[[], float] = time.time
    lists: ChildLists = field(default_factory=ChildLists)
    attempts: Attempts = field(default_factory=Attempts)
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHES_AT_A_TIME))
    num_waiting: int = 0
    batch_readers: BatchReaders = field(default_factory=BatchReaders)
    histories: Histories = field(init=False)
    data_tool: DataTool = field(default_factory=DataTool)
    clients: Clients = field(init=False)
    live: Hub = field(init=False)
    logins: Logins = field(init=False)
    operations: Operations = field(init=False)
    uploads: Uploads = field(init=False)
    asker: Asker = field(init=False)
    sampler: Sampler = field(init=False)
    history: History = field(init=False)
    sessions: Sessions = field(init=False)
    queue_samples: QueueSamples = field(init=False)
    hosts: Hosts = field(init=False)
    busiest: Busiest = field(init=False)

    def __post_init__(self) -> None:
        self.histories = Histories(self.settings.result_stores)
        self.queue_samples = QueueSamples(self.lists, self.now_s, self.time_s)
        self.clients = Clients(
            self.settings.zookeeper_tls,
            self.settings.connect_timeout_ms / 1000,
            self._forget,
            self.now_s,
        )
        self.live = Hub(self.clients, self.lists, self.now_s, self.time_s)
        self.operations = Operations(self.now_s, self.time_s)
        self.uploads = Uploads(self.now_s)
        self.logins = Logins(self._end_login)
        self.asker = Asker(self.settings.zookeeper_tls)
        self.sampler = Sampler(self.asker, self.time_s)
        self.history = History(self.sampler, self.time_s)
        self.sessions = Sessions(self.asker, self.now_s)
        self.hosts = Hosts(self.sessions, self.now_s)
        self.busiest = Busiest(self.settings.zookeeper_tls, self.now_s)

    def _forget(self, number: int) -> None:
        """Forget what a connection that is closed has read."""
        self.lists.forget(number)
        self.queue_samples.forget(number)
        self.batch_readers.forget(number)

    def may_change(self, visitor: Visitor) -> bool:
        """Return whether a visitor may change something."""
        return self.settings.allows_changes and visitor.role is Role.EDITOR

    def is_welcome(self, visitor: Visitor) -> bool:
        """Return whether a visitor whose request was accepted some time ago may still look."""
        return self.role_now(visitor) is not None

    def role_now(self, visitor: Visitor) -> Role | None:
        """Return the role that a visitor has now; None after the end of the login."""
        if not self.settings.needs_login:
            return Role.VIEWER
        users = self.users.current()
        if visitor.is_proxied:
            return users.proxied.get(visitor.user, Role.VIEWER)
        if not self.logins.has(visitor.key) or visitor.user not in users.passwords:
            return None
        return users.passwords[visitor.user][1]

    @asynccontextmanager
    async def connection(self, cluster: Cluster, visitor: Visitor) -> AsyncIterator[Connection]:
        """Give the block the visitor's connection to a cluster; raises as `Clients.use`."""
        credential = visitor.credential(cluster.name)
        async with self.clients.use(cluster, visitor.key, credential) as connection:
            yield connection

    def _end_login(self, key: str) -> None:
        self.live.end(key)
        self.operations.end(key)
        self.uploads.end(key)
        self.clients.end(key)

    def end_idle(self) -> None:
        """End logins and close clients that were not used for a long time."""
        self.logins.end_idle(self.now_s())
        self.live.end_idle()
        self.operations.forget_old()
        self.uploads.forget_old()
        self.clients.close_idle()
        self.sessions.forget_old()

    def start(self) -> None:
        """Start the samples of all servers that the settings name."""
        for cluster in self.settings.clusters:
            self.sampler.watch(cluster.name, parse_servers(cluster.hosts).addresses)

    async def close(self) -> None:
        """Close all parts, from those that use others to those that others use.

        A part that fails to close prevents no other from closing.
        """
        async with AsyncExitStack() as last_first:
            last_first.callback(self.uploads.close)
            last_first.push_async_callback(self.clients.close)
            last_first.callback(self.histories.close)
            last_first.callback(self.queue_samples.close)
            last_first.callback(self.asker.close)
            last_first.callback(self.busiest.close)
            last_first.callback(self.sessions.close)
            last_first.callback(self.sampler.close)
            last_first.push_async_callback(self.operations.close)
            last_first.push_async_callback(self.live.close)


def site_of(request: Request) -> Site:
    """Return the site to which a request belongs."""
    found: Site = request.app.state.site
    return found


def visitor_of(request: Request) -> Visitor:
    """Return who sends a request; the guard has found it out."""
    found: Visitor = request.state.visitor
    return found
