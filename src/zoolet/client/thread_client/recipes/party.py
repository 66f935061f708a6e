"""A party: the clients that are there now.

Made by `release.client_methods` from `asyncio_client/recipes/party.py`: change that module.
"""

import uuid
from types import TracebackType
from typing import Final, Self

from zoolet.client.thread_client.primitives import Deadline, in_background, is_set_within
from zoolet.client.thread_client.recipes.ephemeral import DELETE_S, Ephemeral
from zoolet.client.thread_client.recipes.tools import Tools
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


class Party:
    """The members of a group, each with an identifier; ``client.party(path)`` makes it.

    Use it as a context manager, or call `join` and `leave`.

    Guarantees: a client that has joined is a member until it leaves or its session ends. In the
    next session it joins again by itself, and also if others have deleted its znode. Lost replies
    change nothing.

    Not guaranteed: a member whose process has died is a member until its session expires.

    Layout: that of kazoo's ``Party``: ``PATH/UUID__party__``, with the identifier as data. Members
    of kazoo and of zoolet see each other.
    """

    def __init__(self, tools: Tools, path: str, identifier: str) -> None:
        """Make a party; a program calls ``client.party`` instead."""
        self._tools = tools
        self._path = path
        self._data = identifier.encode()
        self._member: Ephemeral | None = None

    @property
    def is_member(self) -> bool:
        """Whether this client is a member now, as far as it knows."""
        return self._member is not None and not self._member.lost.is_set()

    def join(self, *, timeout_s: float | None = None) -> None:
        """Become a member, if this client is none.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        if self._member is not None:
            return
        member = self._joined(Deadline(timeout_s, "party", self._path))
        self._member = member
        in_background(self._stay, member)

    def leave(self, *, timeout_s: float | None = DELETE_S) -> None:
        """Be a member no more.

        This waits at most ``timeout_s`` seconds for the server. After that, the client goes on to
        delete its znode in the background.
        """
        member, self._member = self._member, None
        if member is not None:
            member.notify()
            member.delete(timeout_s)

    def members(self, *, timeout_s: float | None = None) -> list[str]:
        """Return the identifiers of the members, in no order.

        ``timeout_s`` is the longest wait for the server, in seconds; None is no limit.
        """
        deadline = Deadline(timeout_s, "party", self._path)
        make = self._tools.make
        found: list[str] = []
        try:
            listed = self._tools.run(lambda: make.children(self._path), deadline)
        except NoNodeError:
            return found
        for name in listed.names:
            if PARTY in name:
                data = self._tools.data_of(paths.join(self._path, name), deadline)
                if data is not None:
                    found.append(data.decode(errors="replace"))
        return found

    def _joined(self, deadline: Deadline) -> Ephemeral:
        while True:
            name = f"{uuid.uuid4().hex}{PARTY}"
            mode = CreateMode.EPHEMERAL
            member = Ephemeral(self._tools, self._path, name, self._data, mode)
            try:
                member.create(deadline)
            except (LockLostError, SessionExpiredError):
                member.abandon()
                self._tools.wait_for_session(deadline)
            except BaseException:
                member.abandon()
                raise
            else:
                return member

    def _stay(self, member: Ephemeral) -> None:
        """Join again each time the member is lost, until `leave`."""
        no_limit = Deadline(None, "party", self._path)
        while True:
            is_set_within(member.changed, None)
            if self._member is not member:
                return
            try:
                self._tools.wait_for_session(no_limit)
                following = self._joined(no_limit)
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

    def __enter__(self) -> Self:
        self.join()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
