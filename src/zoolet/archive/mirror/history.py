"""Checks that the source has all changes that the mirror has copied, before copies are deleted.

A server that lost its data, was set back to a backup, or is another one by mistake does not have
znodes that the target has. Without this check, the mirror would delete them in the target.

Invariant: all that the mirror read before a call of `SourceHistory.check` came from a session that
was checked, because the servers of an ensemble know the sessions of their own clients only.

Imports ``model``, ``client``, the errors and other modules of its package.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.mirror.records.rows import DIFFERENT
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.archive.mirror.records.subtree import Subtree
from zoolet.archive.mirror.waiting import all_of
from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import SessionExpiredError, ZooKeeperError
from zoolet.model import paths

if TYPE_CHECKING:
    from zoolet.client.protocol.session_id import SessionId

_SAMPLE: Final = 64
"""The most znodes of a whole server that are looked up: the oldest, because they live longest. One
that is found is enough."""


class SourceHistory:
    """What the mirror knows of the source's history.

    Args:
        client: the client of the source.
        subtree: the source.
        state: has the newest zxid of the source, and the znodes that were copied.
        say: is called with lines for the user.
        accepts_other: whether the first source that lost its history is accepted.
    """

    def __init__(
        self,
        client: AsyncClient,
        subtree: Subtree,
        state: StateFile,
        say: Callable[[str], None],
        *,
        accepts_other: bool,
    ) -> None:
        self._client = client
        self._subtree = subtree
        self._state = state
        self._say = say
        self._accepts_other = accepts_other
        self._session: SessionId | None = None

    async def check(self) -> None:
        """Check the source, unless the session is one that was checked.

        Raises:
            ArchiveError: the source does not have the changes that were copied.
            ZooKeeperError: the connection was lost.
        """
        session = self._client.session_id
        if session == self._session:
            return
        # The client's server may be behind its leader.
        await self._client.sync(self._subtree.root)
        problem = await self._problem()
        if problem is not None:
            if not self._accepts_other:
                raise other_source(problem)
            self._say(f"{problem}; --accept-source: the target becomes equal to it")
            self._state.put_source_zxid(self._client.last_zxid)
        self._accepts_other = False
        self._session = session
        self.note_zxid()

    def check_session(self) -> None:
        """Check that the session is still the one that `check` checked.

        Raises:
            SessionExpiredError: another server may have replied in between.
        """
        if self._client.session_id != self._session:
            raise SessionExpiredError("check_session", self._subtree.root)

    def note_zxid(self) -> None:
        """Note the newest zxid of the source."""
        zxid = self._client.last_zxid
        if zxid > self._state.source_zxid:
            self._state.put_source_zxid(zxid)

    async def _problem(self) -> str | None:
        """Return how the source shows that it lost changes; None if it does not."""
        known, found = self._state.source_zxid, self._client.last_zxid
        if found < known:
            return older_zxid("source", known, found)
        root = self._subtree.root
        if root != paths.ROOT:
            row = self._state.row("")
            stat = await self._client.exists(root)
            is_known = row is not None and row.czxid > DIFFERENT
            if row is None or stat is None or not is_known or row.is_same_znode(stat):
                return None
            return f"the root of the source, {root}, is not the znode that was copied"
        return await self._problem_of_whole_server()

    async def _problem_of_whole_server(self) -> str | None:
        """The root of each server has the same zxids, so look for znodes below it."""
        copies = self._state.oldest(_SAMPLE)
        futures = [self._client.exists(self._subtree.absolute(path)) for path, _ in copies]
        results = await all_of(futures)
        for (_, row), result in zip(copies, results, strict=True):
            if isinstance(result, ZooKeeperError):
                raise result
            if result is not None and row.is_same_znode(result):
                return None
        if copies:
            return f"the source has none of the {len(copies)} oldest znodes that were copied"
        names = (await self._client.children(paths.ROOT)).names
        is_empty = all(f"/{name}" in self._subtree.left_out for name in names)
        if is_empty and any(self._state.children("")):
            return "the source is empty, and the target is not"
        return None


def older_zxid(side: str, known: int, found: int) -> str:
    """Return the description of a side that has lost txns."""
    return (
        f"the {side} has lost changes: its last zxid is 0x{found:x}, and the mirror has seen"
        f" 0x{known:x}"
    )


def other_source(problem: str) -> ArchiveError:
    """Return the error for a source that lost its history."""
    return ArchiveError(
        f"{problem}. The target keeps its copy. Check --from, and whether the server has lost its"
        " data. If the target shall become equal to this source, give --accept-source once"
    )
