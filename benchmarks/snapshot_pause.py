"""What a snapshot costs the clients: latencies of reads while one is written, and without.

A server with ZNODES znodes of 100 bytes takes snapshots again and again while one client writes and
another reads, one request at a time; then the same without snapshots. Usage: python -m
benchmarks.snapshot_pause [ZNODES [SECONDS]].
"""

import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.restart import write_znodes
from tests.support.rawclient import RawClient
from zoolet.model.codes import OpCode
from zoolet.testing import ServerProcess
from zoolet.testing.frames import REQUEST_HEADER
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

TXNS_PER_SNAPSHOT = 10_000
WRITES_AT_ONCE = 50
NEVER = 2**31 - 1
GET = pack_ustring("/p00000/c00000") + b"\0"
SET = pack_ustring("/p00001/c00001") + pack_buffer(b"y" * 100) + INT.pack(-1)


def write_until(port: int, end: float, written: "Synchronized[int]") -> None:
    """Write, so many at once, until then; count them."""
    with RawClient(port) as client:
        client.connect(30_000)
        content = REQUEST_HEADER.pack(1, OpCode.SET_DATA) + SET
        frames = (INT.pack(len(content)) + content) * WRITES_AT_ONCE
        while time.monotonic() < end:
            client.socket.sendall(frames)
            for _ in range(WRITES_AT_ONCE):
                client.read_reply()
            written.value += WRITES_AT_ONCE


def read_until(port: int, end: float) -> list[float]:
    """Read, one at a time, until then; return how long each took, in ms."""
    latencies_ms = []
    with RawClient(port) as client:
        client.connect(30_000)
        while (began := time.monotonic()) < end:
            client.request(OpCode.GET_DATA, GET)
            latencies_ms.append((time.monotonic() - began) * 1000)
    return sorted(latencies_ms)


def measure(
    prepared: Path, home: Path, snap_count: int, seconds: float
) -> tuple[list[float], int, int]:
    """Return the latencies in ms, sorted, and how many writes and snapshots there were."""
    shutil.copytree(prepared, home / "data" / "version-2")
    with ServerProcess(home, {"tickTime": 2000, "snapCount": snap_count}) as server:
        end = time.monotonic() + seconds
        written = multiprocessing.Value("i")
        writer = multiprocessing.Process(target=write_until, args=(server.port, end, written))
        writer.start()
        latencies_ms = read_until(server.port, end)
        writer.join()
        snapshots = next(
            int(line.split("\t")[1])
            for line in server.ask("mntr").splitlines()
            if line.startswith("zk_snap_count")
        )
    return latencies_ms, written.value, snapshots


def main() -> None:
    """Measure and print."""
    znodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    home = Path(tempfile.mkdtemp(prefix="zoolet-bench-"))
    table = Table(
        "", "writes", "reads", "p50", "p99", "p999", "longest", title=f"{znodes:,} znodes"
    )
    try:
        write_znodes(home / "prepared", znodes)
        for snap_count in (NEVER, TXNS_PER_SNAPSHOT):
            latencies_ms, writes, snapshots = measure(
                home / "prepared", home / str(snap_count), snap_count, seconds
            )
            count = len(latencies_ms)
            shown = [latencies_ms[int(count * part)] for part in (0.5, 0.99, 0.999)]
            shown.append(latencies_ms[-1])
            table.add_row(
                f"{snapshots} snapshots",
                f"{writes:,}",
                f"{count:,}",
                *(f"{value:.2f} ms" for value in shown),
            )
    finally:
        shutil.rmtree(home)
    Console().print(table)


if __name__ == "__main__":
    main()
