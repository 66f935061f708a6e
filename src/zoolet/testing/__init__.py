"""Tools for tests of code that uses ZooKeeper: servers for tests, and faults on demand.

This package contains embedded servers, servers in separate processes, Apache ZooKeeper servers,
their faults, access to the server's state, recordings, and the pytest plugin. It may import all of
zoolet. It imports each module only when a name of the module is used, because pytest imports this
package in every environment in which zoolet is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoolet.model.codes import ErrorCode, OpCode, WatchMode
    from zoolet.model.stat import Stat
    from zoolet.server.common.clock import Clock
    from zoolet.server.zoo_cfg.config import Config
    from zoolet.state_machine.znode import Znode
    from zoolet.testing.kazoo_harness.harness import Cluster, KazooTestCase, KazooTestHarness
    from zoolet.testing.received_requests.seen_requests import SeenRequest
    from zoolet.testing.recording.recording import Recorder, RecordingError
    from zoolet.testing.recording.replay import Replay
    from zoolet.testing.servers.apache import ApacheServer
    from zoolet.testing.servers.base import ReservedPort
    from zoolet.testing.servers.clock import ServerClock
    from zoolet.testing.servers.embedded import EmbeddedServer
    from zoolet.testing.servers.faults import Fault, FaultError, Faults, Partition, Trigger
    from zoolet.testing.servers.memory_disk import MemoryDisk
    from zoolet.testing.servers.network import Exchange, Link, Network
    from zoolet.testing.servers.process import ServerProcess
    from zoolet.testing.servers.server_state import Inside, SessionSeen, Watch

__all__ = [
    "ApacheServer",
    "Clock",
    "Cluster",
    "Config",
    "EmbeddedServer",
    "ErrorCode",
    "Exchange",
    "Fault",
    "FaultError",
    "Faults",
    "Inside",
    "KazooTestCase",
    "KazooTestHarness",
    "Link",
    "MemoryDisk",
    "Network",
    "OpCode",
    "Partition",
    "Recorder",
    "RecordingError",
    "Replay",
    "ReservedPort",
    "SeenRequest",
    "ServerClock",
    "ServerProcess",
    "SessionSeen",
    "Stat",
    "Trigger",
    "Watch",
    "WatchMode",
    "Znode",
]

_MODULES = {
    "ApacheServer": "zoolet.testing.servers.apache",
    "Clock": "zoolet.server.common.clock",
    "Cluster": "zoolet.testing.kazoo_harness.harness",
    "Config": "zoolet.server.zoo_cfg.config",
    "EmbeddedServer": "zoolet.testing.servers.embedded",
    "ErrorCode": "zoolet.model.codes",
    "Exchange": "zoolet.testing.servers.network",
    "Fault": "zoolet.testing.servers.faults",
    "FaultError": "zoolet.testing.servers.faults",
    "Faults": "zoolet.testing.servers.faults",
    "Inside": "zoolet.testing.servers.server_state",
    "KazooTestCase": "zoolet.testing.kazoo_harness.harness",
    "KazooTestHarness": "zoolet.testing.kazoo_harness.harness",
    "Link": "zoolet.testing.servers.network",
    "MemoryDisk": "zoolet.testing.servers.memory_disk",
    "Network": "zoolet.testing.servers.network",
    "OpCode": "zoolet.model.codes",
    "Partition": "zoolet.testing.servers.faults",
    "Recorder": "zoolet.testing.recording.recording",
    "RecordingError": "zoolet.testing.recording.recording",
    "Replay": "zoolet.testing.recording.replay",
    "ReservedPort": "zoolet.testing.servers.base",
    "SeenRequest": "zoolet.testing.received_requests.seen_requests",
    "ServerClock": "zoolet.testing.servers.clock",
    "ServerProcess": "zoolet.testing.servers.process",
    "SessionSeen": "zoolet.testing.servers.server_state",
    "Stat": "zoolet.model.stat",
    "Trigger": "zoolet.testing.servers.faults",
    "Watch": "zoolet.testing.servers.server_state",
    "WatchMode": "zoolet.model.codes",
    "Znode": "zoolet.state_machine.znode",
}


def __getattr__(name: str) -> object:
    """Import the module that defines a public name, and return the value of the name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
