"""Testing code that uses ZooKeeper: servers of a test's own, and faults on demand.

Owns servers in this process, in processes, and Apache's, what can go wrong with them, a look
inside, recordings, and the pytest plugin. May import all of zoolet; nothing is loaded before it is
asked for, since pytest imports this package wherever it is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoolet.model.codes import ErrorCode, OpCode
    from zoolet.testing.apache import ApacheServer
    from zoolet.testing.embedded import EmbeddedServer
    from zoolet.testing.faults import FaultError
    from zoolet.testing.harness import KazooTestCase, KazooTestHarness
    from zoolet.testing.process import ServerProcess
    from zoolet.testing.recording import Recorder, RecordingError
    from zoolet.testing.replay import Replay
    from zoolet.testing.servers import ReservedPort

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
    "ApacheServer": "zoolet.testing.apache",
    "EmbeddedServer": "zoolet.testing.embedded",
    "ErrorCode": "zoolet.model.codes",
    "FaultError": "zoolet.testing.faults",
    "KazooTestCase": "zoolet.testing.harness",
    "KazooTestHarness": "zoolet.testing.harness",
    "OpCode": "zoolet.model.codes",
    "Recorder": "zoolet.testing.recording",
    "RecordingError": "zoolet.testing.recording",
    "Replay": "zoolet.testing.replay",
    "ReservedPort": "zoolet.testing.servers",
    "ServerProcess": "zoolet.testing.process",
}


def __getattr__(name: str) -> object:
    """Load what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
