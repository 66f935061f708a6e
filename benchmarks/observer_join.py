"""How an observer joins an ensemble with many znodes, beginning with an empty directory.

The observer reaches the leader through a relay, which notes when the end of the snapshot passes.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.restart import write_znodes
from benchmarks.servers import Running
from tests.support.ensemble import ApacheEnsemble
from tests.support.rawclient import RawClient
from zoolet.model.codes import OpCode
from zoolet.testing.servers.base import ADDRESS
from zoolet.testing.servers.process import ExternalServer
from zoolet.wire.jute import pack_ustring

LIMIT_S = 300.0
LAST_PATH = "/p%05d/c00999"
_END_OF_SNAPSHOT = b"BenWasHere"
_CHUNK_BYTES = 1 << 18
_PAUSE_S = 0.005


class Relay:
    """Passes on the bytes between an observer and a member.

    Attributes:
        hosts: what the observer connects to.
        snapshot_ended_s: when the last byte of a snapshot was passed on; 0.0 before that.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server((ADDRESS, 0))
        self.hosts = f"{ADDRESS}:{self._listener.getsockname()[1]}"
        self.snapshot_ended_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection((ADDRESS, self._port))
                except OSError:
                    near.close()
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
                threading.Thread(target=self._pass_back, args=(far, near), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _pass_back(self, source: socket.socket, target: socket.socket) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                target.sendall(data)
                if not self.snapshot_ended_s:
                    if _END_OF_SNAPSHOT in tail + data:
                        self.snapshot_ended_s = time.perf_counter()
                    tail = data[-len(_END_OF_SNAPSHOT) :]
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def large_ensemble(home: Path, jars: Path, znodes: int, heap_mib: int) -> Iterator[ApacheEnsemble]:
    """Run three members that have this number of znodes."""
    settings = {"tickTime": 2000, "initLimit": 60, "syncLimit": 30}
    ensemble = ApacheEnsemble(home / "members", jars, heap_mib, settings)
    write_znodes(home / "prepared", znodes)
    for member in ensemble.members:
        directory = member.directory / "data" / "version-2"
        directory.mkdir()
        for file in (home / "prepared").iterdir():
            (directory / file.name).hardlink_to(file)
    with ensemble:
        yield ensemble


NewObserver = Callable[[Path, ApacheEnsemble, Mapping[str, object]], ExternalServer]


def measure_join(
    new_observer: NewObserver, home: Path, ensemble: ApacheEnsemble, znodes: int
) -> dict[str, float]:
    """Let an observer join; return the times of the join, and the memory that is resident."""
    relays = {key: Relay(int(line.split(":")[1])) for key, line in ensemble.servers.items()}
    lines: dict[str, object] = {
        key: f"{relay.hosts}:{ensemble.servers[key].split(':')[2]}" for key, relay in relays.items()
    }
    last_path = LAST_PATH % (znodes // 1000 - 1)
    observer = new_observer(home, ensemble, lines)
    began_s = time.perf_counter()
    reading = ThreadPoolExecutor(1).submit(_first_read, observer.port, last_path)
    try:
        with observer:
            read_s = reading.result(LIMIT_S)
            ended_s = max(relay.snapshot_ended_s for relay in relays.values())
            if not ended_s:
                raise RuntimeError("the observer served a read before it had a snapshot")
            time.sleep(3)
            resident_mb = Running(observer.port, observer.pid, 0.0).usage().resident_mb
    finally:
        for relay in relays.values():
            relay.close()
    return {
        "join_s": read_s - began_s,
        "after_snapshot_s": read_s - ended_s,
        "resident_mb": resident_mb,
    }


def _first_read(port: int, path: str) -> float:
    """Return when a new client of the server has read a znode."""
    end_s = time.perf_counter() + LIMIT_S
    while time.perf_counter() < end_s:
        with contextlib.suppress(OSError, EOFError), RawClient(port) as client:
            if client.connect(30_000).timeout_ms:
                reply = client.request(OpCode.GET_DATA, pack_ustring(path) + b"\0")
                if not reply.err:
                    return time.perf_counter()
        time.sleep(_PAUSE_S)
    raise TimeoutError(f"no read of {path} within {LIMIT_S:g} s")
