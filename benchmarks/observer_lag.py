"""How long after the leader's reply to a write a read at an observer shows the write.

One thread and one clock: a connection to the leader sets a znode, a connection to the observer
reads it again and again. The lag is the time from the leader's reply, which follows the commit, to
the first reply of the observer that shows the version. It is negative if the observer is first.
"""

import selectors
import statistics
import time

from tests.support.rawclient import RawClient
from zoolet.model.codes import OpCode
from zoolet.model.stat import Stat
from zoolet.wire.jute import INT, Reader, pack_buffer, pack_ustring

PATH = "/lag"
_OUTSTANDING = 16
_FIRST_PROBES = _OUTSTANDING
"""These are not counted."""

_LIMIT_S = 30.0


def _version(body: bytes) -> int:
    reader = Reader(body)
    reader.read_buffer()
    return Stat.unpack(reader.data, reader.position).version


class _Probes:
    """The writes of one znode, and when each version was committed and visible."""

    def __init__(self, writer: RawClient, reader: RawClient) -> None:
        self._writer, self._reader = writer, reader
        writer.connect(30_000)
        reader.connect(30_000)
        writer.create(PATH)
        self._get = pack_ustring(PATH) + b"\0"
        self._set = pack_ustring(PATH) + pack_buffer(b"x" * 100) + INT.pack(-1)
        reader.request(OpCode.SYNC, pack_ustring(PATH))
        self._first = _version(reader.request(OpCode.GET_DATA, self._get).body)
        self._sent = 0
        self._committed_s: list[float] = []
        self._visible_s: list[float] = []

    def begin(self) -> None:
        """Send the first requests."""
        self._reader.send(OpCode.GET_DATA, self._get)
        for _ in range(_OUTSTANDING):
            self._write()

    def _write(self) -> None:
        self._writer.send(OpCode.SET_DATA, self._set)
        self._sent += 1

    def committed(self, now_s: float, *, writes_on: bool) -> None:
        """Take the leader's replies to the oldest writes."""
        is_first = True
        while is_first or self._writer.has_frame:
            is_first = False
            reply = self._writer.read_reply()
            if reply.err:
                raise RuntimeError(f"the leader refused a write with {reply.err}")
            self._committed_s.append(now_s)
            if writes_on:
                self._write()

    def read(self, now_s: float) -> None:
        """Take a reply of the observer, and read again."""
        visible = _version(self._reader.read_reply().body) - self._first
        self._visible_s += [now_s] * (visible - len(self._visible_s))
        self._reader.send(OpCode.GET_DATA, self._get)

    @property
    def is_complete(self) -> bool:
        """Whether every write that was sent is committed and visible."""
        return len(self._committed_s) == len(self._visible_s) == self._sent

    def lags_ms(self) -> list[float]:
        """Return the lag of each write in ms."""
        times = zip(self._committed_s, self._visible_s, strict=True)
        return [(visible_s - committed_s) * 1000 for committed_s, visible_s in times]


def measure_lags(leader_port: int, observer_port: int, seconds: float) -> list[float]:
    """Return the lags in ms of all writes in some seconds."""
    with (
        RawClient(leader_port) as writer,
        RawClient(observer_port) as reader,
        selectors.DefaultSelector() as selector,
    ):
        probes = _Probes(writer, reader)
        selector.register(writer.socket, selectors.EVENT_READ, writer)
        selector.register(reader.socket, selectors.EVENT_READ, reader)
        end_s = time.perf_counter() + seconds
        probes.begin()
        while not probes.is_complete:
            ready = selector.select(_LIMIT_S)
            now_s = time.perf_counter()
            if now_s > end_s + _LIMIT_S or not ready:
                raise TimeoutError(f"a write of {PATH} does not become visible")
            for key, _ in ready:
                if key.data is reader:
                    probes.read(now_s)
                else:
                    probes.committed(now_s, writes_on=now_s < end_s)
        return probes.lags_ms()[_FIRST_PROBES:]


def figures(lags_ms: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(lags_ms)
    return {
        "lag_p50_ms": statistics.median(ordered),
        "lag_p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "probes": float(len(ordered)),
    }
