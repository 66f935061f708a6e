"""Testing code that uses ZooKeeper: servers of a test's own, and faults on demand.

Owns servers in this process, in processes, and Apache's, what can go wrong with them, a look
inside, recordings, and the pytest plugin. May import all of zoolet; nothing is loaded before it is
asked for, since pytest imports this package wherever it is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoolet.model.codes import ErrorCode, OpCode
    from zoolet.testing.faults.faults import FaultError
    from zoolet.testing.kazoo_harness import KazooTestCase, KazooTestHarness
    from zoolet.testing.recording.recording import Recorder, RecordingError
    from zoolet.testing.recording.replay import Replay
    from zoolet.testing.servers.apache import ApacheServer
    from zoolet.testing.servers.base import ReservedPort
    from zoolet.testing.servers.embedded import EmbeddedServer
    from zoolet.testing.servers.process import ServerProcess

__all__ = [
    "ApacheServer",
    "EmbeddedServer",
    "ErrorCode",
    "FaultError",
    "KazooTestCase",
    "KazooTestHarness",
    "OpCode",
    "Recorder",
    "RecordingError",
    "Replay",
    "ReservedPort",
    "ServerProcess",
]

_MODULES = {
    "ApacheServer": "zoolet.testing.servers.apache",
    "EmbeddedServer": "zoolet.testing.servers.embedded",
    "ErrorCode": "zoolet.model.codes",
    "FaultError": "zoolet.testing.faults.faults",
    "KazooTestCase": "zoolet.testing.kazoo_harness",
    "KazooTestHarness": "zoolet.testing.kazoo_harness",
    "OpCode": "zoolet.model.codes",
    "Recorder": "zoolet.testing.recording.recording",
    "RecordingError": "zoolet.testing.recording.recording",
    "Replay": "zoolet.testing.recording.replay",
    "ReservedPort": "zoolet.testing.servers.base",
    "ServerProcess": "zoolet.testing.servers.process",
}


def __getattr__(name: str) -> object:
    """Load what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
