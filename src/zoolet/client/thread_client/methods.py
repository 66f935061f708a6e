"""The requests of a client as methods that wait for the result.

Made by `release.client_methods` from `asyncio_client/methods.py`: change that module.
"""

from abc import ABC, abstractmethod
from typing import TypeVar

from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.batches import Multi, MultiRead
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.watches import OnNotice
from zoolet.model.acl import OPEN_ACL, AclList, Id
from zoolet.model.codes import AddWatchMode, CreateMode, WatcherType
from zoolet.model.results import AclOf, Children, Created, ZnodeData
from zoolet.model.stat import Stat

T = TypeVar("T")


class Requests(ABC):
    """One method for each request of ZooKeeper.

    All methods have ``timeout_s``, the time limit of the call in seconds; None is the client's
    default, and 0 is no limit. All paths are relative to the client's chroot.

    Each method raises ValueError for an invalid path, and TypeError for data that are not bytes.
    A call raises a `ZooKeeperError`: ConnectionLossError if the reply was lost, DeadlineError
    if it did not come in time, SessionExpiredError if the session has ended, or the error of the
    server.
    """

    def __init__(self, make: RequestMaker) -> None:
        self._make = make

    @abstractmethod
    def _run(self, call: Call[T], timeout_s: float | None) -> T:
        """Start a call and return its result."""

    def get(
        self,
        path: str,
        *,
        watch: OnNotice | None = None,
        timeout_s: float | None = None,
    ) -> ZnodeData:
        """Return the data and the Stat of a znode.

        ``watch`` is called once, when the znode is changed or deleted.

        Raises:
            NoNodeError: the znode does not exist.
        """
        return self._run(self._make.get(path, watch), timeout_s)

    def exists(
        self,
        path: str,
        *,
        watch: OnNotice | None = None,
        timeout_s: float | None = None,
    ) -> Stat | None:
        """Return the Stat of a znode; None if it does not exist.

        ``watch`` is called once, when the znode is created, changed or deleted.
        """
        return self._run(self._make.exists(path, watch), timeout_s)

    def children(
        self,
        path: str,
        *,
        watch: OnNotice | None = None,
        timeout_s: float | None = None,
    ) -> Children:
        """Return the names of the children, in no order, and the Stat of the znode.

        ``watch`` is called once, when a child is created or deleted, or the znode is deleted.

        Raises:
            NoNodeError: the znode does not exist.
        """
        return self._run(self._make.children(path, watch), timeout_s)

    def set(
        self,
        path: str,
        data: bytes | None,
        *,
        version: int = -1,
        timeout_s: float | None = None,
    ) -> Stat:
        """Set the data of a znode if it has the given version; return its new Stat.

        Version -1 is any version. None as data is ZooKeeper's null.

        Raises:
            NoNodeError: the znode does not exist.
            BadVersionError: the znode has another version.
        """
        return self._run(self._make.set(path, data, version), timeout_s)

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: AclList = OPEN_ACL,
        ttl_ms: int = 0,
        timeout_s: float | None = None,
    ) -> Created:
        """Create a znode; return its path, with the sequence number if it has one, and its Stat.

        ``ttl_ms`` is the TTL in milliseconds, for the modes with a TTL.

        Raises:
            NodeExistsError: the znode exists already.
            NoNodeError: the parent does not exist.
            NoChildrenForEphemeralsError: the parent is an ephemeral.
        """
        return self._run(self._make.create(path, data, mode, acl, ttl_ms), timeout_s)

    def delete(
        self,
        path: str,
        *,
        version: int = -1,
        timeout_s: float | None = None,
    ) -> None:
        """Delete a znode if it has the given version; -1 is any version.

        Raises:
            NoNodeError: the znode does not exist.
            NotEmptyError: the znode has children.
            BadVersionError: the znode has another version.
        """
        return self._run(self._make.delete(path, version), timeout_s)

    def multi(
        self,
        batch: Multi,
        *,
        timeout_s: float | None = None,
    ) -> tuple[str | Stat | None, ...]:
        """Apply all writes of a `Multi` or none; return the result of each, in order.

        If a write fails, its error is raised. The attribute ``results`` of the error has the error
        of each write: RolledBackError for the writes before the failed one, and
        RuntimeInconsistencyError for the writes after it.
        """
        return self._run(self._make.multi(batch), timeout_s)

    def multi_read(
        self,
        batch: MultiRead,
        *,
        timeout_s: float | None = None,
    ) -> tuple[ZnodeData | tuple[str, ...] | ZooKeeperError, ...]:
        """Do all reads of a `MultiRead` on one state of the server; return the result of each.

        The result of a read that failed is its error, which is not raised.

        Raises:
            UnimplementedError: the server is older than ZooKeeper 3.6.
        """
        return self._run(self._make.multi_read(batch), timeout_s)

    def get_acl(self, path: str, *, timeout_s: float | None = None) -> AclOf:
        """Return the ACL and the Stat of a znode."""
        return self._run(self._make.get_acl(path), timeout_s)

    def set_acl(
        self,
        path: str,
        acl: AclList,
        *,
        version: int = -1,
        timeout_s: float | None = None,
    ) -> Stat:
        """Set the ACL of a znode if its ACL has the given version; return its new Stat.

        Raises:
            InvalidAclError: the ACL is empty or has an invalid entry.
        """
        return self._run(self._make.set_acl(path, acl, version), timeout_s)

    def sync(self, path: str = "/", *, timeout_s: float | None = None) -> str:
        """Wait until the client's server has all earlier changes of the ensemble's leader."""
        return self._run(self._make.sync(path), timeout_s)

    def ephemerals(
        self,
        prefix: str = "/",
        *,
        timeout_s: float | None = None,
    ) -> tuple[str, ...]:
        """Return the paths of this session's ephemerals that begin with ``prefix``."""
        return self._run(self._make.ephemerals(prefix), timeout_s)

    def count_descendants(self, path: str, *, timeout_s: float | None = None) -> int:
        """Return the number of all descendants of a znode."""
        return self._run(self._make.count_descendants(path), timeout_s)

    def who_am_i(self, *, timeout_s: float | None = None) -> tuple[Id, ...]:
        """Return the identities of this client's connection."""
        return self._run(self._make.who_am_i(), timeout_s)

    def config(self, *, timeout_s: float | None = None) -> ZnodeData:
        """Return the configuration of the ensemble, also if the client has a chroot."""
        return self._run(self._make.config(), timeout_s)

    def reconfig(
        self,
        *,
        joining: str | None = None,
        leaving: str | None = None,
        members: str | None = None,
        version: int = -1,
        timeout_s: float | None = None,
    ) -> ZnodeData:
        """Change the members of the ensemble; return the new configuration.

        The arguments are those of ``reconfig`` in ZooKeeper's administrator's guide.

        Raises:
            ReconfigDisabledError: the server has reconfigEnabled=false.
        """
        return self._run(self._make.reconfig(joining, leaving, members, version), timeout_s)

    def add_watch(
        self,
        path: str,
        watch: OnNotice,
        *,
        mode: AddWatchMode = AddWatchMode.PERSISTENT,
        timeout_s: float | None = None,
    ) -> None:
        """Call ``watch`` for each change of a znode, or of its subtree, until it is removed."""
        return self._run(self._make.add_watch(path, mode, watch), timeout_s)

    def check_watches(
        self,
        path: str,
        watcher_type: WatcherType = WatcherType.ANY,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Check that the server has watches of this client on a path.

        Raises:
            NoWatcherError: the server has no such watch.
        """
        return self._run(self._make.check_watches(path, watcher_type), timeout_s)

    def remove_watches(
        self,
        path: str,
        watcher_type: WatcherType = WatcherType.ANY,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Remove all watches of this client on a path, of one type or of all types.

        Raises:
            NoWatcherError: there is no such watch.
        """
        return self._run(self._make.remove_watches(path, watcher_type), timeout_s)
