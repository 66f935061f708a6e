"""A party: the clients that are there now.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

import uuid
from types import TracebackType
from typing import Final, Self

from zoolet.client.asyncio_client.primitives import Deadline, in_background, is_set_within
from zoolet.client.asyncio_client.recipes.ephemeral import DELETE_S, AsyncEphemeral
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import (
    ClientClosedError,
    LockLostError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.model import paths
from zoolet.model.codes import CreateMode

PARTY: Final = "__party__"


class AsyncParty:
    """The members of a group, each with an identifier; ``client.party(path)`` makes it.

    Use it as a context manager, or call `join` and `leave`.

    Guarantees: a client that has joined is a member until it leaves or its session ends. In the
    next session it joins again by itself, and also if others have deleted its znode. Lost replies
    change nothing.

    Not guaranteed: a member whose process has died is a member until its session expires.

    Layout: that of kazoo's ``Party``: ``PATH/UUID__party__``, with the identifier as data. Members
    of kazoo and of zoolet see each other.
    """

    def __init__(self, tools: AsyncTools, path: str, identifier: str) -> None:
        """Make a party; a program calls ``client.party`` instead."""
        self._tools = tools
        self._path = path
        self._data = identifier.encode()
        self._member: AsyncEphemeral | None = None

    @property
    def is_member(self) -> bool:
        """Whether this client is a member now, as far as it knows."""
        return self._member is not None and not self._member.lost.is_set()

    async def join(self, *, timeout_s: float | None = None) -> None:
        """Become a member, if this client is none.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        if self._member is not None:
            return
        member = await self._joined(Deadline(timeout_s, "party", self._path))
        self._member = member
        in_background(self._stay, member)

    async def leave(self, *, timeout_s: float | None = DELETE_S) -> None:
        """Be a member no more.

        This waits at most ``timeout_s`` seconds for the server. After that, the client goes on to
        delete its znode in the background.
        """
        member, self._member = self._member, None
        if member is not None:
            member.notify()
            await member.delete(timeout_s)

    async def members(self, *, timeout_s: float | None = None) -> list[str]:
        """Return the identifiers of the members, in no order.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        deadline = Deadline(timeout_s, "party", self._path)
        make = self._tools.make
        found: list[str] = []
        try:
            listed = await self._tools.run(lambda: make.children(self._path), deadline)
        except NoNodeError:
            return found
        for name in listed.names:
            if PARTY in name:
                data = await self._tools.data_of(paths.join(self._path, name), deadline)
                if data is not None:
                    found.append(data.decode(errors="replace"))
        return found

    async def _joined(self, deadline: Deadline) -> AsyncEphemeral:
        while True:
            name = f"{uuid.uuid4().hex}{PARTY}"
            mode = CreateMode.EPHEMERAL
            member = AsyncEphemeral(self._tools, self._path, name, self._data, mode)
            try:
                await member.create(deadline)
            except (LockLostError, SessionExpiredError):
                member.abandon()
                await self._tools.wait_for_session(deadline)
            except BaseException:
                member.abandon()
                raise
            else:
                return member

    async def _stay(self, member: AsyncEphemeral) -> None:
        """Join again each time the member is lost, until `leave`."""
        no_limit = Deadline(None, "party", self._path)
        while True:
            await is_set_within(member.changed, None)
            if self._member is not member:
                return
            try:
                await self._tools.wait_for_session(no_limit)
                following = await self._joined(no_limit)
            except ClientClosedError:
                return
            except ZooKeeperError as error:
                self._tools.engine.log.warning("not a member of %s any more: %s", self._path, error)
                return
            member.end()
            if self._member is not member:  # `leave` was called meanwhile
                following.abandon()
                return
            self._member = member = following

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()
