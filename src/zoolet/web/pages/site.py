"""What all pages use: the settings, the users, the logins, the clients, the lists."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from zoolet.web.access.attempts import Attempts
from zoolet.web.access.logins import Logins
from zoolet.web.access.users import Role, UsersFile
from zoolet.web.access.visitors import Visitor
from zoolet.web.clusters.clients import Clients, Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.history.process import DataTool
from zoolet.web.live.hub import Hub
from zoolet.web.settings import Cluster, WebSettings

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
        attempts: the rate limit of logins.
        hashing: limits the passwords that are checked at the same time.
        data_tool: reads the past of clusters.
        num_waiting: the number of logins that wait for their check.
    """

    settings: WebSettings
    users: UsersFile
    now_s: Callable[[], float] = time.monotonic
    time_s: Callable[[], float] = time.time
    lists: ChildLists = field(default_factory=ChildLists)
    attempts: Attempts = field(default_factory=Attempts)
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHES_AT_A_TIME))
    num_waiting: int = 0
    data_tool: DataTool = field(default_factory=DataTool)
    clients: Clients = field(init=False)
    live: Hub = field(init=False)
    logins: Logins = field(init=False)

    def __post_init__(self) -> None:
        self.clients = Clients(
            self.settings.zookeeper_tls,
            self.settings.connect_timeout_ms / 1000,
            self.lists.forget,
            self.now_s,
        )
        self.live = Hub(self.clients, self.lists, self.now_s, self.time_s)
        self.logins = Logins(self._end_login)

    def may_change(self, visitor: Visitor) -> bool:
        """Return whether a visitor may change something."""
        return self.settings.allows_changes and visitor.role is Role.EDITOR

    def is_welcome(self, visitor: Visitor) -> bool:
        """Return whether a visitor whose request was accepted some time ago may still look."""
        if not self.settings.needs_login or visitor.is_proxied:
            return True
        return self.logins.has(visitor.key) and visitor.user in self.users.current().passwords

    @asynccontextmanager
    async def connection(self, cluster: Cluster, visitor: Visitor) -> AsyncIterator[Connection]:
        """Give the block the visitor's connection to a cluster; raises as `Clients.use`."""
        credential = visitor.credential(cluster.name)
        async with self.clients.use(cluster, visitor.key, credential) as connection:
            yield connection

    def _end_login(self, key: str) -> None:
        self.live.end(key)
        self.clients.end(key)

    def end_idle(self) -> None:
        """End logins and close clients that were not used for a long time."""
        self.logins.end_idle(self.now_s())
        self.live.end_idle()
        self.clients.close_idle()


def site_of(request: Request) -> Site:
    """Return the site to which a request belongs."""
    found: Site = request.app.state.site
    return found


def visitor_of(request: Request) -> Visitor:
    """Return who sends a request; the guard has found it out."""
    found: Visitor = request.state.visitor
    return found
