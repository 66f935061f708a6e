"""`Link`: what the job system needs of a client of ZooKeeper. It has an implementation for each.

`zoolet.jobs.znodes.client_link` uses `zoolet.client.Client`, `zoolet.jobs.znodes.kazoo_link` a
KazooClient of the user, and `zoolet.jobs.aio.async_link` a `zoolet.client.AsyncClient`. All other
modules of the job system use a link, and know no client.

Each request has ``timeout_s``, its time limit in seconds; None is no limit. A request raises an
error of `zoolet.client.errors`, whatever the client: ConnectionLossError or SessionExpiredError if
the reply was lost, DeadlineError if it did not come in time, ClientClosedError if the client was
closed or never started, or the error of the server. Paths are relative to the client's chroot.

Invariants: a watch is called once: when its znode changes, or when changes may have been missed
because the connection or the session was lost. It is not called when the client is closed. A watch
is set only if its request succeeds. This module imports `zoolet.client.errors` and
``model``.
"""

import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from zoolet.client.errors import (
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.jobs.znodes.operations import Create, Operation
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.results import ZnodeData
from zoolet.model.stat import Stat

log = logging.getLogger(__name__)

T = TypeVar("T")

Watch = Callable[[object], None]
"""A watch's callback. It must be short, and must not send requests. Its argument says nothing."""

Watched = tuple[str, Watch | None]
"""A path, and the watch to set on it."""


class ManyRead(NamedTuple):
    """The results of a multiRead. A read that failed has its error.

    Attributes:
        data: the data and the Stat of each znode of ``data_of``.
        children: the names of the children of each znode of ``children_of``.
    """

    data: list[ZnodeData | ZooKeeperError]
    children: list[Sequence[str] | ZooKeeperError]


class Events(Protocol):
    """The names of jobs with events, in order, for the one caller that waits for them."""

    def put(self, item: str) -> None:
        """Add a name. Watches call this."""

    def get(self, *, timeout: float | None) -> str:
        """Wait up to ``timeout`` seconds for a name (None: no limit); raise queue.Empty if none."""

    def get_nowait(self) -> str:
        """Return the next name; raise queue.Empty if there is none."""


class Link(ABC):
    """A connection to ZooKeeper, and how its callers wait.

    The methods for waiting are those of threads. `zoolet.jobs.aio` has a link that lets the event
    loop of asyncio run while its callers wait.
    """

    default_acl: AclList = OPEN_ACL
    """The ACL for new znodes if a request has none."""

    # --- The state of the connection

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether a server serves the session now."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether the client cannot connect any more: it is closed, or was never started."""

    @property
    @abstractmethod
    def is_login_refused(self) -> bool:
        """Whether the server has refused the login of the client."""

    @property
    @abstractmethod
    def chroot(self) -> str:
        """The path to which all paths are relative; "" for the root."""

    @property
    @abstractmethod
    def session_id(self) -> int | None:
        """The id of the session; None if there is no session yet."""

    @abstractmethod
    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until the client is connected or is over, at most for ``timeout_s``."""

    @abstractmethod
    def on_session_end(self, call: Callable[[], None]) -> None:
        """Call ``call``, in a thread of the client, each time when a session has ended."""

    @abstractmethod
    def close(self, timeout_s: float | None) -> None:
        """End the session; after ``timeout_s``, a daemon thread completes the work."""

    # --- Waiting

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        time.sleep(seconds)

    def new_events(self) -> Events:
        """Return an empty queue of events."""
        return queue.SimpleQueue[str]()

    def blocking(self, function: Callable[[], T]) -> T:
        """Call a function that waits without this link, for example for a database."""
        return function()

    def call_local(self) -> Any:
        """Return an object whose attributes have a value of their own in each concurrent call."""
        return threading.local()

    # --- Reading

    @abstractmethod
    def get(self, path: str, watch: Watch | None, timeout_s: float | None) -> ZnodeData:
        """Return the data and the Stat of a znode."""

    @abstractmethod
    def exists(self, path: str, watch: Watch | None, timeout_s: float | None) -> Stat | None:
        """Return the Stat of a znode, None if it does not exist; set the watch in either case."""

    @abstractmethod
    def exist_all(self, wanted: Sequence[Watched], timeout_s: float | None) -> list[Stat | None]:
        """Do the same as `exists` for several znodes, in one round trip."""

    @abstractmethod
    def children(self, path: str, watch: Watch | None, timeout_s: float | None) -> Sequence[str]:
        """Return the names of the children of a znode."""

    @abstractmethod
    def acl_of(self, path: str, timeout_s: float | None) -> AclList:
        """Return the ACL of a znode."""

    @abstractmethod
    def read_many(
        self,
        data_of: Sequence[str],
        children_of: Sequence[str],
        timeout_s: float | None,
        watched: Sequence[Watched] = (),
    ) -> ManyRead:
        """Read several znodes in one multiRead; set the watches of `exists` in the same round trip.

        The server sets the watches before it reads.
        """

    # --- Writing

    @abstractmethod
    def create(self, operation: Create, acl: AclList, timeout_s: float | None) -> str:
        """Create a znode; return its path, with its sequence if it has one."""

    @abstractmethod
    def set(self, path: str, data: bytes, timeout_s: float | None) -> Stat:
        """Set the data of a znode; return its Stat."""

    @abstractmethod
    def delete_all(
        self, wanted: Sequence[str], timeout_s: float | None
    ) -> list[ZooKeeperError | None]:
        """Delete several znodes in one round trip; return the error of each that was refused.

        Raises:
            ConnectionLossError: a reply was lost; the other errors of the connection likewise.
        """

    @abstractmethod
    def multi(
        self, operations: Sequence[Operation], acl: AclList, timeout_s: float | None
    ) -> list[str | None]:
        """Execute all operations or none; return the path that each `Create` has created.

        If the server refuses an operation, its error is raised. ``error.results`` then has an
        error for each operation: RolledBackError before the refused operation, and
        RuntimeInconsistencyError after it.
        """


def refusal_of(answer: Callable[[], object]) -> ZooKeeperError | None:
    """Wait for a reply; return the error of the server, or None if there is none.

    Raises:
        ZooKeeperError: the reply was lost, or did not come.
    """
    try:
        answer()
    except (ConnectionLossError, SessionExpiredError, DeadlineError, ClientClosedError):
        raise
    except ZooKeeperError as error:
        return error
    return None


def close_in_time(close: Callable[[], None], timeout_s: float | None) -> None:
    """Close a client in a daemon thread, and wait for it at most for ``timeout_s``."""

    def close_quietly() -> None:
        try:
            close()
        except Exception:
            log.debug("a ZooKeeper client was not closed in order", exc_info=True)

    thread = threading.Thread(target=close_quietly, daemon=True)
    thread.start()
    thread.join(timeout_s)
