"""A typed client of ZooKeeper, for asyncio and for threads.

`AsyncClient` and `Client` have the same methods, one for each request of ZooKeeper 3.9, and work
with zoolet and with Apache ZooKeeper. `zoolet.client.kazoo` has what kazoo's client lacks. Each
module is imported only when one of its names is used, because `Client` needs neither asyncio nor
ssl.

Provisional: these names may change in any release (docs/releases.md).
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoolet.client.asyncio_client.client import AsyncClient
    from zoolet.client.asyncio_client.methods import AsyncRequests
    from zoolet.client.asyncio_client.recipes.barrier import AsyncBarrier, AsyncDoubleBarrier
    from zoolet.client.asyncio_client.recipes.counter import AsyncCounter
    from zoolet.client.asyncio_client.recipes.election import AsyncElection
    from zoolet.client.asyncio_client.recipes.lock import AsyncLock
    from zoolet.client.asyncio_client.recipes.locking_queue import (
        AsyncLockingQueue,
        AsyncQueueEntry,
    )
    from zoolet.client.asyncio_client.recipes.partitioner import AsyncSetPartitioner
    from zoolet.client.asyncio_client.recipes.party import AsyncParty
    from zoolet.client.asyncio_client.recipes.queue import AsyncQueue
    from zoolet.client.asyncio_client.recipes.semaphore import AsyncLease, AsyncSemaphore
    from zoolet.client.asyncio_client.recipes.tree_cache import AsyncTreeCache
    from zoolet.client.asyncio_client.recipes.watchers import AsyncChildrenWatcher, AsyncDataWatcher
    from zoolet.client.asyncio_client.retrying import AsyncRetryingRequests
    from zoolet.client.asyncio_client.watching import AsyncWatch
    from zoolet.client.changes import ChangeKind, TreeChange
    from zoolet.client.connecting.options import ClientOptions, Credential
    from zoolet.client.connecting.tls_files import TlsFiles
    from zoolet.client.errors import (
        AuthFailedError,
        BadArgumentsError,
        BadVersionError,
        ClientClosedError,
        ConnectionLossError,
        DeadlineError,
        EphemeralOnLocalSessionError,
        ForkedClientError,
        HiddenAclError,
        InvalidAclError,
        LockLostError,
        MarshallingError,
        MovedEphemeralError,
        NewConfigNoQuorumError,
        NoAuthError,
        NoChildrenForEphemeralsError,
        NodeExistsError,
        NoNodeError,
        NoServerError,
        NotEmptyError,
        NotReadOnlyError,
        NoWatcherError,
        ProtocolError,
        QuotaExceededError,
        ReconfigDisabledError,
        ReconfigInProgressError,
        RequestTimeoutError,
        RolledBackError,
        RuntimeInconsistencyError,
        ServerError,
        SessionClosedRequireSaslError,
        SessionExpiredError,
        SessionMovedError,
        ThrottledError,
        UnimplementedError,
        WaitCancelledError,
        ZooKeeperError,
    )
    from zoolet.client.metrics import ClientMetrics
    from zoolet.client.protocol.batches import Multi, MultiRead
    from zoolet.client.protocol.session_id import SessionId
    from zoolet.client.protocol.states import SessionState
    from zoolet.client.protocol.watches import Resynced
    from zoolet.client.retries import Retry
    from zoolet.client.thread_client.client import Client
    from zoolet.client.thread_client.future_methods import FutureRequests
    from zoolet.client.thread_client.futures import CallFuture
    from zoolet.client.thread_client.recipes.barrier import Barrier, DoubleBarrier
    from zoolet.client.thread_client.recipes.counter import Counter
    from zoolet.client.thread_client.recipes.election import Election
    from zoolet.client.thread_client.recipes.lock import Lock
    from zoolet.client.thread_client.recipes.locking_queue import LockingQueue, QueueEntry
    from zoolet.client.thread_client.recipes.partitioner import SetPartitioner
    from zoolet.client.thread_client.recipes.party import Party
    from zoolet.client.thread_client.recipes.queue import Queue
    from zoolet.client.thread_client.recipes.semaphore import Lease, Semaphore
    from zoolet.client.thread_client.recipes.tree_cache import TreeCache
    from zoolet.client.thread_client.recipes.watchers import ChildrenWatcher, DataWatcher
    from zoolet.client.thread_client.retrying import RetryingRequests
    from zoolet.client.thread_client.watching import Watch
    from zoolet.client.transfers import Transferred
    from zoolet.exports.lines import ExportedZnode, ExportError
    from zoolet.model.acl import ACL, OPEN_ACL, Id
    from zoolet.model.addresses import Address
    from zoolet.model.codes import AddWatchMode, CreateMode, EventType, Permission, WatcherType
    from zoolet.model.results import AclOf, Children, Created, Event, Visited, ZnodeData
    from zoolet.model.stat import Stat

__all__ = [
    "ACL",
    "OPEN_ACL",
    "AclOf",
    "AddWatchMode",
    "Address",
    "AsyncBarrier",
    "AsyncChildrenWatcher",
    "AsyncClient",
    "AsyncCounter",
    "AsyncDataWatcher",
    "AsyncDoubleBarrier",
    "AsyncElection",
    "AsyncLease",
    "AsyncLock",
    "AsyncLockingQueue",
    "AsyncParty",
    "AsyncQueue",
    "AsyncQueueEntry",
    "AsyncRequests",
    "AsyncRetryingRequests",
    "AsyncSemaphore",
    "AsyncSetPartitioner",
    "AsyncTreeCache",
    "AsyncWatch",
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Barrier",
    "CallFuture",
    "ChangeKind",
    "Children",
    "ChildrenWatcher",
    "Client",
    "ClientClosedError",
    "ClientMetrics",
    "ClientOptions",
    "ConnectionLossError",
    "Counter",
    "CreateMode",
    "Created",
    "Credential",
    "DataWatcher",
    "DeadlineError",
    "DoubleBarrier",
    "Election",
    "EphemeralOnLocalSessionError",
    "Event",
    "EventType",
    "ExportError",
    "ExportedZnode",
    "ForkedClientError",
    "FutureRequests",
    "HiddenAclError",
    "Id",
    "InvalidAclError",
    "Lease",
    "Lock",
    "LockLostError",
    "LockingQueue",
    "MarshallingError",
    "MovedEphemeralError",
    "Multi",
    "MultiRead",
    "NewConfigNoQuorumError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NoServerError",
    "NoWatcherError",
    "NodeExistsError",
    "NotEmptyError",
    "NotReadOnlyError",
    "Party",
    "Permission",
    "ProtocolError",
    "Queue",
    "QueueEntry",
    "QuotaExceededError",
    "ReconfigDisabledError",
    "ReconfigInProgressError",
    "RequestTimeoutError",
    "Resynced",
    "Retry",
    "RetryingRequests",
    "RolledBackError",
    "RuntimeInconsistencyError",
    "Semaphore",
    "ServerError",
    "SessionClosedRequireSaslError",
    "SessionExpiredError",
    "SessionId",
    "SessionMovedError",
    "SessionState",
    "SetPartitioner",
    "Stat",
    "ThrottledError",
    "TlsFiles",
    "Transferred",
    "TreeCache",
    "TreeChange",
    "UnimplementedError",
    "Visited",
    "WaitCancelledError",
    "Watch",
    "WatcherType",
    "ZnodeData",
    "ZooKeeperError",
]

_MODULES = {
    "ACL": "zoolet.model.acl",
    "AclOf": "zoolet.model.results",
    "AddWatchMode": "zoolet.model.codes",
    "Address": "zoolet.model.addresses",
    "AsyncBarrier": "zoolet.client.asyncio_client.recipes.barrier",
    "AsyncChildrenWatcher": "zoolet.client.asyncio_client.recipes.watchers",
    "AsyncClient": "zoolet.client.asyncio_client.client",
    "AsyncCounter": "zoolet.client.asyncio_client.recipes.counter",
    "AsyncDataWatcher": "zoolet.client.asyncio_client.recipes.watchers",
    "AsyncDoubleBarrier": "zoolet.client.asyncio_client.recipes.barrier",
    "AsyncElection": "zoolet.client.asyncio_client.recipes.election",
    "AsyncLease": "zoolet.client.asyncio_client.recipes.semaphore",
    "AsyncLock": "zoolet.client.asyncio_client.recipes.lock",
    "AsyncLockingQueue": "zoolet.client.asyncio_client.recipes.locking_queue",
    "AsyncParty": "zoolet.client.asyncio_client.recipes.party",
    "AsyncQueue": "zoolet.client.asyncio_client.recipes.queue",
    "AsyncQueueEntry": "zoolet.client.asyncio_client.recipes.locking_queue",
    "AsyncRequests": "zoolet.client.asyncio_client.methods",
    "AsyncRetryingRequests": "zoolet.client.asyncio_client.retrying",
    "AsyncSemaphore": "zoolet.client.asyncio_client.recipes.semaphore",
    "AsyncSetPartitioner": "zoolet.client.asyncio_client.recipes.partitioner",
    "AsyncTreeCache": "zoolet.client.asyncio_client.recipes.tree_cache",
    "AsyncWatch": "zoolet.client.asyncio_client.watching",
    "AuthFailedError": "zoolet.client.errors",
    "BadArgumentsError": "zoolet.client.errors",
    "BadVersionError": "zoolet.client.errors",
    "Barrier": "zoolet.client.thread_client.recipes.barrier",
    "CallFuture": "zoolet.client.thread_client.futures",
    "ChangeKind": "zoolet.client.changes",
    "Children": "zoolet.model.results",
    "ChildrenWatcher": "zoolet.client.thread_client.recipes.watchers",
    "Client": "zoolet.client.thread_client.client",
    "ClientClosedError": "zoolet.client.errors",
    "ClientMetrics": "zoolet.client.metrics",
    "ClientOptions": "zoolet.client.connecting.options",
    "ConnectionLossError": "zoolet.client.errors",
    "Counter": "zoolet.client.thread_client.recipes.counter",
    "CreateMode": "zoolet.model.codes",
    "Created": "zoolet.model.results",
    "Credential": "zoolet.client.connecting.options",
    "DataWatcher": "zoolet.client.thread_client.recipes.watchers",
    "DeadlineError": "zoolet.client.errors",
    "DoubleBarrier": "zoolet.client.thread_client.recipes.barrier",
    "Election": "zoolet.client.thread_client.recipes.election",
    "EphemeralOnLocalSessionError": "zoolet.client.errors",
    "Event": "zoolet.model.results",
    "EventType": "zoolet.model.codes",
    "ExportError": "zoolet.exports.lines",
    "ExportedZnode": "zoolet.exports.lines",
    "ForkedClientError": "zoolet.client.errors",
    "FutureRequests": "zoolet.client.thread_client.future_methods",
    "HiddenAclError": "zoolet.client.errors",
    "Id": "zoolet.model.acl",
    "InvalidAclError": "zoolet.client.errors",
    "Lease": "zoolet.client.thread_client.recipes.semaphore",
    "Lock": "zoolet.client.thread_client.recipes.lock",
    "LockLostError": "zoolet.client.errors",
    "LockingQueue": "zoolet.client.thread_client.recipes.locking_queue",
    "MarshallingError": "zoolet.client.errors",
    "MovedEphemeralError": "zoolet.client.errors",
    "Multi": "zoolet.client.protocol.batches",
    "MultiRead": "zoolet.client.protocol.batches",
    "NewConfigNoQuorumError": "zoolet.client.errors",
    "NoAuthError": "zoolet.client.errors",
    "NoChildrenForEphemeralsError": "zoolet.client.errors",
    "NoNodeError": "zoolet.client.errors",
    "NoServerError": "zoolet.client.errors",
    "NoWatcherError": "zoolet.client.errors",
    "NodeExistsError": "zoolet.client.errors",
    "NotEmptyError": "zoolet.client.errors",
    "NotReadOnlyError": "zoolet.client.errors",
    "OPEN_ACL": "zoolet.model.acl",
    "Party": "zoolet.client.thread_client.recipes.party",
    "Permission": "zoolet.model.codes",
    "ProtocolError": "zoolet.client.errors",
    "Queue": "zoolet.client.thread_client.recipes.queue",
    "QueueEntry": "zoolet.client.thread_client.recipes.locking_queue",
    "QuotaExceededError": "zoolet.client.errors",
    "ReconfigDisabledError": "zoolet.client.errors",
    "ReconfigInProgressError": "zoolet.client.errors",
    "RequestTimeoutError": "zoolet.client.errors",
    "Resynced": "zoolet.client.protocol.watches",
    "Retry": "zoolet.client.retries",
    "RetryingRequests": "zoolet.client.thread_client.retrying",
    "RolledBackError": "zoolet.client.errors",
    "RuntimeInconsistencyError": "zoolet.client.errors",
    "Semaphore": "zoolet.client.thread_client.recipes.semaphore",
    "ServerError": "zoolet.client.errors",
    "SessionClosedRequireSaslError": "zoolet.client.errors",
    "SessionExpiredError": "zoolet.client.errors",
    "SessionId": "zoolet.client.protocol.session_id",
    "SessionMovedError": "zoolet.client.errors",
    "SessionState": "zoolet.client.protocol.states",
    "SetPartitioner": "zoolet.client.thread_client.recipes.partitioner",
    "Stat": "zoolet.model.stat",
    "ThrottledError": "zoolet.client.errors",
    "TlsFiles": "zoolet.client.connecting.tls_files",
    "Transferred": "zoolet.client.transfers",
    "TreeCache": "zoolet.client.thread_client.recipes.tree_cache",
    "TreeChange": "zoolet.client.changes",
    "UnimplementedError": "zoolet.client.errors",
    "Visited": "zoolet.model.results",
    "WaitCancelledError": "zoolet.client.errors",
    "Watch": "zoolet.client.thread_client.watching",
    "WatcherType": "zoolet.model.codes",
    "ZnodeData": "zoolet.model.results",
    "ZooKeeperError": "zoolet.client.errors",
}


def __getattr__(name: str) -> object:
    """Import the module that defines a public name, and return the value of the name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    __import__(module)  # importlib takes 0.5 ms
    return getattr(sys.modules[module], name)
