"""A `Link` on `zoolet.client.AsyncClient`, for code that `zoolet.jobs.aio.bridge` runs.

Invariants: only the event loop's thread uses the link. A multi that was sent is awaited even if its
call is cancelled, and the paths of its new znodes are recorded, so that the caller can undo it.
Imports `zoolet.client` and `zoolet.jobs.znodes`.
"""

import asyncio
import queue
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.batches import MultiRead
from zoolet.client.protocol.states import ENDED, SERVED, SessionState
from zoolet.jobs.aio import bridge
from zoolet.jobs.znodes.client_multis import created_paths, multi_of
from zoolet.jobs.znodes.link import Events, Link, ManyRead, Watch, Watched, refusal_of
from zoolet.jobs.znodes.operations import Create, Operation
from zoolet.model.acl import AclList
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat

T = TypeVar("T")

_LEAST_S: Final = 0.001
"""The shortest time limit of a call: 0 means no limit to the client."""
_LONGEST_S: Final = 365 * 86_400.0
"""Stands for no limit where the client needs a number."""
_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})
_WAKING: Final = SERVED | _FINAL


class AsyncLink(Link):
    """Uses ``client``, which a user has started, or which `connection.opened` has started."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    @property
    def is_connected(self) -> bool:
        """Whether a server serves the session now."""
        return self.client.state in SERVED

    @property
    def chroot(self) -> str:
        """The path to which all paths are relative; "" for the root."""
        return self.client.chroot

    @property
    def is_over(self) -> bool:
        """Whether the client is closed, or was never started."""
        return self.client.state in _FINAL or not self.client._engine.is_started  # noqa: SLF001

    @property
    def is_login_refused(self) -> bool:
        """Whether the server has refused the login of the client."""
        return self.client.state is SessionState.AUTH_FAILED

    @property
    def session_id(self) -> int | None:
        """The id of the session; None if there is no session yet."""
        return self.client.session_id.id or None

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until the client is connected or is over, at most for ``timeout_s``."""
        bridge.check()
        changed = asyncio.Event()

        def note(state: SessionState) -> None:
            if state in _WAKING:
                changed.set()

        self.client.add_listener(note)
        try:
            if self.client.state not in _WAKING:
                bridge.wait(_until(changed, timeout_s))
        finally:
            self.client.remove_listener(note)

    def on_session_end(self, call: Callable[[], None]) -> None:
        """Call ``call`` each time when a session has ended."""

        def listen(state: SessionState) -> None:
            if state in ENDED:
                call()

        self.client.add_listener(listen)

    def close(self, timeout_s: float | None) -> None:
        """End the session; the server gets up to ``timeout_s`` for its reply."""
        bridge.wait(close_client(self.client, timeout_s))

    # --- Waiting

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``, while the event loop runs."""
        bridge.check()
        bridge.wait(asyncio.sleep(seconds))

    def new_events(self) -> Events:
        """Return an empty queue of events."""
        return _AsyncEvents()

    def blocking(self, function: Callable[[], T]) -> T:
        """Call a function in a thread, because it waits without the event loop."""
        bridge.check()
        return bridge.wait(asyncio.to_thread(function))

    def call_local(self) -> Any:
        """Return an object whose attributes have a value of their own in each concurrent call."""
        return bridge.CallLocal()

    # --- Reading

    def get(self, path: str, watch: Watch | None, timeout_s: float | None) -> ZnodeData:
        """Return the data and the Stat of a znode."""
        bridge.check()
        return bridge.wait(self.client.get(path, watch=watch, timeout_s=_limit(timeout_s)))

    def exists(self, path: str, watch: Watch | None, timeout_s: float | None) -> Stat | None:
        """Return the Stat of a znode, None if it does not exist; set the watch in either case."""
        bridge.check()
        return bridge.wait(self.client.exists(path, watch=watch, timeout_s=_limit(timeout_s)))

    def exist_all(self, wanted: Sequence[Watched], timeout_s: float | None) -> list[Stat | None]:
        """Do the same as `exists` for several znodes, in one round trip."""
        bridge.check()
        limit_s = _limit(timeout_s)
        sent = [self.client.exists(path, watch=watch, timeout_s=limit_s) for path, watch in wanted]
        return list(bridge.wait(asyncio.gather(*sent)))

    def children(self, path: str, watch: Watch | None, timeout_s: float | None) -> Sequence[str]:
        """Return the names of the children of a znode."""
        bridge.check()
        found = self.client.children(path, watch=watch, timeout_s=_limit(timeout_s))
        return bridge.wait(found).names

    def acl_of(self, path: str, timeout_s: float | None) -> AclList:
        """Return the ACL of a znode."""
        bridge.check()
        return bridge.wait(self.client.get_acl(path, timeout_s=_limit(timeout_s))).acl

    def read_many(
        self,
        data_of: Sequence[str],
        children_of: Sequence[str],
        timeout_s: float | None,
        watched: Sequence[Watched] = (),
    ) -> ManyRead:
        """Read several znodes in one multiRead; set the watches in the same round trip."""
        bridge.check()
        batch, limit_s = MultiRead(), _limit(timeout_s)
        for path in data_of:
            batch.get(path)
        for path in children_of:
            batch.children(path)
        sent = [self.client.exists(path, watch=watch, timeout_s=limit_s) for path, watch in watched]
        last = self.client.multi_read(batch, timeout_s=limit_s)
        bridge.wait(asyncio.gather(*sent, last))
        found = last.result()
        return ManyRead(
            cast("list[ZnodeData | ZooKeeperError]", list(found[: len(data_of)])),
            cast("list[Sequence[str] | ZooKeeperError]", list(found[len(data_of) :])),
        )

    # --- Writing

    def create(self, operation: Create, acl: AclList, timeout_s: float | None) -> str:
        """Create a znode; return its path, with its sequence if it has one."""
        bridge.check()
        path, data, mode = operation.path, operation.data, operation.mode
        limit_s = _limit(timeout_s)
        sent = self.client.create(path, data, mode=mode, acl=acl, timeout_s=limit_s)
        return bridge.wait_for_write(sent).path

    def set(self, path: str, data: bytes, timeout_s: float | None) -> Stat:
        """Set the data of a znode; return its Stat."""
        bridge.check()
        return bridge.wait_for_write(self.client.set(path, data, timeout_s=_limit(timeout_s)))

    def delete_all(
        self, wanted: Sequence[str], timeout_s: float | None
    ) -> list[ZooKeeperError | None]:
        """Delete several znodes in one round trip; return the error of each that was refused."""
        bridge.check()
        limit_s = _limit(timeout_s)
        sent = [self.client.delete(path, timeout_s=limit_s) for path in wanted]
        if sent:
            bridge.wait_for_write(asyncio.gather(*sent, return_exceptions=True))
        return [refusal_of(reply.result) for reply in sent]

    def multi(
        self, operations: Sequence[Operation], acl: AclList, timeout_s: float | None
    ) -> list[str | None]:
        """Execute all operations or none; return the path that each `Create` has created."""
        bridge.check()
        batch = multi_of(operations, acl)
        results = bridge.wait_for_write(self.client.multi(batch, timeout_s=_limit(timeout_s)))
        paths = created_paths(operations, results)
        bridge.current().created.extend(path for path in paths if path is not None)
        return paths


class _AsyncEvents:
    """The names of jobs with events; see `Events`."""

    def __init__(self) -> None:
        self._names: deque[str] = deque()
        self._arrived = asyncio.Event()

    def put(self, item: str) -> None:
        self._names.append(item)
        self._arrived.set()

    def get(self, *, timeout: float | None) -> str:
        bridge.check()
        if not self._names:
            self._arrived.clear()
            bridge.wait(_until(self._arrived, timeout))
        return self.get_nowait()

    def get_nowait(self) -> str:
        if not self._names:
            raise queue.Empty
        return self._names.popleft()


async def close_client(client: AsyncClient, timeout_s: float | None) -> None:
    """End the session of a client; None as ``timeout_s``: no limit."""
    await client.close(_LONGEST_S if timeout_s is None else timeout_s)


async def _until(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass


def _limit(timeout_s: float | None) -> float:
    """Return a time limit as the client expects it: 0 for no limit."""
    return 0.0 if timeout_s is None else max(timeout_s, _LEAST_S)
