"""What a snapshot costs the clients: reads and writes while some are taken, and without.

A server with ZNODES znodes of 100 bytes is written to as fast as it takes it, so that it takes a
snapshot every few seconds, while others read, one request at a time; then the same with snapshots
switched off. Usage: python -m benchmarks.snapshot_pause [ZNODES [SECONDS]].
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.native import start_load
from benchmarks.restart import write_znodes
from zoolet.testing import ServerProcess

NEVER = 2**31 - 1
AS_SOON_AS_MAY_BE = 2
WRITERS, WRITES_AT_ONCE = 4, 32
READERS = 4
WARMUP_S = 1.0


def measure(
    prepared: Path, home: Path, snap_count: int, seconds: float
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the figures of the reads, those of the writes, and how many snapshots there were."""
    shutil.copytree(prepared, home / "data" / "version-2")
    with ServerProcess(home, {"tickTime": 2000, "snapCount": snap_count}) as server:
        loads = [
            start_load("requests", server.port, connections, at_once, WARMUP_S, seconds, work)
            for connections, at_once, work in (
                (READERS, 1, "get"),
                (WRITERS, WRITES_AT_ONCE, "set"),
            )
        ]
        reads, writes = (json.loads(load.communicate()[0]) for load in loads)
        snapshots = next(
            int(line.split("\t")[1])
            for line in server.ask("mntr").splitlines()
            if line.startswith("zk_snap_count")
        )
    return reads, writes, snapshots


def main() -> None:
    """Measure and print."""
    znodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    table = Table(
        *("", "writes/s", "reads/s", "p50", "p99", "p999", "longest"), title=f"{znodes:,} znodes"
    )
    with servers.scratch() as home:
        write_znodes(home / "prepared", znodes)
        for snap_count in (NEVER, AS_SOON_AS_MAY_BE):
            reads, writes, snapshots = measure(
                home / "prepared", home / str(snap_count), snap_count, seconds
            )
            table.add_row(
                f"{snapshots} snapshots",
                f"{writes['per_s']:,.0f}",
                f"{reads['per_s']:,.0f}",
                *(
                    f"{reads[key] / 1000:.2f} ms"
                    for key in ("p50_us", "p99_us", "p999_us", "max_us")
                ),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
