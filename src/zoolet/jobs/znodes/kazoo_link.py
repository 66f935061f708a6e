"""A `Link` on a KazooClient, which the user has started. Imports `zoolet.client` and kazoo.

kazoo keeps requests in a queue while it has no connection, and may drop them when it is closed. So
a wait for a reply checks now and then whether the client was closed. kazoo calls all watches when
the connection is lost.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    OperationTimeoutError,
    RolledBackError,
    ZookeeperError,
)
from kazoo.protocol.serialization import CheckVersion
from kazoo.protocol.serialization import Delete as KazooDelete
from kazoo.protocol.serialization import SetData as KazooSetData
from kazoo.protocol.states import KazooState, KeeperState

from zoolet.client import errors
from zoolet.client.errors import ZooKeeperError, error_of
from zoolet.client.kazoo.calls import create_request, full_path, multi_async, multi_read_async
from zoolet.jobs.znodes.link import Link, ManyRead, Watch, Watched, close_in_time, refusal_of
from zoolet.jobs.znodes.operations import Create, Delete, Operation, SetData
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat

_SLICE_S: Final = 0.5
"""The time between two checks whether the client was closed."""
_ENDED = frozenset({KeeperState.CLOSED, KeeperState.AUTH_FAILED})


class KazooLink(Link):
    """Uses ``client`` unchanged."""

    def __init__(self, client: KazooClient) -> None:
        self.client = client
        self.default_acl = tuple(client.default_acl or ()) or OPEN_ACL

    @property
    def is_connected(self) -> bool:
        """Whether a server serves the session now."""
        return bool(self.client.connected)

    @property
    def chroot(self) -> str:
        """The path to which all paths are relative; "" for the root."""
        return str(self.client.chroot or "")

    @property
    def is_over(self) -> bool:
        """Whether the client is closed, or was never started."""
        return self.client._stopped.is_set() or self.client.client_state in _ENDED  # noqa: SLF001

    @property
    def is_login_refused(self) -> bool:
        """Whether the server has refused the login of the client."""
        return bool(self.client.client_state == KeeperState.AUTH_FAILED)

    @property
    def session_id(self) -> int | None:
        """The id of the session; None if there is no session yet."""
        session = self.client.client_id
        return None if session is None else int(session[0])

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until the client is connected or is over, at most for ``timeout_s``."""
        self.client._live.wait(min(timeout_s, _SLICE_S))  # noqa: SLF001

    def on_session_end(self, call: Callable[[], None]) -> None:
        """Call ``call`` each time when a session has ended."""

        def listen(state: str) -> None:
            if state == KazooState.LOST:
                call()

        self.client.add_listener(listen)

    def close(self, timeout_s: float | None) -> None:
        """End the session; after ``timeout_s``, a daemon thread completes the work.

        kazoo waits for the server's reply. If no reply comes, it waits for up to several session
        timeouts.
        """

        def close() -> None:
            self.client.stop()
            self.client.close()

        close_in_time(close, timeout_s)

    # --- Reading

    def get(self, path: str, watch: Watch | None, timeout_s: float | None) -> ZnodeData:
        """Return the data and the Stat of a znode."""
        data, stat = self._answer(self.client.get_async(path, watch), "get", path, timeout_s)
        return ZnodeData(data, Stat(*stat))

    def exists(self, path: str, watch: Watch | None, timeout_s: float | None) -> Stat | None:
        """Return the Stat of a znode, None if it does not exist; set the watch in either case."""
        return self.exist_all([(path, watch)], timeout_s)[0]

    def exist_all(self, wanted: Sequence[Watched], timeout_s: float | None) -> list[Stat | None]:
        """Do the same as `exists` for several znodes, in one round trip."""
        sent = [(path, self.client.exists_async(path, watch)) for path, watch in wanted]
        found = [self._answer(answer, "exists", path, timeout_s) for path, answer in sent]
        return [None if stat is None else Stat(*stat) for stat in found]

    def children(self, path: str, watch: Watch | None, timeout_s: float | None) -> Sequence[str]:
        """Return the names of the children of a znode."""
        sent = self.client.get_children_async(path, watch)
        names: list[str] = self._answer(sent, "children", path, timeout_s)
        return names

    def acl_of(self, path: str, timeout_s: float | None) -> AclList:
        """Return the ACL of a znode."""
        entries, _ = self._answer(self.client.get_acls_async(path), "get_acl", path, timeout_s)
        return tuple(ACL(entry.perms, Id(entry.id.scheme, entry.id.id)) for entry in entries)

    def read_many(
        self,
        data_of: Sequence[str],
        children_of: Sequence[str],
        timeout_s: float | None,
        watched: Sequence[Watched] = (),
    ) -> ManyRead:
        """Read several znodes in one multiRead; set the watches in the same round trip."""
        sent = [(path, self.client.exists_async(path, watch)) for path, watch in watched]
        parts = multi_read_async(self.client, data_of, children_of)
        for path, answer in sent:
            self._answer(answer, "exists", path, timeout_s)
        found = [
            result for part in parts for result in self._answer(part, "multi_read", "", timeout_s)
        ]
        data, children = found[: len(data_of)], found[len(data_of) :]
        return ManyRead(
            [
                _error(result, "get", path)
                if isinstance(result, ZookeeperError)
                else ZnodeData(result[0], Stat(*result[1]))
                for result, path in zip(data, data_of, strict=True)
            ],
            [
                _error(result, "children", path) if isinstance(result, ZookeeperError) else result
                for result, path in zip(children, children_of, strict=True)
            ],
        )

    # --- Writing

    def create(self, operation: Create, acl: AclList, timeout_s: float | None) -> str:
        """Create a znode; return its path, with its sequence if it has one."""
        path, data, sequence, ephemeral = operation
        sent = self.client.create_async(path, data, acl=acl, ephemeral=ephemeral, sequence=sequence)
        return str(self._answer(sent, "create", path, timeout_s))

    def set(self, path: str, data: bytes, timeout_s: float | None) -> Stat:
        """Set the data of a znode; return its Stat."""
        return Stat(*self._answer(self.client.set_async(path, data), "set", path, timeout_s))

    def delete_all(
        self, wanted: Sequence[str], timeout_s: float | None
    ) -> list[ZooKeeperError | None]:
        """Delete several znodes in one round trip; return the error of each that was refused."""
        sent = [(path, self.client.delete_async(path)) for path in wanted]
        return [
            refusal_of(partial(self._answer, answer, "delete", path, timeout_s))
            for path, answer in sent
        ]

    def multi(
        self, operations: Sequence[Operation], acl: AclList, timeout_s: float | None
    ) -> list[str | None]:
        """Execute all operations or none; return the path that each `Create` has created."""
        sent = multi_async(self.client, [self._part(operation, acl) for operation in operations])
        results: list[Any] = self._answer(sent, "multi", "", timeout_s)
        refused = [
            _error(result, "multi", operation.path)
            for operation, result in zip(operations, results, strict=True)
            if isinstance(result, ZookeeperError)
        ]
        if refused:
            first = next((error for error in refused if error.code), refused[0])
            first.results = tuple(refused)
            raise first
        return [
            str(self.client.unchroot(result)) if isinstance(operation, Create) else None
            for operation, result in zip(operations, results, strict=True)
        ]

    def _part(self, operation: Operation, acl: AclList) -> Any:
        path = full_path(self.client, operation.path)
        if isinstance(operation, Create):
            mode = operation.mode
            return create_request(self.client, operation.path, operation.data, mode, acl)
        if isinstance(operation, Delete):
            return KazooDelete(path, operation.version)
        if isinstance(operation, SetData):
            return KazooSetData(path, operation.data, operation.version)
        return CheckVersion(path, -1)

    def _answer(self, result: Any, request: str, path: str, timeout_s: float | None) -> Any:
        """Wait for the reply of a request, and return kazoo's result or raise our error."""
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _SLICE_S if ends_at is None else max(0.0, ends_at - time.monotonic())
            try:
                return result.get(timeout=min(_SLICE_S, left_s))
            except self.client.handler.timeout_exception:
                if left_s == 0.0:
                    raise errors.DeadlineError(request, path) from None
                if self.client.client_state in _ENDED and not result.ready():
                    raise errors.ClientClosedError(request, path) from None
            except ConnectionClosedError:
                raise errors.ClientClosedError(request, path) from None
            except ZookeeperError as error:
                raise _error(error, request, path) from None


def _error(error: ZookeeperError, request: str, path: str) -> ZooKeeperError:
    """Return our error for one of kazoo's."""
    if isinstance(error, OperationTimeoutError):
        return errors.ConnectionLossError(request, path)
    if isinstance(error, RolledBackError):
        return errors.RolledBackError(request, path)
    return error_of(error.code, request, path)
