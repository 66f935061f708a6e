"""A `Link` on `zoolet.client.Client`.

The client raises the errors that `zoolet.jobs.znodes.link` documents, and sets one-shot watches
again after a reconnect, so this module only passes the requests on. Requests of one round trip are
futures; the others are sent by the calling thread. Imports `zoolet.client`.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.batches import MultiRead
from zoolet.client.protocol.states import ENDED, SERVED, SessionState
from zoolet.client.thread_client.client import Client
from zoolet.jobs.znodes.client_multis import created_paths, multi_of
from zoolet.jobs.znodes.link import Link, ManyRead, Watch, Watched, close_in_time, refusal_of
from zoolet.jobs.znodes.operations import Create, Operation
from zoolet.model.acl import AclList
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat

_LEAST_S: Final = 0.001
"""The shortest time limit of a call: 0 means no limit to the client."""
_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})
_WAKING: Final = SERVED | _FINAL


class ClientLink(Link):
    """Uses ``client``, which a user has started, or which `open_session` starts."""

    def __init__(self, client: Client) -> None:
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
        return self.client.state in _FINAL or not self.client._is_started  # noqa: SLF001

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
        changed = threading.Event()

        def note(state: SessionState) -> None:
            if state in _WAKING:
                changed.set()

        self.client.add_listener(note)
        try:
            if self.client.state not in _WAKING:
                changed.wait(timeout_s)
        finally:
            self.client.remove_listener(note)

    def on_session_end(self, call: Callable[[], None]) -> None:
        """Call ``call`` each time when a session has ended."""

        def listen(state: SessionState) -> None:
            if state in ENDED:
                call()

        self.client.add_listener(listen)

    def close(self, timeout_s: float | None) -> None:
        """End the session; after ``timeout_s``, a daemon thread completes the work."""
        limit_s = threading.TIMEOUT_MAX if timeout_s is None else timeout_s
        close_in_time(partial(self.client.close, limit_s), timeout_s)

    # --- Reading

    def get(self, path: str, watch: Watch | None, timeout_s: float | None) -> ZnodeData:
        """Return the data and the Stat of a znode."""
        return self.client.get(path, watch=watch, timeout_s=_limit(timeout_s))

    def exists(self, path: str, watch: Watch | None, timeout_s: float | None) -> Stat | None:
        """Return the Stat of a znode, None if it does not exist; set the watch in either case."""
        return self.client.exists(path, watch=watch, timeout_s=_limit(timeout_s))

    def exist_all(self, wanted: Sequence[Watched], timeout_s: float | None) -> list[Stat | None]:
        """Do the same as `exists` for several znodes, in one round trip."""
        limit_s = _limit(timeout_s)
        futures = self.client.futures
        sent = [futures.exists(path, watch=watch, timeout_s=limit_s) for path, watch in wanted]
        return [future.result() for future in sent]

    def children(self, path: str, watch: Watch | None, timeout_s: float | None) -> Sequence[str]:
        """Return the names of the children of a znode."""
        return self.client.children(path, watch=watch, timeout_s=_limit(timeout_s)).names

    def acl_of(self, path: str, timeout_s: float | None) -> AclList:
        """Return the ACL of a znode."""
        return self.client.get_acl(path, timeout_s=_limit(timeout_s)).acl

    def read_many(
        self,
        data_of: Sequence[str],
        children_of: Sequence[str],
        timeout_s: float | None,
        watched: Sequence[Watched] = (),
    ) -> ManyRead:
        """Read several znodes in one multiRead; set the watches in the same round trip."""
        batch, limit_s = MultiRead(), _limit(timeout_s)
        for path in data_of:
            batch.get(path)
        for path in children_of:
            batch.children(path)
        if watched:
            futures = self.client.futures
            sent = [futures.exists(path, watch=watch, timeout_s=limit_s) for path, watch in watched]
            last = futures.multi_read(batch, timeout_s=limit_s)
            for future in sent:
                future.result()
            found = last.result()
        else:
            found = self.client.multi_read(batch, timeout_s=limit_s)
        return ManyRead(
            cast("list[ZnodeData | ZooKeeperError]", list(found[: len(data_of)])),
            cast("list[Sequence[str] | ZooKeeperError]", list(found[len(data_of) :])),
        )

    # --- Writing

    def create(self, operation: Create, acl: AclList, timeout_s: float | None) -> str:
        """Create a znode; return its path, with its sequence if it has one."""
        path, data, mode = operation.path, operation.data, operation.mode
        limit_s = _limit(timeout_s)
        return self.client.create(path, data, mode=mode, acl=acl, timeout_s=limit_s).path

    def set(self, path: str, data: bytes, timeout_s: float | None) -> Stat:
        """Set the data of a znode; return its Stat."""
        return self.client.set(path, data, timeout_s=_limit(timeout_s))

    def delete_all(
        self, wanted: Sequence[str], timeout_s: float | None
    ) -> list[ZooKeeperError | None]:
        """Delete several znodes in one round trip; return the error of each that was refused."""
        limit_s = _limit(timeout_s)
        sent = [self.client.futures.delete(path, timeout_s=limit_s) for path in wanted]
        return [refusal_of(future.result) for future in sent]

    def multi(
        self, operations: Sequence[Operation], acl: AclList, timeout_s: float | None
    ) -> list[str | None]:
        """Execute all operations or none; return the path that each `Create` has created."""
        batch = multi_of(operations, acl)
        results = self.client.multi(batch, timeout_s=_limit(timeout_s))
        return created_paths(operations, results)


def _limit(timeout_s: float | None) -> float:
    """Return a time limit as the client expects it: 0 for no limit."""
    return 0.0 if timeout_s is None else max(timeout_s, _LEAST_S)
