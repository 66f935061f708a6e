"""What a client offers beyond single requests: its session, watches as iterators, subtrees.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import itertools
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final

from zoolet.client.asyncio_client.engine import Engine
from zoolet.client.asyncio_client.methods import AsyncRequests
from zoolet.client.asyncio_client.primitives import Deadline
from zoolet.client.asyncio_client.waiting import FutureRequests, result_of
from zoolet.client.asyncio_client.watching import MAX_EVENTS, AsyncWatch
from zoolet.client.connecting.servers import parse_servers
from zoolet.client.errors import (
    ConnectionLossError,
    DeadlineError,
    NodeExistsError,
    NoNodeError,
    ZooKeeperError,
)
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.session_id import SessionId
from zoolet.client.protocol.states import OnState, SessionState
from zoolet.client.protocol.watches import OnNotice
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.addresses import Address
from zoolet.model.codes import AddWatchMode, CreateMode
from zoolet.model.results import ZnodeData

OUTSTANDING: Final = 200
"""The default number of requests that are outstanding at the same time."""

PROTECTED: Final = "_c_"
"""The beginning of the name of a protected znode, as Curator has it."""


class AsyncOperations(AsyncRequests):
    """The session and the requests of a client, and what it builds on them."""

    def __init__(self, make: RequestMaker, engine: Engine) -> None:
        super().__init__(make)
        self._engine = engine

    @property
    @abstractmethod
    def futures(self) -> FutureRequests:
        """The requests as methods that return a future."""

    @property
    def state(self) -> SessionState:
        """The state of the session."""
        return self._engine.session.state

    @property
    def session_id(self) -> SessionId:
        """The id and the password of the session, with which another client can continue it."""
        return self._engine.session.session

    @property
    def session_timeout_ms(self) -> int:
        """The negotiated session timeout, in milliseconds."""
        return self._engine.session.timeout_ms

    @property
    def last_zxid(self) -> int:
        """The newest zxid that the client has seen in a reply or an event; 0 before the first."""
        return self._engine.session.last_zxid

    @property
    def chroot(self) -> str:
        """The path of the client's root on the server; "" if it is the server's root."""
        return self._engine.order.servers.chroot

    @property
    def address(self) -> Address | None:
        """The address of the connected server; None without a connection."""
        return self._engine.address if self._engine.session.is_served else None

    def add_listener(self, listener: OnState) -> None:
        """Call ``listener`` with each new state of the session."""
        self._engine.program_listeners.append(listener)

    def remove_listener(self, listener: OnState) -> None:
        """Do not call ``listener`` any more."""
        self._engine.program_listeners.remove(listener)

    def change_hosts(self, hosts: str) -> None:
        """Use other servers; the chroot stays.

        The client disconnects if its server is not among them.

        Raises:
            AddressError: ``hosts`` does not have the form ``HOST:PORT[,HOST:PORT...]``.
        """
        self._engine.change_servers(parse_servers(hosts))

    def watch(
        self,
        path: str,
        *,
        recursive: bool = False,
        max_events: int = MAX_EVENTS,
    ) -> AsyncWatch:
        """Return an iterator of the changes of a znode, or of its whole subtree.

        This needs ZooKeeper 3.6 or later. If more than ``max_events`` events wait for the program,
        one `Resynced` replaces them.

        Raises:
            ValueError: the path is invalid.
        """
        mode = AddWatchMode.PERSISTENT_RECURSIVE if recursive else AddWatchMode.PERSISTENT
        return AsyncWatch(self._engine, self._make, path, mode, max_events)

    def forget_watch(self, path: str, watch: OnNotice) -> None:
        """Do not call ``watch`` for a path any more, also without a connection.

        The server forgets its watches on the path too, if no other function waits for them.

        Raises:
            ValueError: the path is invalid.
        """
        for watcher in self._engine.session.watches.of(self._make.full_path(path), watch):
            self._engine.abandon(watcher)

    async def ensure_path(
        self, path: str, *, acl: AclList = OPEN_ACL, timeout_s: float | None = None
    ) -> None:
        """Create a znode and its missing ancestors, all without data; existing ones stay.

        ``timeout_s`` is the time limit of each request.
        """
        missing = [path]
        while missing and missing[-1] != paths.ROOT:
            try:
                await self.create(missing[-1], acl=acl, timeout_s=timeout_s)
            except NoNodeError:
                missing.append(paths.parent_of(missing[-1]))
                continue
            except NodeExistsError:
                pass
            missing.pop()

    async def create_protected(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        mode: CreateMode = CreateMode.EPHEMERAL_SEQUENTIAL,
        acl: AclList = OPEN_ACL,
        tries: int = 10,
        protection: str = "",
        timeout_s: float | None = None,
    ) -> str:
        """Create a znode exactly once, also if replies are lost; return its path.

        The name of the znode gets a random id in front, by which the client finds the znode after
        a lost reply. Source: Curator's protection mode. ``protection`` is another id than the
        random one: a program that does not get the path can find the znode by ``_c_ID-``.
        ``timeout_s`` is the time limit of all requests together; None is the client's default for
        each request, and 0 is no limit.

        Raises:
            ConnectionLossError: the reply was lost ``tries`` times.
            DeadlineError: the time is over; the znode may exist, or may come to exist.
        """
        parent, _, name = path.rpartition("/")
        if not protection:
            import uuid  # noqa: PLC0415 -- slow import

            protection = str(uuid.uuid4())
        prefix = f"{PROTECTED}{protection}-"
        limit = Deadline(timeout_s or None, "create_protected", path)
        while True:
            limit_s = None if timeout_s is None else limit.left_s() or 0.0
            try:
                created = await self.create(
                    f"{parent}/{prefix}{name}", data, mode=mode, acl=acl, timeout_s=limit_s
                )
            except ConnectionLossError:
                try:
                    found = await self.find_child(parent or paths.ROOT, prefix, timeout_s=limit_s)
                except DeadlineError as late:
                    # Its text can say that the sync was not sent. But the create was.
                    raise DeadlineError("create_protected", path) from late
                if found is not None:
                    return f"{parent}/{found}"
                tries -= 1
                if tries <= 0:
                    raise
            else:
                return created.path

    async def find_child(
        self, parent: str, prefix: str, *, timeout_s: float | None = None
    ) -> str | None:
        """Return the name of a child that begins with a prefix; None if there is none.

        The result shows all that was applied before the call, also on another server of the
        ensemble. ``timeout_s`` is the time limit of each request.

        Raises:
            NoNodeError: the parent does not exist.
        """
        while True:
            try:
                await self.sync(parent, timeout_s=timeout_s)
                listed = await self.children(parent, timeout_s=timeout_s)
            except ConnectionLossError:
                continue  # each try waits for a connection, up to the time limit of a call
            return next((name for name in listed.names if name.startswith(prefix)), None)

    async def read_many(
        self, wanted: Iterable[str], *, outstanding: int = OUTSTANDING
    ) -> AsyncIterator[tuple[str, ZnodeData | ZooKeeperError]]:
        """Yield the path and the data of each wanted znode, or its error, in the same order."""
        remaining = iter(wanted)
        running = deque(
            [(path, self.futures.get(path)) for path in itertools.islice(remaining, outstanding)]
        )
        while running:
            path, future = running.popleft()
            result: ZnodeData | ZooKeeperError
            try:
                result = await result_of(future)
            except ZooKeeperError as error:
                result = error
            yield path, result
            running.extend(
                [(path, self.futures.get(path)) for path in itertools.islice(remaining, 1)]
            )
